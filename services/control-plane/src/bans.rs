//! The file that a firewall's jail reads (`fail2ban/`): one line for each source that this node bans.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;
use signet_core::Time;
use signet_mtls::BanReason;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{metrics::Metrics, serve_error::ServeError};

/// Lines that wait to be written; more are lost, and counted.
const WAITING: usize = 1024;

/// Takes lines from connections, which must not wait for a disk.
pub(crate) struct BanLog {
    lines: mpsc::Sender<String>,
    metrics: Arc<Metrics>,
}

/// Writes what [`BanLog`] took.
pub(crate) struct BanWriter {
    path: PathBuf,
    lines: mpsc::Receiver<String>,
    metrics: Arc<Metrics>,
}

impl BanLog {
    /// An error if this process cannot write to the file.
    pub(crate) fn open(path: PathBuf, metrics: &Arc<Metrics>) -> Result<(Self, BanWriter), ServeError> {
        appended(&path).map_err(|error| problem(&path, error))?;
        let (sender, lines) = mpsc::channel(WAITING);
        let writer = BanWriter { path, lines, metrics: Arc::clone(metrics) };
        Ok((Self { lines: sender, metrics: Arc::clone(metrics) }, writer))
    }

    /// Has the ban of `source` written.
    pub(crate) fn write(&self, now: Time, source: IpAddr, reason: BanReason) {
        if self.lines.try_send(line(now, source, reason)).is_err() {
            self.metrics.count("signet_ban_lines_lost_total", "cause", "queue");
        }
    }
}

impl BanWriter {
    /// Writes until `stop`, and then what still waits.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        loop {
            let line = tokio::select! {
                biased;
                line = self.lines.recv() => line,
                () = stop.cancelled() => None,
            };
            let Some(line) = line else { return };
            let path = self.path.clone();
            let written = tokio::task::spawn_blocking(move || appended(&path)?.write_all(line.as_bytes())).await;
            if let Err(error) = written.unwrap_or_else(|error| Err(io::Error::other(error))) {
                self.metrics.count("signet_ban_lines_lost_total", "cause", "file");
                tracing::warn!(%error, path = %self.path.display(), "a ban was not written to bans.log_file");
            }
        }
    }
}

/// Whether a server could write to the file. Where there was none, there is none afterwards: it may run as another
/// user.
pub(crate) fn check(path: &Path) -> Result<(), ServeError> {
    let is_new = !path.exists();
    appended(path).map_err(|error| problem(path, error))?;
    if is_new { fs::remove_file(path).map_err(|error| problem(path, error)) } else { Ok(()) }
}

fn problem(path: &Path, error: io::Error) -> ServeError {
    ServeError::Setup(format!("bans.log_file = {path:?} cannot be written: {error}"))
}

/// Opened for each line, so that whoever rotates the file need not tell this process.
fn appended(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// The time, fixed words, an address and one of a few reasons: nothing in it is a stranger's text.
fn line(now: Time, source: IpAddr, reason: BanReason) -> String {
    let time = Timestamp::from_second(now.unix_seconds()).unwrap_or_default();
    let network = if source.is_ipv6() { "/64" } else { "" };
    format!("{time} signetd ban src={source}{network} reason={}\n", reason.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_begins_with_the_date_and_names_the_source() {
        let now = Time::from_unix_millis(1_795_885_200_900);
        assert_eq!(
            line(now, "203.0.113.9".parse().unwrap(), BanReason::BadCertificate),
            "2026-11-28T17:00:00Z signetd ban src=203.0.113.9 reason=bad-certificate\n"
        );
        assert_eq!(
            line(now, "2001:db8::".parse().unwrap(), BanReason::NoCertificate),
            "2026-11-28T17:00:00Z signetd ban src=2001:db8::/64 reason=no-certificate\n"
        );
    }
}
