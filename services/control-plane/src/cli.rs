//! `signetd` on the command line.

use std::{
    error::Error,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::{Parser, Subcommand};
use sd_notify::NotifyState;
use signet_core::{Clock, Time};
use signet_sqlite::SqliteStore;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{
    Config, ConfigError,
    check::check,
    config::{SAMPLE, Storage},
    descriptors,
    serve::{Reloader, serve},
    telemetry,
    wiring::{self, WiringError},
};

/// Exit code of a bad configuration.
const BAD_CONFIG: u8 = 2;

/// Signet's control plane: identities over mTLS.
///
/// Serves until SIGTERM or SIGINT, then finishes the running calls. SIGHUP checks for a new server certificate and
/// reloads trust.when_stale; all other settings need a restart.
#[derive(Debug, Parser)]
#[command(name = "signetd", version, max_term_width = 100)]
pub struct Arguments {
    /// Configuration file; `signetd sample` documents every key. Default: ./signet.toml if it exists, otherwise only
    /// environment variables SIGNET_<SECTION>__<KEY>.
    #[arg(long, value_name = "FILE", env = "SIGNET_CONFIG", global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check the configuration, open store, keys and ports, print the result, and exit.
    Check,
    /// Back up the SQLite store to a new file; signetd can keep running.
    ///
    /// `principal restore` brings records back from it, and undoes no later suspension, revocation or use of a join
    /// token. Back up the key folder and its passphrase separately. On DynamoDB, use point-in-time recovery.
    ///
    /// If the store cannot be opened any more, the runbook RestoreStore says how to put the backup in its place.
    Backup {
        /// The new file.
        file: PathBuf,
    },
    /// Print a sample configuration that documents every key.
    Sample,
}

/// The system's clock; the only place that reads it.
pub fn system_clock() -> Clock {
    Arc::new(|| Time::from_unix_millis(jiff::Timestamp::now().as_millisecond()))
}

/// Runs `signetd` as the arguments say.
pub async fn run(arguments: Arguments) -> ExitCode {
    if matches!(arguments.command, Some(Command::Sample)) {
        return match io::stdout().write_all(SAMPLE.as_bytes()) {
            Err(error) if !is_closed(&error) => fail(1, &error),
            Ok(()) | Err(_) => ExitCode::SUCCESS,
        };
    }
    let config = match configuration(arguments.config.as_deref()) {
        Ok(config) => config,
        Err(error) => return fail(BAD_CONFIG, &error),
    };
    match arguments.command {
        Some(Command::Check) => match check(&config, &system_clock(), &mut io::stdout()).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) if is_closed(&*error) => ExitCode::SUCCESS,
            Err(error) => fail(1, &*error),
        },
        Some(Command::Backup { file }) => match back_up(&config, &file) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(1, &error),
        },
        Some(Command::Sample) => ExitCode::SUCCESS,
        None => run_server(config, move || configuration(arguments.config.as_deref())).await,
    }
}

/// Whether whoever read our output has seen enough.
fn is_closed(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn back_up(config: &Config, file: &Path) -> Result<(), WiringError> {
    let wrong = |problem: String| WiringError::Storage { problem };
    match &config.storage {
        Storage::Sqlite { path } => SqliteStore::back_up(path, file).map_err(|error| wrong(error.to_string())),
        Storage::Dynamodb { .. } => {
            Err(wrong("DynamoDB has point-in-time recovery; see runbooks/RestoreTables.md".into()))
        }
    }
}

fn configuration(named: Option<&Path>) -> Result<Config, ConfigError> {
    named.map_or_else(Config::usual, Config::load)
}

async fn run_server(mut config: Config, again: impl Fn() -> Result<Config, ConfigError> + Send + 'static) -> ExitCode {
    let _flushed_at_the_end = match telemetry::init(&config.telemetry, &config.environment.name) {
        Ok(guard) => guard,
        Err(error) => return fail(BAD_CONFIG, &error),
    };
    if let Err(problem) = descriptors::provide(&mut config.limits) {
        return fail(1, &io::Error::other(problem));
    }
    let shutdown = CancellationToken::new();
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()), signal(SignalKind::hangup()));
    let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)) = signals else {
        return fail(1, &io::Error::other("cannot install signal handlers"));
    };
    let wired = match wiring::open(&config).await {
        Ok(wired) => wired,
        Err(error) => return fail(1, &error),
    };
    let running = match serve(config, wired, shutdown.clone(), system_clock()).await {
        Ok(running) => running,
        Err(error) => return fail(1, &error),
    };
    if let Err(error) = sd_notify::notify(&[NotifyState::Ready]) {
        tracing::warn!(%error, "cannot notify systemd");
    }
    let reloader = running.reloader();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hangup.recv() => reload(&reloader, again()),
            }
        }
        shutdown.cancel();
    });
    match running.ended().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(1, &error),
    }
}

fn reload(reloader: &Reloader, config: Result<Config, ConfigError>) {
    if let Err(error) = &config {
        tracing::error!(%error, "cannot reload the configuration; keeping the current settings");
    }
    reloader.reload(config.as_ref().ok());
}

/// Tells people what is wrong, with every cause.
fn fail(code: u8, error: &dyn Error) -> ExitCode {
    let mut text = format!("signetd: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    // Without standard error there is nobody to tell.
    let _ = writeln!(io::stderr(), "{text}");
    ExitCode::from(code)
}
