//! `signet-agent` on the command line.

use std::{
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand, ValueEnum};
use sd_notify::NotifyState;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::interval,
};
use tracing_subscriber::EnvFilter;

use crate::{Agent, Config, check, control, report::Report, table};

/// Something needs a person.
const NOT_WELL: u8 = 1;
/// Bad configuration, or no agent to ask.
const UNUSABLE: u8 = 2;

const SAMPLE: &str = include_str!("../agent.sample.toml");
const AFTER_HELP: &str = "\
Quick start: signet-agent sample >agent.toml; edit it; export SIGNET_AGENT_CONFIG=agent.toml;
signet-agent check --connect; signet-agent run

Exit codes: 0 ok, 1 action needed (status, check), 2 bad arguments or configuration, or the agent is not running";

/// Renews certificates on this machine and delivers them to programs, as files or by a socket.
#[derive(Debug, Parser)]
#[command(name = "signet-agent", version, max_term_width = 100, after_help = AFTER_HELP)]
pub struct Arguments {
    /// Configuration file; `signet-agent sample` documents every key
    #[arg(
        long,
        value_name = "FILE",
        env = "SIGNET_AGENT_CONFIG",
        default_value = "/etc/signet/agent.toml",
        global = true
    )]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run until SIGTERM or SIGINT. SIGHUP reloads the configuration. SIGNET_AGENT_LOG=debug logs more
    Run,
    /// Show the identities of the running agent; exit code 1 if one needs action
    Status {
        /// Output format
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Tell the running agent to renew an identity now
    Renew {
        /// Name of the identity in the configuration
        name: String,
    },
    /// Check the configuration, and print what the agent would do
    Check {
        /// Also connect to the control plane, without a certificate
        #[arg(long)]
        connect: bool,
    },
    /// Print a sample configuration that documents every key
    Sample,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Output {
    #[default]
    Table,
    Json,
}

/// Runs `signet-agent` as the arguments say.
pub async fn run(arguments: Arguments) -> ExitCode {
    if matches!(arguments.command, Command::Sample) {
        print(SAMPLE);
        return ExitCode::SUCCESS;
    }
    let config = match Config::load(&arguments.config) {
        Ok(config) => config,
        Err(error) => return fail(&format!("{}: {error}", arguments.config.display())),
    };
    match arguments.command {
        Command::Run => serve(arguments.config, config).await,
        Command::Status { output } => match control::ask(&config.socket, "status").await {
            Ok(report) => show(&report.unwrap_or_default(), output),
            Err(error) => fail(&error),
        },
        Command::Renew { name } => match control::ask(&config.socket, &format!("renew {name}")).await {
            Ok(Some(_)) => ExitCode::SUCCESS,
            Ok(None) => fail(&format!("the agent has no identity {name:?}; see signet-agent status")),
            Err(error) => fail(&error),
        },
        Command::Check { connect } => check(&config, connect).await,
        Command::Sample => ExitCode::SUCCESS,
    }
}

async fn serve(path: PathBuf, config: Config) -> ExitCode {
    log(config.log_json);
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()), signal(SignalKind::hangup()));
    let (Ok(mut terminate), Ok(mut interrupt), Ok(hangup)) = signals else {
        return fail("cannot install signal handlers");
    };
    let agent = match Agent::start(config).await {
        Ok(agent) => agent,
        Err(error) => return fail(&error),
    };
    let end = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let agent = work(agent, path, hangup, end).await;
    tell(&[NotifyState::Stopping]);
    agent.stop().await;
    ExitCode::SUCCESS
}

/// Until `end`: follows SIGHUP, and tells systemd's watchdog that this thread is not stuck, while it reloads too.
async fn work(mut agent: Agent, path: PathBuf, mut hangup: Signal, end: impl Future<Output = ()>) -> Agent {
    let watchdog = sd_notify::watchdog_enabled();
    let mut ticks = interval(watchdog.map_or(std::time::Duration::from_secs(3600), |limit| limit / 3));
    let alive = || {
        if watchdog.is_some() {
            tell(&[NotifyState::Watchdog]);
        }
    };
    tokio::pin!(end);
    loop {
        tokio::select! {
            () = &mut end => return agent,
            _ = ticks.tick() => alive(),
            _ = hangup.recv() => {
                let mut reload = Box::pin(reload(&mut agent, &path));
                loop {
                    tokio::select! {
                        () = &mut reload => break,
                        () = &mut end => {
                            drop(reload);
                            return agent;
                        }
                        _ = ticks.tick() => alive(),
                    }
                }
            }
        }
    }
}

async fn reload(agent: &mut Agent, path: &Path) {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
    let read = path.to_owned();
    // Users and groups may be looked up over the network.
    match tokio::task::spawn_blocking(move || Config::load(&read)).await {
        Ok(Ok(config)) => agent.reload(config).await,
        Ok(Err(error)) => tracing::error!(path = %path.display(), %error, "configuration not reloaded"),
        Err(error) => tracing::error!(%error, "configuration not reloaded"),
    }
    tell(&[NotifyState::Ready]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot notify systemd");
    }
}

fn log(json: bool) {
    let filter = EnvFilter::try_from_env("SIGNET_AGENT_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    if json {
        lines.json().flatten_event(true).init();
    } else {
        lines.with_target(false).with_ansi(io::stderr().is_terminal()).init();
    }
}

fn show(report: &Report, output: Output) -> ExitCode {
    let text = match output {
        Output::Table => table::render(report),
        Output::Json => serde_json::to_string_pretty(report).unwrap_or_default() + "\n",
    };
    print(&text);
    if report.identities.iter().all(crate::report::IdentityReport::is_well) {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(NOT_WELL)
    }
}

async fn check(config: &Config, connect: bool) -> ExitCode {
    print(&check::describe(config));
    let problems = check::problems(config).await;
    print(&problems);
    let so_far = if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(NOT_WELL) };
    if !connect {
        return so_far;
    }
    match check::connect(config).await {
        Ok(()) => print("the control plane answers, and its certificate is trusted\n"),
        Err(error) => {
            print(&format!("the control plane: {error}\n"));
            return ExitCode::from(NOT_WELL);
        }
    }
    so_far
}

fn print(text: &str) {
    // Who closed our output has seen enough.
    let _ = io::stdout().write_all(text.as_bytes());
}

fn fail(error: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "signet-agent: {error}");
    ExitCode::from(UNUSABLE)
}
