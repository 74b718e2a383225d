//! The `principal` command line: contexts, calls to the control plane, bootstrap, and a doctor.

pub mod audit_check;
pub mod audit_memory;
pub mod bootstrap;
pub mod certificate;
pub mod cli;
pub mod commands;
pub mod confirm;
mod connect;
pub mod context;
pub mod doctor;
mod enrolling;
pub mod exit;
pub mod failure;
mod invitation;
pub mod login;
pub mod output;
pub mod progress;
mod proof;
mod qr;
pub mod renewing;
pub mod run;
pub mod session;
pub mod values;

use std::{env, ffi::OsString, io::Write as _, process::ExitCode};

use clap::{Parser as _, error::ErrorKind};
use jiff::Timestamp;

use crate::{
    cli::Cli,
    context::Home,
    exit::Exit,
    failure::Failure,
    output::{Format, Printer, report},
    run::Run,
};

/// The whole program.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().collect();
    if arguments.iter().any(|argument| argument == "--no-color") {
        anstream::ColorChoice::Never.write_global();
    }
    let exit = match Cli::try_parse_from(&arguments) {
        Ok(cli) => {
            let format = cli.global.output.clone();
            start(cli).unwrap_or_else(|failure| {
                if failure.exit != Exit::Ok {
                    report(&failure, &format);
                }
                failure.exit
            })
        }
        Err(error) => refuse(&error, wants_json(&arguments)),
    };
    ExitCode::from(exit.code())
}

fn start(cli: Cli) -> Result<Exit, Failure> {
    log(cli.global.verbose);
    let printer = Printer {
        format: cli.global.output.clone(),
        now: Timestamp::now(),
        quiet: cli.global.quiet,
        verbose: cli.global.verbose > 0,
    };
    let run = Run { global: cli.global, home: Home::locate()?, printer };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.map_err(Failure::other)?.block_on(cli::carry_out(&run, cli.command))
}

/// `-vv` and more: what the client library does, on standard error.
fn log(verbose: u8) {
    let filter = match verbose {
        0 | 1 => return,
        2 => "signet=debug",
        _ => "debug",
    };
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}

/// Help and versions are no errors; anything else that does not parse is wrong usage.
fn refuse(error: &clap::Error, json: bool) -> Exit {
    let fine = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if json && !fine {
        let text = error.render().to_string();
        let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        report(&Failure::usage(message), &Format::Json);
        return Exit::Usage;
    }
    let text = error.render();
    let written = if fine {
        write!(anstream::stdout(), "{}", text.ansi())
    } else {
        write!(anstream::stderr(), "{}", text.ansi())
    };
    match written {
        _ if fine => Exit::Ok,
        _ => Exit::Usage,
    }
}

/// The command line did not parse, so the option is looked for by hand.
fn wants_json(arguments: &[OsString]) -> bool {
    let texts: Vec<&str> = arguments.iter().filter_map(|argument| argument.to_str()).collect();
    let pair = |pair: &[&str]| matches!(pair, ["-o" | "--output", "json"]);
    texts.windows(2).any(pair) || texts.iter().any(|text| matches!(*text, "-ojson" | "--output=json" | "-o=json"))
}
