//! The audit log: one JSON object a line.

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    net::IpAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use jiff::Timestamp;
use serde::Serialize;
use signet_core::{Clock, Time};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::subject::Subject;

/// Lines that wait to be written; more are lost, and counted.
const WAITING: usize = 16_384;
/// Lines that are written at once.
const AT_ONCE: usize = 1024;
/// Of what clients wrote, bytes.
const MAX_TEXT: usize = 512;

/// One event. What is not known is left out.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Event {
    /// `request`, `token`, `stream`, `connection`, `ban`.
    pub(crate) event: &'static str,
    /// `success` or `failure`.
    pub(crate) outcome: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tenant: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) spiffe_id: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) serial: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) host: Option<String>,
    /// Without its query, which may hold secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) permission: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) upstream: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) duration_ms: Option<u64>,
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) detail: String,
}

impl Event {
    pub(crate) fn success(event: &'static str) -> Self {
        Self { event, outcome: "success", ..Self::default() }
    }

    pub(crate) fn failure(event: &'static str, reason: impl Into<String>) -> Self {
        Self { event, outcome: "failure", reason: reason.into(), ..Self::default() }
    }

    pub(crate) fn sourced(mut self, source: IpAddr) -> Self {
        self.source = Some(source.to_canonical());
        self
    }

    pub(crate) fn by(mut self, subject: &Subject) -> Self {
        self.tenant = Some(Arc::clone(&subject.tenant));
        self.spiffe_id = Some(Arc::clone(&subject.spiffe_id));
        self.serial = subject.shown.as_ref().map(|shown| shown.serial.clone());
        self
    }

    pub(crate) fn detailed(mut self, detail: impl Into<String>) -> Self {
        self.detail = bounded(&detail.into());
        self
    }
}

/// What a client wrote, cut to a length that the log can bear.
pub(crate) fn bounded(text: &str) -> String {
    let end = (0..=MAX_TEXT.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end).unwrap_or_default().to_owned()
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    #[serde(flatten)]
    event: &'a Event,
}

/// Takes events from requests, which must not wait for a disk.
#[derive(Clone)]
pub(crate) struct Audit {
    lines: mpsc::Sender<String>,
    clock: Clock,
    lost: Arc<AtomicU64>,
}

/// Writes what [`Audit`] took.
pub(crate) struct AuditWriter {
    path: Option<PathBuf>,
    lines: mpsc::Receiver<String>,
    lost: Arc<AtomicU64>,
}

impl Audit {
    /// An error if this process cannot write to the file.
    pub(crate) fn open(path: Option<PathBuf>, clock: &Clock) -> Result<(Self, AuditWriter), String> {
        if let Some(path) = &path {
            appended(path).map_err(|error| format!("audit.file = {path:?} cannot be written: {error}"))?;
        }
        let (sender, lines) = mpsc::channel(WAITING);
        let lost = Arc::<AtomicU64>::default();
        let audit = Self { lines: sender, clock: Arc::clone(clock), lost: Arc::clone(&lost) };
        Ok((audit, AuditWriter { path, lines, lost }))
    }

    /// Has an event written.
    pub(crate) fn write(&self, event: &Event) {
        let line = Line { time: timestamp((self.clock)()), event };
        let line = serde_json::to_string(&line).map(|line| line + "\n");
        if line.is_err() || line.is_ok_and(|line| self.lines.try_send(line).is_err()) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many could not be written.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl AuditWriter {
    /// Writes until `stop`, and then what still waits.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut waiting = Vec::with_capacity(AT_ONCE);
        let mut stopping = false;
        loop {
            let taken = tokio::select! {
                biased;
                taken = self.lines.recv_many(&mut waiting, AT_ONCE) => taken,
                () = stop.cancelled(), if !stopping => {
                    stopping = true;
                    self.lines.close();
                    continue;
                }
            };
            if taken == 0 {
                return;
            }
            let text: String = waiting.drain(..).collect();
            let path = self.path.clone();
            let written = tokio::task::spawn_blocking(move || write(path.as_deref(), &text)).await;
            if let Err(error) = written.unwrap_or_else(|error| Err(io::Error::other(error))) {
                self.lost.fetch_add(taken as u64, Ordering::Relaxed);
                tracing::error!(%error, events = taken, "audit events were not written");
            }
        }
    }
}

fn write(path: Option<&std::path::Path>, text: &str) -> io::Result<()> {
    match path {
        Some(path) => appended(path)?.write_all(text.as_bytes()),
        None => io::stdout().write_all(text.as_bytes()),
    }
}

/// Opened for each write, so that whoever rotates the file need not tell this process.
fn appended(path: &std::path::Path) -> io::Result<std::fs::File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// RFC 3339 with milliseconds.
pub(crate) fn timestamp(time: Time) -> String {
    Timestamp::from_millisecond(time.unix_millis()).map(|time| format!("{time:.3}")).unwrap_or_default()
}
