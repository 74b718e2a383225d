//! Numbers for Prometheus.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

/// Upper bounds of the buckets, microseconds.
const BUCKETS: [u64; 11] = [500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 500_000, 1_000_000, 10_000_000];

/// Name, type, help of what is counted by a label.
const COUNTERS: [(&str, &str, &str); 6] = [
    ("requests_total", "outcome", "Requests by outcome: passed, or the reason of the refusal."),
    ("streams_ended_total", "reason", "Answers that were cut, by reason."),
    ("tokens_total", "outcome", "Answers of the token endpoint: issued, or the reason of the refusal."),
    ("connections_refused_total", "reason", "Connections that were not taken, by reason."),
    ("sources_banned_total", "reason", "Bans, by reason."),
    ("upstream_failures_total", "upstream", "Requests that an upstream did not answer."),
];

/// What is counted by a label: numbers of [`COUNTERS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Counted {
    Requests,
    StreamsEnded,
    Tokens,
    ConnectionsRefused,
    SourcesBanned,
    UpstreamFailures,
}

/// See the module's words.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    counts: Mutex<BTreeMap<(Counted, String), u64>>,
    passed: AtomicU64,
    buckets: [AtomicU64; BUCKETS.len()],
    micros: AtomicU64,
    answered: AtomicU64,
    connections: AtomicI64,
}

/// Numbers that others keep.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    /// Name, and value, of what is shown as it is.
    pub(crate) plain: Vec<(&'static str, &'static str, i64)>,
    /// Of each upstream: name, whether it gets no requests, requests under way.
    pub(crate) upstreams: Vec<(String, bool, usize)>,
}

impl Metrics {
    pub(crate) fn count(&self, what: Counted, label: &str) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.iter_mut().find(|((of, name), _)| *of == what && name == label) {
            Some((_, count)) => *count = count.saturating_add(1),
            None => drop(counts.insert((what, label.to_owned()), 1)),
        }
    }

    /// A request was let through, and its answer began after this time.
    pub(crate) fn passed(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.passed.fetch_add(1, Ordering::Relaxed);
        self.answered.fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
        if let Some((_, bucket)) = BUCKETS.iter().zip(&self.buckets).find(|(bound, _)| micros <= **bound) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A connection came (1) or went (-1).
    pub(crate) fn connection(&self, change: i64) {
        self.connections.fetch_add(change, Ordering::Relaxed);
    }

    /// The text that Prometheus reads.
    pub(crate) fn render(&self, gauges: &Gauges) -> String {
        let mut out = String::new();
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (number, (name, label, help)) in COUNTERS.iter().enumerate() {
            let _ = writeln!(out, "# HELP signet_gateway_{name} {help}\n# TYPE signet_gateway_{name} counter");
            if number == 0 {
                let passed = self.passed.load(Ordering::Relaxed);
                let _ = writeln!(out, "signet_gateway_requests_total{{outcome=\"passed\"}} {passed}");
            }
            for ((_, value), count) in counts.iter().filter(|((of, _), _)| *of as usize == number) {
                let _ = writeln!(out, "signet_gateway_{name}{{{label}=\"{value}\"}} {count}");
            }
        }
        self.render_durations(&mut out);
        let connections = self.connections.load(Ordering::Relaxed);
        let plain = [("connections", "Open connections.", connections)].into_iter().chain(gauges.plain.iter().copied());
        for (name, help, value) in plain {
            let _ = writeln!(out, "# HELP signet_gateway_{name} {help}\n# TYPE signet_gateway_{name} gauge");
            let _ = writeln!(out, "signet_gateway_{name} {value}");
        }
        render_upstreams(&mut out, gauges);
        out
    }

    fn render_durations(&self, out: &mut String) {
        let name = "signet_gateway_answer_seconds";
        let _ = writeln!(out, "# HELP {name} From a request to the headers of its answer.\n# TYPE {name} histogram");
        let mut sum = 0_u64;
        for (bound, bucket) in BUCKETS.iter().zip(&self.buckets) {
            sum = sum.saturating_add(bucket.load(Ordering::Relaxed));
            let _ = writeln!(out, "{name}_bucket{{le=\"{}\"}} {sum}", Duration::from_micros(*bound).as_secs_f64());
        }
        let (count, micros) = (self.answered.load(Ordering::Relaxed), self.micros.load(Ordering::Relaxed));
        let seconds = Duration::from_micros(micros).as_secs_f64();
        let _ = writeln!(out, "{name}_bucket{{le=\"+Inf\"}} {count}\n{name}_sum {seconds}\n{name}_count {count}");
    }
}

fn render_upstreams(out: &mut String, gauges: &Gauges) {
    let (open, requests) = ("signet_gateway_upstream_open", "signet_gateway_upstream_requests");
    let _ = writeln!(out, "# HELP {open} 1: it cannot be reached, and gets no requests.\n# TYPE {open} gauge");
    for (name, is_open, _) in &gauges.upstreams {
        let _ = writeln!(out, "{open}{{upstream=\"{name}\"}} {}", u8::from(*is_open));
    }
    let _ = writeln!(out, "# HELP {requests} Requests under way.\n# TYPE {requests} gauge");
    for (name, _, count) in &gauges.upstreams {
        let _ = writeln!(out, "{requests}{{upstream=\"{name}\"}} {count}");
    }
}
