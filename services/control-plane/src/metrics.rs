//! Metrics. What happens per call has its handles from the first such call on, so that others only add to numbers, and
//! what never happens has no series. The recorder is this node's own, not the process's.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
    with_local_recorder,
};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use tonic::Code;

use crate::authorization::Table;

/// Upper bounds of the latency buckets, seconds.
const LATENCIES: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// gRPC has the codes 0 to 16.
const CODES: [Code; 17] = [
    Code::Ok,
    Code::Cancelled,
    Code::Unknown,
    Code::InvalidArgument,
    Code::DeadlineExceeded,
    Code::NotFound,
    Code::AlreadyExists,
    Code::PermissionDenied,
    Code::ResourceExhausted,
    Code::FailedPrecondition,
    Code::Aborted,
    Code::OutOfRange,
    Code::Unimplemented,
    Code::Internal,
    Code::Unavailable,
    Code::DataLoss,
    Code::Unauthenticated,
];

/// `# HELP` of each counter.
const COUNTERS: [(&str, &str); 23] = [
    ("signet_accept_failures_total", "Failures of the listener to accept a connection"),
    ("signet_ban_lines_lost_total", "Bans that are not in the log for fail2ban"),
    ("signet_certificate_lookups_dropped_total", "Certificates whose record was not looked up since too many wait"),
    ("signet_connections_closed_total", "Connections that ended, by reason"),
    ("signet_connections_refused_total", "Connections that were refused, by reason (proto/REASONS.md)"),
    ("signet_connections_total", "Connections that were accepted, by kind of handshake"),
    ("signet_expiry_warnings_total", "Warnings that a certificate or CA ends soon"),
    ("signet_failure_limits_total", "Principals at the failure limit of their tenant, by what was done"),
    ("signet_feed_heads_mended_total", "Heads of the changes feed that were mended"),
    ("signet_feed_missing_total", "Changes that are missing from the feed: somebody revoked may be admitted"),
    (
        "signet_messages_total",
        "Signed messages that were verified here, by result (OK, or a reason of proto/REASONS.md)",
    ),
    ("signet_panics_total", "Calls that ended in a panic"),
    ("signet_refusals_total", "Calls that were refused, by reason (proto/REASONS.md)"),
    ("signet_refusals_unwritten_total", "Refusals that are counted only, and not in the audit log"),
    ("signet_reservations_closed_total", "Certificates that were reserved and never released, closed by the sweeper"),
    ("signet_rpc_total", "Calls, by operation and gRPC code"),
    ("signet_sealed_minutes_total", "Minutes of the audit log that this node sealed"),
    ("signet_security_event_errors_total", "Security events that a receiver could not take, by its error"),
    ("signet_security_events_total", "Security events that receivers were told or acknowledged"),
    ("signet_sources_banned_total", "Addresses that were banned for failed handshakes, by their kind"),
    ("signet_task_failures_total", "Failures of periodic work, which is tried again"),
    ("signet_unreadable_records_total", "Records that this node could not read"),
    ("signet_unrecorded_certificates_total", "Certificates that a tenant's CA signed and nobody recorded"),
];
/// `# HELP` of each gauge.
const GAUGES: [(&str, &str); 11] = [
    ("signet_connections_open", "Open connections"),
    ("signet_endpoint_faulty", "1: clients cannot connect by the endpoint's name"),
    ("signet_feed_staleness_seconds", "Time since the changes feed was read"),
    ("signet_ready", "1: this node is ready for calls"),
    ("signet_revoked_certificates", "Certificates on this node's list of the revoked"),
    ("signet_rpc_in_flight", "Calls under way, by operation"),
    ("signet_server_certificate_expires_in_seconds", "Time until the server's certificate ends"),
    ("signet_server_certificate_faulty", "1: clients would reject the server's certificate"),
    ("signet_trust_epoch", "Number of changes to what this node trusts"),
    ("signet_unreadable_tenants", "Tenants that are refused since their records cannot be read"),
    ("signet_unsealed_minutes", "Minutes of the audit log that are not sealed yet"),
];
/// `# HELP` of each histogram.
const HISTOGRAMS: [(&str, &str); 2] = [
    ("signet_handshake_duration_seconds", "From the first byte of a handshake to its end"),
    ("signet_rpc_duration_seconds", "Time of calls, by operation; for streams, how long they were open"),
];

/// See the module's words.
pub(crate) struct Metrics {
    recorder: Arc<PrometheusRecorder>,
    handle: PrometheusHandle,
    operations: HashMap<&'static str, OperationMetrics>,
}

