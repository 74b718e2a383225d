//! The command line.

use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand};
use signet_core::{RequestId, TenantId};

use crate::{commands as c, context, exit::Exit, output::Format};

/// Signet: identities for the machines and people of many tenants.
///
/// Contexts say which server to call and as whom; `principal bootstrap` and `principal enroll` make them.
#[derive(Debug, Parser)]
#[command(
    name = "principal",
    version,
    max_term_width = 100,
    after_help = Exit::help(),
    arg_required_else_help = true,
    propagate_version = false,
    disable_help_subcommand = true
)]
pub struct Cli {
    /// Options of all commands.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

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
    /// How results are written
    #[arg(short, long, global = true, value_enum, value_name = "FORMAT", default_value_t)]
    pub output: Format,
    /// How long to wait for the server, retries included, e.g. 500ms, 10s, 2m
    #[arg(long, global = true, value_name = "TIME", default_value = "10s", value_parser = c::values::duration)]
    pub timeout: Duration,
    /// Idempotency key of a change; a repeated one changes nothing more. Random unless given
    #[arg(long, global = true, value_name = "ID")]
    pub request_id: Option<RequestId>,
    /// No remarks, and nothing about a change that succeeded
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// No colours; NO_COLOR works too
    #[arg(long, global = true)]
    pub no_color: bool,
    /// More remarks; -vv logs what the client does
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make an environment: root, CAs, server certificate, first admin. Makes only what is missing
    Bootstrap(c::bootstrap::BootstrapArgs),
    /// Servers and identities known to this machine
    #[command(subcommand)]
    Context(c::context::ContextCommand),
    /// Check contexts, certificates, clock, network and server, and say what to do
    Doctor(c::doctor::DoctorArgs),
    /// Show whom the server takes the caller for, and what it may do
    Whoami,
    /// Tenants of the environment
    #[command(subcommand)]
    Tenant(c::tenant::TenantCommand),
    /// Create a principal
    Create(c::principal::CreateArgs),
    /// List principals
    List(c::values::ListArgs),
    /// Show a principal
    Get(c::principal::GetArgs),
    /// Change a principal's name, roles or groups
    Update(c::principal::UpdateArgs),
    /// Refuse a principal everywhere, within a second
    Suspend(c::principal::RiskyArgs),
    /// Let a suspended principal in again
    Activate(c::principal::IdArgs),
    /// Delete a principal for good
    Delete(c::principal::RiskyArgs),
    /// Certificates of principals
    #[command(subcommand)]
    Cert(c::cert::CertCommand),
    /// When a tenant's certificates are renewed
    #[command(subcommand)]
    Renewal(c::renewal::RenewalCommand),
    /// Join tokens: the way to a first certificate
    #[command(subcommand)]
    Token(c::token::TokenCommand),
    /// Get a first certificate: for a join token, as an AWS role, an OIDC token's subject or a device
    Enroll(c::enroll::EnrollArgs),
    /// Get a short-lived certificate as a person, by signing in
    Login(c::login::LoginArgs),
    /// Who may enroll without a token
    #[command(subcommand)]
    Enrollment(c::enrollment::EnrollmentCommand),
    /// Certificate authorities
    #[command(subcommand)]
    Ca(c::ca::CaCommand),
    /// What to trust
    #[command(subcommand)]
    Trust(c::trust::TrustCommand),
    /// What happened, and whether the record is whole
    #[command(subcommand)]
    Audit(c::audit::AuditCommand),
    /// Write a completion script for a shell
    Completion(c::shell::CompletionArgs),
    /// Write manual pages
    Man(c::shell::ManArgs),
}
