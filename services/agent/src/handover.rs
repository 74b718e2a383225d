//! Tells the programs that use a certificate that it has changed: a command, a signal, or both.

use std::{fs, path::PathBuf, process::Stdio};

use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use signet_client::Status;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{Child, Command},
    time::timeout,
};
use zeroize::Zeroizing;

use crate::config::{ExecConfig, IdentityConfig, SignalConfig, Stdin};

/// So much of a command's complaint is kept.
const MAX_WORDS: u64 = 1000;
/// The agent's own, which must not go on to others.
const OURS: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// What the programs are told.
pub(crate) struct News<'a> {
    pub(crate) status: &'a Status,
    pub(crate) files: &'a [(&'static str, PathBuf)],
    /// Key, chain and root, for a command that reads them.
    pub(crate) credentials: Zeroizing<String>,
}

/// Whether anybody is to be told.
pub(crate) fn wanted(config: &IdentityConfig) -> bool {
    config.exec.is_some() || config.signal.is_some()
}

/// Runs the command, then sends the signal; the first that fails ends it.
pub(crate) async fn tell(config: &IdentityConfig, news: &News<'_>) -> Result<(), String> {
    if let Some(exec) = &config.exec {
        run(&config.name, exec, news).await?;
    }
    config.signal.as_ref().map_or(Ok(()), send)
}

async fn run(name: &str, exec: &ExecConfig, news: &News<'_>) -> Result<(), String> {
    let program = exec.program.display();
    let mut command = Command::new(&exec.program);
    command.args(&exec.arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.kill_on_drop(true).process_group(0);
    OURS.iter().for_each(|variable| {
        command.env_remove(variable);
    });
    command.env("SIGNET_IDENTITY", name).env("SIGNET_SPIFFE_ID", &news.status.spiffe_id);
    command.env("SIGNET_SERIAL_NUMBER", &news.status.facts.serial_number);
    command.envs(news.files.iter().map(|(variable, path)| (variable, path)));
    let mut child = command.spawn().map_err(|error| format!("{program} cannot be started: {error}"))?;
    let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
    let input = if exec.stdin == Stdin::Credentials { news.credentials.as_bytes() } else { &[] };
    match timeout(exec.timeout, finish(&mut child, input)).await {
        Ok(Ok((status, _))) if status.success() => Ok(()),
        Ok(Ok((status, words))) => Err(format!("{program} ended with {status}: {}", words.trim())),
        Ok(Err(error)) => Err(format!("{program} cannot be followed: {error}")),
        Err(_) => {
            // With its children; that the group is gone already is as good.
            let _ = group.map(|group| killpg(group, Signal::SIGKILL));
            Err(format!("{program} did not end within {} s and was killed", exec.timeout.as_secs()))
        }
    }
}

async fn finish(child: &mut Child, input: &[u8]) -> std::io::Result<(std::process::ExitStatus, String)> {
    if let Some(mut stdin) = child.stdin.take() {
        // A command that does not read is none of our business.
        let _ = stdin.write_all(input).await;
    }
    let mut words = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        stderr.take(MAX_WORDS).read_to_end(&mut words).await?;
    }
    Ok((child.wait().await?, String::from_utf8_lossy(&words).into_owned()))
}

fn send(signal: &SignalConfig) -> Result<(), String> {
    let path = signal.pid_file.display();
    let text = fs::read_to_string(&signal.pid_file).map_err(|error| format!("cannot read {path}: {error}"))?;
    // PostgreSQL's goes on with other lines.
    let pid = text.lines().next().and_then(|line| line.trim().parse().ok()).filter(|pid| *pid > 1);
    let pid = pid.ok_or_else(|| format!("the first line of {path} holds no process id"))?;
    let refused = |error| format!("{} cannot be sent to process {pid} of {path}: {error}", signal.signal);
    kill(Pid::from_raw(pid), signal.signal).map_err(refused)
}
