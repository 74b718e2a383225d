//! `signet-gateway` on the command line.

use std::{
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Parser, Subcommand};
use sd_notify::NotifyState;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::interval,
};
use tracing_subscriber::EnvFilter;

use crate::{Config, Gateway};

/// The gateway cannot be reached, or does not reach the control plane.
const NOT_WELL: u8 = 1;
/// Bad configuration.
const UNUSABLE: u8 = 2;

const SAMPLE: &str = include_str!("../gateway.sample.toml");
const AFTER_HELP: &str = "\
Quick start: signet-gateway sample >gateway.toml; edit it; export SIGNET_GATEWAY_CONFIG=gateway.toml;
signet-gateway check --connect; signet-gateway run

Exit codes: 0 ok, 1 the control plane does not answer (check), 2 bad arguments or configuration, or the gateway cannot start";

/// Lets principals with a certificate through to HTTP servers, and tells these who they are.
#[derive(Debug, Parser)]
#[command(name = "signet-gateway", version, max_term_width = 100, after_help = AFTER_HELP)]
pub struct Arguments {
    /// Configuration file; `signet-gateway sample` documents every key
    #[arg(
        long,
        value_name = "FILE",
        env = "SIGNET_GATEWAY_CONFIG",
        default_value = "/etc/signet/gateway.toml",
        global = true
    )]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run until SIGTERM or SIGINT. SIGHUP reloads the configuration. SIGNET_GATEWAY_LOG=debug logs more
    Run,
    /// Check the configuration, and print what is let through
    Check {
        /// Also connect to the control plane, without a certificate
        #[arg(long)]
        connect: bool,
    },
    /// Print a sample configuration that documents every key
    Sample,
}

/// Runs `signet-gateway` as the arguments say.
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
    let gateway = match Gateway::start(config).await {
        Ok(gateway) => gateway,
        Err(error) => return fail(&error),
    };
    tracing::info!(https = %gateway.https(), "serving");
    tell(&[NotifyState::Ready]);
    let end = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let gateway = work(gateway, &path, hangup, end).await;
    tell(&[NotifyState::Stopping]);
    gateway.stop().await;
    ExitCode::SUCCESS
}

/// Until `end`: follows SIGHUP, and tells systemd's watchdog that the runtime is not stuck.
async fn work(gateway: Gateway, path: &Path, mut hangup: Signal, end: impl Future<Output = ()>) -> Gateway {
    let watchdog = sd_notify::watchdog_enabled();
    let mut ticks = interval(watchdog.map_or(Duration::from_secs(3600), |limit| limit / 3));
    tokio::pin!(end);
    loop {
        tokio::select! {
            () = &mut end => return gateway,
            _ = ticks.tick() => {
                if watchdog.is_some() {
                    tell(&[NotifyState::Watchdog]);
                }
            }
            _ = hangup.recv() => reload(&gateway, path),
        }
    }
}

fn reload(gateway: &Gateway, path: &Path) {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
    let reloaded = Config::load(path).map_err(|error| error.to_string()).and_then(|config| gateway.reload(config));
    match reloaded {
        Ok(()) => tracing::info!(path = %path.display(), "configuration reloaded"),
        Err(error) => tracing::error!(path = %path.display(), error, "configuration not reloaded"),
    }
    tell(&[NotifyState::Ready]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot notify systemd");
    }
}

fn log(json: bool) {
    let filter = EnvFilter::try_from_env("SIGNET_GATEWAY_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    if json {
        lines.json().flatten_event(true).init();
    } else {
        lines.with_target(false).with_ansi(io::stderr().is_terminal()).init();
    }
}

async fn check(config: &Config, connect: bool) -> ExitCode {
    print(&describe(config));
    if !connect {
        return ExitCode::SUCCESS;
    }
    match config.control_plane.reach().await {
        Ok(()) => {
            print("the control plane answers, and its certificate is trusted\n");
            ExitCode::SUCCESS
        }
        Err(error) => {
            print(&format!("the control plane: {error}\n"));
            ExitCode::from(NOT_WELL)
        }
    }
}

fn describe(config: &Config) -> String {
    let mut out = format!("https at {}\n", config.listen.https);
    if let Some(token) = &config.token {
        out += &format!("POST {}: a token for a certificate, permission {}\n", token.path, token.permission);
    }
    for route in &config.routes {
        let methods = if route.methods.is_empty() { "any method".to_owned() } else { route.methods.join(", ") };
        let (host, path) = (route.host.as_deref().unwrap_or("any host"), route.path.to_string());
        out += &format!("{methods} {host} {path}: permission {}, to {}\n", route.permission, route.upstream);
    }
    for one in &config.l4 {
        out += &format!("bytes at {}: permission {}, to {}\n", one.listen, one.permission, one.upstream);
    }
    out + "everything else: refused\n"
}

fn print(text: &str) {
    // Who closed our output has seen enough.
    let _ = io::stdout().write_all(text.as_bytes());
}

fn fail(error: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "signet-gateway: {error}");
    ExitCode::from(UNUSABLE)
}
