//! Metrics. Handles for what happens per call are made at start, so that a call only adds to numbers; the recorder is
//! this node's own, not the process's.

use std::{collections::HashMap, time::Duration};

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram, with_local_recorder};
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

/// See the module's words.
pub(crate) struct Metrics {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    operations: HashMap<&'static str, OperationMetrics>,
}

/// One operation's numbers.
pub(crate) struct OperationMetrics {
    pub(crate) in_flight: Gauge,
    duration: Histogram,
    codes: [Counter; CODES.len()],
}

impl OperationMetrics {
    fn new(operation: &'static str) -> Self {
        Self {
            in_flight: gauge!("signet_rpc_in_flight", "operation" => operation),
            duration: histogram!("signet_rpc_duration_seconds", "operation" => operation),
            codes: CODES.map(|code| counter!("signet_rpc_total", "operation" => operation, "code" => name(code))),
        }
    }

    /// A call is over.
    pub(crate) fn finished(&self, code: Code, took: Duration) {
        self.duration.record(took.as_secs_f64());
        if let Some(counter) = usize::try_from(i32::from(code)).ok().and_then(|index| self.codes.get(index)) {
            counter.increment(1);
        }
    }
}

impl Metrics {
    pub(crate) fn new(table: &Table) -> Result<Self, BuildError> {
        let latencies = Matcher::Suffix("_seconds".into());
        let recorder = PrometheusBuilder::new().set_buckets_for_metric(latencies, &LATENCIES)?.build_recorder();
        let handle = recorder.handle();
        let operations = with_local_recorder(&recorder, || {
            table.iter().map(|(_, route)| (route.operation, OperationMetrics::new(route.operation))).collect()
        });
        Ok(Self { recorder, handle, operations })
    }

    pub(crate) fn operation(&self, operation: &str) -> Option<&OperationMetrics> {
        self.operations.get(operation)
    }

    /// Runs `record`, whose `counter!` and the like then count for this node.
    pub(crate) fn with<T>(&self, record: impl FnOnce() -> T) -> T {
        with_local_recorder(&self.recorder, record)
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
