//! Tells the programs that use a certificate that it has changed: a command, a signal, or both.

use std::{
    env,
    fs::{self, File, Metadata},
    io::Read,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::{Pid, geteuid},
};
use signet_client::Status;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{Child, ChildStderr, Command},
    time::timeout,
};
use zeroize::Zeroizing;

use crate::config::{ExecConfig, IdentityConfig, SignalConfig, Stdin};

/// So much of a command's complaint is kept.
const MAX_WORDS: usize = 1000;
/// How long stderr is read after the command has ended: for what it wrote last, not for what it started.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// What a command gets of the agent's environment, which may hold credentials.
const KEPT: [&str; 9] = ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TZ", "TMPDIR"];

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
    let program = exec.command.program.display();
    let mut command = Command::new(&exec.command.program);
    command.args(&exec.command.arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.kill_on_drop(true).process_group(0);
    command.env_clear().envs(KEPT.iter().filter_map(|name| Some((name, env::var_os(name)?))));
    command.env("SIGNET_IDENTITY", name).env("SIGNET_SPIFFE_ID", &news.status.spiffe_id);
    command.env("SIGNET_SERIAL_NUMBER", &news.status.facts.serial_number);
    command.envs(news.files.iter().map(|(variable, path)| (variable, path)));
    let mut child = command.spawn().map_err(|error| format!("{program} cannot be started: {error}"))?;
    let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
    let input = if exec.stdin == Stdin::Credentials { news.credentials.as_bytes() } else { &[] };
    match timeout(exec.timeout, finish(&mut child, input)).await {
        Ok(Ok((status, _))) if status.success() => Ok(()),
        Ok(Ok((status, words))) => Err(format!("{program} ended with {status}: {}", words.trim())),
        Ok(Err(error)) => Err(format!("cannot wait for {program}: {error}")),
        Err(_) => {
            // With all that it has started; that the group is gone already is as good.
            let _ = group.map(|group| killpg(group, Signal::SIGKILL));
            Err(format!("{program} did not end within {} s and was killed", exec.timeout.as_secs()))
        }
    }
}

/// Its exit status decides. What it has started in the background may keep its stderr open, and is left alone.
async fn finish(child: &mut Child, input: &[u8]) -> std::io::Result<(ExitStatus, String)> {
    let words = Words::default();
    let mut reader = tokio::spawn(read_to_the_end(child.stderr.take(), Arc::clone(&words)));
    let stdin = child.stdin.take();
    let feed = async {
        if let Some(mut stdin) = stdin {
            // A command that does not read is none of our business.
            let _ = stdin.write_all(input).await;
        }
    };
    tokio::pin!(feed);
    let status = tokio::select! {
        status = child.wait() => status?,
        () = &mut feed => child.wait().await?,
    };
    let _ = timeout(LAST_WORDS, &mut reader).await;
    let words = words.lock().unwrap_or_else(PoisonError::into_inner);
    Ok((status, String::from_utf8_lossy(&words).into_owned()))
}

type Words = Arc<Mutex<Vec<u8>>>;

/// For as long as anybody writes: a pipe that nobody reads any more would kill the writer (SIGPIPE). The beginning is
/// kept.
async fn read_to_the_end(stderr: Option<ChildStderr>, words: Words) {
    let Some(mut stderr) = stderr else { return };
    let mut bytes = [0; 1024];
    while let Ok(length @ 1..) = stderr.read(&mut bytes).await {
        let mut words = words.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MAX_WORDS.saturating_sub(words.len());
        words.extend(bytes.iter().take(length.min(room)));
    }
}

fn send(signal: &SignalConfig) -> Result<(), String> {
    let path = signal.pid_file.display();
    let unread = |error: std::io::Error| format!("cannot read {path}: {error}");
    let mut file = File::open(&signal.pid_file).map_err(unread)?;
    let meta = file.metadata().map_err(unread)?;
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(unread)?;
    // PostgreSQL's goes on with other lines.
    let pid = text.lines().next().and_then(|line| line.trim().parse().ok()).filter(|pid| *pid > 1);
    let pid: i32 = pid.ok_or_else(|| format!("the first line of {path} is not a process id"))?;
    may_signal(pid, &meta).map_err(|problem| format!("{path}: {problem}"))?;
    let refused = |error| format!("{} cannot be sent to process {pid} of {path}: {error}", signal.signal);
    kill(Pid::from_raw(pid), signal.signal).map_err(refused)
}

fn may_signal(pid: i32, file: &Metadata) -> Result<(), String> {
    let process = fs::metadata(format!("/proc/{pid}"));
    let owner = process.map_err(|_| format!("process {pid} does not exist; the file is outdated"))?.uid();
    let trusted = Trusted { mode: file.mode(), owner: file.uid(), process: owner, agent: geteuid().as_raw() };
    trusted.check().map_err(|problem| format!("process {pid} is not signalled: {problem}"))
}

/// User ids, and the file's permission bits. Whoever can write a pid file chooses whom we signal, and we may be root:
/// so only a process of its own, unless it is root or we are it.
struct Trusted {
    mode: u32,
    owner: u32,
    process: u32,
    agent: u32,
}

impl Trusted {
    fn check(&self) -> Result<(), String> {
        if self.mode & 0o022 != 0 {
            return Err(format!("others can write it (mode {:04o}): chmod go-w", self.mode & 0o7777));
        }
        if [0, self.agent, self.process].contains(&self.owner) {
            return Ok(());
        }
        Err(format!("it belongs to user {}, and the process to user {}", self.owner, self.process))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_pid_file_signals_that_users_processes_alone() {
        let of = |mode, owner, process| Trusted { mode, owner, process, agent: 7 }.check();
        for (owner, process) in [(0, 33), (7, 33), (33, 33), (33, 33)] {
            assert_eq!(of(0o644, owner, process), Ok(()));
        }
        assert!(of(0o644, 33, 0).is_err() && of(0o644, 33, 7).is_err() && of(0o600, 33, 34).is_err());
        assert!(of(0o664, 0, 33).is_err() && of(0o602, 33, 33).is_err());
    }
}
