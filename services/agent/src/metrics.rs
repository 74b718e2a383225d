//! The report as Prometheus reads it, on a listener of its own.

use std::{fmt::Write, net::SocketAddr, time::Duration};

use axum::{Router, http::header, routing::get};
use tokio::{net::TcpListener, sync::watch, time::sleep};

use crate::report::{CanaryReport, IdentityReport, Report};

const CONTENT_TYPE: &str = "text/plain; version=0.0.4";
const STANDINGS: [&str; 5] = ["enrolling", "fresh", "due", "expired", "refused"];

/// `None`: this identity has no such thing.
type Value = fn(&IdentityReport) -> Option<u64>;

/// Name, type, help, value.
const METRICS: [(&str, &str, &str, Value); 9] = [
    ("not_after_seconds", "gauge", "Expiry of the current certificate, Unix time; 0: none yet.", |one| {
        Some(u64::try_from(one.not_after_seconds).unwrap_or(0))
    }),
    ("renewals_total", "counter", "Renewals since the agent started.", |one| Some(one.renewals)),
    ("failed_attempts", "gauge", "Failed attempts since the last successful renewal.", |one| Some(one.failures.into())),
    ("published", "gauge", "1: all files contain the current certificate.", |one| Some(one.published.into())),
    ("handover_failures", "gauge", "Failed commands and signals since the last success.", |one| {
        one.handover.as_ref().map(|handover| handover.failures.into())
    }),
    ("revocation_lists_end_seconds", "gauge", "End of the tenant's revocation lists, Unix time.", |one| {
        one.lists.as_ref().map(|lists| u64::try_from(lists.until_seconds).unwrap_or(0))
    }),
    ("canary_proved", "gauge", "1: the program refuses the certificate that is revoked on purpose.", |one| {
        one.canary.as_ref().map(|canary| (canary.state == CanaryReport::PROVED).into())
    }),
    ("canary_accepted", "gauge", "1: it accepts it, and so whoever was revoked.", |one| {
        one.canary.as_ref().map(|_| one.accepts_the_revoked().into())
    }),
    ("well", "gauge", "1: no action needed.", |one| Some(one.is_well().into())),
];

/// Between two attempts to open the listener.
const PAUSE: Duration = Duration::from_secs(30);

/// Serves `/metrics` for ever. An address that is in use keeps no certificate from being renewed: it is told and tried
/// again.
pub(crate) async fn serve(address: SocketAddr, report: watch::Receiver<Report>) {
    let listener = loop {
        match open(address).await {
            Ok(listener) => break listener,
            Err(error) => tracing::warn!(error, "cannot serve metrics yet; retrying"),
        }
        sleep(PAUSE).await;
    };
    let handler = move || {
        let text = text(&report.borrow());
        async move { ([(header::CONTENT_TYPE, CONTENT_TYPE)], text) }
    };
    let served = axum::serve(listener, Router::new().route("/metrics", get(handler))).await;
    if let Err(error) = served {
        tracing::error!(%error, "the metrics listener ended");
    }
}

/// Opens the listener; an error names the key.
pub(crate) async fn open(address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|error| format!("metrics = \"{address}\" cannot be opened: {error}"))
}

/// Names in the configuration need no escaping.
fn text(report: &Report) -> String {
    let mut out = String::new();
    for (name, kind, help, value) in METRICS {
        let values: Vec<_> = report.identities.iter().filter_map(|one| Some((&one.name, value(one)?))).collect();
        if !values.is_empty() {
            let _ = writeln!(out, "# HELP signet_agent_{name} {help}\n# TYPE signet_agent_{name} {kind}");
        }
        for (identity, value) in values {
            let _ = writeln!(out, "signet_agent_{name}{{identity=\"{identity}\"}} {value}");
        }
    }
    let _ = writeln!(out, "# HELP signet_agent_standing 1 for the current state.\n# TYPE signet_agent_standing gauge");
    for one in &report.identities {
        for standing in STANDINGS {
            let is = u8::from(one.standing == standing);
            let _ = writeln!(out, "signet_agent_standing{{identity=\"{}\",standing=\"{standing}\"}} {is}", one.name);
        }
    }
    out
}