/// One operation's numbers.
pub(crate) struct OperationMetrics {
    operation: &'static str,
    recorder: Arc<PrometheusRecorder>,
    in_flight: OnceLock<Gauge>,
    duration: OnceLock<Histogram>,
    codes: [OnceLock<Counter>; CODES.len()],
}

impl OperationMetrics {
    fn new(operation: &'static str, recorder: Arc<PrometheusRecorder>) -> Self {
        let codes = [const { OnceLock::new() }; CODES.len()];
        Self { operation, recorder, in_flight: OnceLock::new(), duration: OnceLock::new(), codes }
    }

    /// A call begins.
    pub(crate) fn began(&self) {
        self.in_flight().increment(1.0);
    }

    /// A call is over.
    pub(crate) fn finished(&self, code: Code, took: Duration) {
        let operation = self.operation;
        self.in_flight().decrement(1.0);
        let duration = || histogram!("signet_rpc_duration_seconds", "operation" => operation);
        self.duration.get_or_init(|| with_local_recorder(&*self.recorder, duration)).record(took.as_secs_f64());
        if let Some(counter) = usize::try_from(i32::from(code)).ok().and_then(|index| self.codes.get(index)) {
            let calls = || counter!("signet_rpc_total", "operation" => operation, "code" => name(code));
            counter.get_or_init(|| with_local_recorder(&*self.recorder, calls)).increment(1);
        }
    }

    fn in_flight(&self) -> &Gauge {
        let gauge = || gauge!("signet_rpc_in_flight", "operation" => self.operation);
        self.in_flight.get_or_init(|| with_local_recorder(&*self.recorder, gauge))
    }
}

impl Metrics {
    pub(crate) fn new(table: &Table) -> Result<Self, BuildError> {
        let latencies = Matcher::Suffix("_seconds".into());
        let recorder = PrometheusBuilder::new().set_buckets_for_metric(latencies, &LATENCIES)?.build_recorder();
        let (handle, recorder) = (recorder.handle(), Arc::new(recorder));
        with_local_recorder(&*recorder, || {
            COUNTERS.into_iter().for_each(|(name, help)| describe_counter!(name, help));
            GAUGES.into_iter().for_each(|(name, help)| describe_gauge!(name, help));
            HISTOGRAMS.into_iter().for_each(|(name, help)| describe_histogram!(name, help));
            // An alert wants the first one to be a rise.
            counter!("signet_unrecorded_certificates_total").increment(0);
        });
        let operations = table
            .iter()
            .map(|(_, route)| (route.operation, OperationMetrics::new(route.operation, Arc::clone(&recorder))))
            .collect();
        Ok(Self { recorder, handle, operations })
    }

    pub(crate) fn operation(&self, operation: &str) -> Option<&OperationMetrics> {
        self.operations.get(operation)
    }

    /// Runs `record`, whose `counter!` and the like then count for this node.
    pub(crate) fn with<T>(&self, record: impl FnOnce() -> T) -> T {
        with_local_recorder(&*self.recorder, record)
    }

    /// Adds one to `name{reason}`.
    pub(crate) fn count(&self, name: &'static str, label: &'static str, value: &'static str) {
        self.with(|| counter!(name, label => value).increment(1));
    }

    /// The text that Prometheus reads.
    pub(crate) fn render(&self) -> String {
        self.handle.render()
    }

    /// Folds histograms' samples; call it on a timer.
    pub(crate) fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

/// The code as gRPC spells it.
pub(crate) const fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::{COUNTERS, GAUGES, HISTOGRAMS};

    /// Names in quotes, below this folder, in what is compiled.
    fn named(folder: &Path, names: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                named(&entry, names);
            } else if !entry.ends_with("metrics.rs") {
                let text = fs::read_to_string(&entry).unwrap();
                let words = text.split("\"signet_").skip(1).filter_map(|rest| Some(rest.split_once('"')?.0));
                let is_name = |word: &&str| word.chars().all(|c| c == '_' || c.is_ascii_lowercase());
                names.extend(words.filter(is_name).map(|word| format!("signet_{word}")));
            }
        }
    }

    #[test]
    fn every_metric_of_the_sources_is_explained() {
        let of_calls = ["signet_rpc_duration_seconds", "signet_rpc_in_flight", "signet_rpc_total"];
        let mut names = of_calls.map(str::to_owned).into();
        named(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut names);
        let explained = COUNTERS.iter().chain(&GAUGES).chain(&HISTOGRAMS).map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(names, explained);
    }
}
