//! What every command is given.

use std::{path::PathBuf, time::Duration};

use clap::{ArgAction, Args};
use signet_core::{RequestId, TenantId};

use crate::{
    context::{self, Contexts, Home},
    failure::Failure,
    output::{Format, FormatParser, Printer},
    values,
};

/// Options of all commands.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Context to use instead of the current one
    #[arg(long, global = true, value_name = "NAME", env = "SIGNET_CONTEXT", hide_env_values = true, value_parser = context::parse_name)]
    pub context: Option<String>,
    /// Tenant to work in instead of the context's
    #[arg(long, global = true, value_name = "ID", env = "SIGNET_TENANT", hide_env_values = true)]
    pub tenant: Option<TenantId>,
    /// Output format
    #[arg(short, long, global = true, value_name = "FORMAT", default_value = "table", value_parser = FormatParser)]
    pub output: Format,
    /// How long to wait for the server, retries included, e.g. 500ms, 10s, 2m
    #[arg(long, global = true, value_name = "TIME", default_value = "10s", value_parser = values::duration)]
    pub timeout: Duration,
    /// Idempotency key: a retry with the same key changes nothing more; default: random
    #[arg(long, global = true, value_name = "ID")]
    pub request_id: Option<RequestId>,
    /// No notes, and no output for a change that succeeded
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// No colours; NO_COLOR works too
    #[arg(long, global = true)]
    pub no_color: bool,
    /// Do not renew the context's certificate by itself, e.g. where it is a copy that is thrown away
    #[arg(
        long,
        global = true,
        env = "SIGNET_NO_RENEW",
        hide_env_values = true,
        value_parser = clap::builder::FalseyValueParser::new()
    )]
    pub no_renew: bool,
    /// More notes; -vv logs what the client does
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
}

/// What every command is given.
#[derive(Clone, Debug)]
pub struct Run {
    /// Options of all commands.
    pub global: Global,
    /// Where contexts live.
    pub home: Home,
    /// Where results go.
    pub printer: Printer,
}

impl Run {
    /// The directory of the chosen context.
    pub fn context_directory(&self) -> Result<PathBuf, Failure> {
        let contexts = Contexts::load(&self.home)?;
        let (_, context) = contexts.select(self.global.context.as_deref())?;
        Ok(context.directory(&self.home))
    }
}
