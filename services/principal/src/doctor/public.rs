//! Checks through the server's public listener: reachable, clock, root, readiness.

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use signet_client::Credentials;
use signet_x509::{pem, server_anchors};

use super::{
    check::Check,
    http::{self, Answer},
};
use crate::{context::Context, output, run::Run};

/// Certificates start a minute in the past, so more than that is refused.
const TOO_MUCH_SECONDS: u64 = 60;
const MUCH_SECONDS: u64 = 10;
/// Server certificates live for a week and are renewed well before the last day.
const SOON: SignedDuration = SignedDuration::from_hours(24);

pub(super) async fn examine(context: &Context, credentials: Option<&Credentials>, run: &Run) -> Vec<Check> {
    let Some(base) = &context.public_endpoint else {
        let advice = "set it: `principal context add NAME --replace --public-endpoint http://HOST:PORT …`";
        let message = "the context has no public endpoint: clock, root and readiness of the server are not checked";
        return vec![Check::warn("public listener", message, advice)];
    };
    let limit = run.global.timeout;
    let ready = match http::get(base, "/readyz", limit).await {
        Ok(answer) => answer,
        Err(error) => {
            let advice = "is signetd running, and does a firewall let this port through?";
            return vec![Check::fail("public listener", format!("{base}: {error}"), advice)];
        }
    };
    let mut checks = vec![Check::ok("public listener", format!("{base} answers"))];
    checks.extend(ready.date.map(|date| clock(date, Timestamp::now())));
    checks.push(readiness(&ready, Timestamp::now()));
    if let Some(credentials) = credentials {
        checks.push(match http::get(base, "/v1/ca.pem", limit).await {
            Ok(answer) => root(&answer, credentials),
            Err(error) => Check::warn("root", format!("{base}/v1/ca.pem: {error}"), "try again"),
        });
    }
    checks
}

fn clock(server: Timestamp, here: Timestamp) -> Check {
    let seconds = here.duration_since(server).unsigned_abs().as_secs();
    let message = format!("{seconds} s different from the server's");
    let advice = "set this machine's clock by NTP; if it is right, the server's is not";
    match seconds {
        0..=MUCH_SECONDS => Check::ok("clock", message),
        s if s <= TOO_MUCH_SECONDS => Check::warn("clock", message, advice),
        _ => Check::fail("clock", message, advice),
    }
}

/// What `/readyz` says of the node. Fields that an older server does not send are passed over.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Report {
    ready: bool,
    reasons: Vec<Reason>,
    warnings: Vec<Reason>,
    staleness_ms: Option<i64>,
    stale: bool,
    server_certificate_expires: Option<Timestamp>,
    server_certificate_fault: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Reason {
    reason: String,
    message: String,
}

fn readiness(answer: &Answer, now: Timestamp) -> Check {
    let Ok(report) = serde_json::from_str::<Report>(&answer.body) else {
        let message = format!("/readyz returns HTTP {} without a report", answer.status);
        return Check::fail("server", message, "is this signetd's public listener?");
    };
    let mut message = if report.ready { "ready".to_owned() } else { format!("not ready: {}", said(&report.reasons)) };
    if !report.warnings.is_empty() {
        message.push_str(&format!("; {}", said(&report.warnings)));
    }
    if let Some(millis) = report.staleness_ms {
        message.push_str(&format!("; changes read {millis} ms ago"));
    }
    if let Some(end) = report.server_certificate_expires {
        message.push_str(&format!("; its certificate expires {}", output::absolute(end, now)));
    }
    let ends_soon = report.server_certificate_expires.is_some_and(|end| end.duration_since(now) < SOON);
    match () {
        () if !report.ready => {
            Check::fail("server", message, "see signetd's log; it must reach its store, keys and feed")
        }
        () if report.stale => {
            Check::warn("server", message, "it serves without reading revocations: can it reach its store?")
        }
        () if !report.warnings.is_empty() => Check::warn("server", message, "its operator must act, as it says"),
        () if report.server_certificate_fault.is_some() => {
            let fault = report.server_certificate_fault.unwrap_or_default();
            let message = format!("{message}; a new certificate was rejected: {fault}");
            Check::warn("server", message, "install the right one; signetd's log says what is wrong with it")
        }
        () if ends_soon => {
            Check::warn("server", message, "its certificate should have been renewed: see signetd's log")
        }
        () => Check::ok("server", message),
    }
}

fn said(reasons: &[Reason]) -> String {
    reasons.iter().map(|why| format!("{} ({})", why.message, why.reason)).collect::<Vec<_>>().join("; ")
}

fn root(answer: &Answer, credentials: &Credentials) -> Check {
    let served = pem::decode_certificates(&answer.body).unwrap_or_default();
    let (served, trusted) = (server_anchors(&served), server_anchors(credentials.root_der()));
    if served.iter().any(|anchor| trusted.contains(anchor)) {
        return Check::ok("root", "this context trusts a server anchor of the server");
    }
    let advice = "another environment, or a man in the middle: compare the digests with the operator";
    let digest = served.first().copied().map(signet_client::fingerprint).unwrap_or_else(|| "none".into());
    Check::fail(
        "root",
        format!("this context trusts no server anchor of the server (SHA-256 of its first: {digest})"),
        advice,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Health;

    #[test]
    fn a_clock_may_be_off_by_less_than_certificates_start_in_the_past() {
        let at = |second: i64| Timestamp::from_second(second).unwrap_or_default();
        let status = |off: i64| clock(at(1000), at(1000 + off)).status;
        assert_eq!([status(-5), status(30), status(-61)], [Health::Ok, Health::Warn, Health::Fail]);
    }

    #[test]
    fn a_node_that_is_not_ready_says_why() {
        let now = Timestamp::UNIX_EPOCH;
        let check = |body: &str| readiness(&Answer { status: 503, date: None, body: body.into() }, now);
        let down = check(r#"{"ready":false,"reasons":[{"reason":"FEED_STALE","message":"silent"}],"new_field":1}"#);
        assert!(down.status == Health::Fail && down.message.contains("FEED_STALE"), "{down:?}");
        assert_eq!(check(r#"{"ready":true,"stale":true}"#).status, Health::Warn);
        assert_eq!(check(r#"{"ready":true,"server_certificate_expires":"1970-01-01T12:00:00Z"}"#).status, Health::Warn);
        let restoring = check(r#"{"ready":true,"warnings":[{"reason":"STORE_RESTORING","message":"restored"}]}"#);
        assert!(restoring.status == Health::Warn && restoring.message.contains("STORE_RESTORING"), "{restoring:?}");
        assert_eq!(check(r#"{"ready":true}"#).status, Health::Ok);
        assert_eq!(check("<html>").status, Health::Fail);
    }

    /// The control plane's own words: its test writes this file.
    #[test]
    fn what_the_control_plane_says_is_understood() {
        let body = include_str!("../../../control-plane/tests/golden/readyz.json");
        let check = readiness(&Answer { status: 503, date: None, body: body.into() }, Timestamp::UNIX_EPOCH);
        assert_eq!(check.status, Health::Fail);
        assert!(check.message.starts_with("not ready: the changes feed has not been read"), "{check:?}");
        assert!(check.message.contains("(NODE_STALE)"), "{check:?}");
    }
}
