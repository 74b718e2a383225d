//! Whether this node should get calls, and why not.

use std::sync::atomic::Ordering;

use serde::Serialize;
use signet_core::{Time, trust::WhenStale};

use crate::{node::Node, server_identity::judge::Fault};

/// What `/readyz` answers.
#[derive(Debug, Serialize)]
pub(crate) struct Readiness {
    pub(crate) ready: bool,
    /// Why not; UPPER_SNAKE_CASE and what to do.
    pub(crate) reasons: Vec<Reason>,
    /// What is wrong though the node serves.
    pub(crate) warnings: Vec<Reason>,
    /// Milliseconds since the changes feed last answered.
    pub(crate) staleness_ms: Option<u64>,
    /// Whether that is beyond the limit.
    pub(crate) stale: bool,
    /// What a stale node does.
    pub(crate) when_stale: &'static str,
    pub(crate) trust_epoch: u64,
    pub(crate) server_certificate_expires: Option<String>,
    /// What is wrong with the certificate that stands in the server's place; a good one is served on nevertheless.
    pub(crate) server_certificate_fault: Option<&'static str>,
    pub(crate) version: &'static str,
}

/// Why a node is not ready, or does not do all that it should.
#[derive(Debug, Serialize)]
pub(crate) struct Reason {
    pub(crate) reason: &'static str,
    pub(crate) message: &'static str,
}

impl Node {
    pub(crate) fn readiness(&self, now: Time) -> Readiness {
        let mut reasons = Vec::new();
        let mut because = |unless: bool, reason, message| {
            if !unless {
                reasons.push(Reason { reason, message });
            }
        };
        let expires = self.certificate.not_after();
        because(!self.is_draining(), "NODE_DRAINING", "the node is shutting down");
        let fault = self.certificate.fault();
        match fault {
            Some(fault) => because(expires.is_some(), fault.reason(), fault.message()),
            None => because(
                expires.is_some(),
                "NO_SERVER_CERTIFICATE",
                "there is no server certificate yet; run `principal bootstrap`",
            ),
        }
        because(
            !self.bundles.server_trust_der().is_empty(),
            "NO_ROOT",
            "the store has no root; run `principal bootstrap`, or check that it is this environment's store",
        );
        because(
            expires.is_none_or(|expires| now < expires),
            "SERVER_CERTIFICATE_EXPIRED",
            "the server's certificate has expired; renew it or run `principal bootstrap`",
        );
        because(
            self.certificate.not_before().is_none_or(|begins| begins <= now),
            "SERVER_CERTIFICATE_NOT_YET_VALID",
            "the server's certificate is not valid yet: check the clock; if it is right, run `principal bootstrap`",
        );
        because(
            self.trust.staleness_millis().is_some(),
            "TRUST_NOT_LOADED",
            "the changes feed has not been read yet; is the store reachable?",
        );
        let stale = self.trust.is_stale();
        let serves_stale = self.trust.when_stale() == WhenStale::Serve;
        because(
            !stale || serves_stale,
            "NODE_STALE",
            "the changes feed has not been read for too long; is the store reachable?",
        );
        because(
            !(self.store_is_full)(),
            "STORE_FULL",
            "the store's disk is full, so only suspensions and revocations are written; free some disk space",
        );
        let restoring = Reason {
            reason: "STORE_RESTORING",
            message: "the store is being restored, or a restore was cut off: until that has ended nothing is changed; run \
                      `principal restore` again, or end it with --give-up",
        };
        let endpoint = self.endpoint.fault();
        let endpoint = endpoint.map(|fault| Reason { reason: fault.reason(), message: fault.message() });
        Readiness {
            ready: reasons.is_empty(),
            reasons,
            // No other node could do more.
            warnings: self.restoring.load(Ordering::Acquire).then_some(restoring).into_iter().chain(endpoint).collect(),
            staleness_ms: self.trust.staleness_millis(),
            stale,
            when_stale: if serves_stale { "serve" } else { "refuse" },
            trust_epoch: self.trust.epoch(),
            server_certificate_expires: expires.map(rfc3339),
            server_certificate_fault: fault.map(Fault::reason),
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

/// As people and programs write instants.
pub(crate) fn rfc3339(time: Time) -> String {
    jiff::Timestamp::from_millisecond(time.unix_millis()).map_or_else(|_| "beyond".into(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// What `/readyz` says is read by others, `principal doctor` among them, which is tested against this file.
    #[test]
    fn the_report_is_the_one_that_others_read() {
        let fault = Fault::LacksName;
        let report = Readiness {
            ready: false,
            reasons: vec![Reason { reason: "NODE_STALE", message: "the changes feed has not been read" }],
            warnings: vec![Reason { reason: "STORE_RESTORING", message: "the store is being restored" }],
            staleness_ms: Some(31_000),
            stale: true,
            when_stale: "refuse",
            trust_epoch: 7,
            server_certificate_expires: Some(rfc3339(Time::from_unix_seconds(604_800))),
            server_certificate_fault: Some(fault.reason()),
            version: "0.0.0",
        };
        let text = serde_json::to_string_pretty(&report).unwrap() + "\n";
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/readyz.json");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &text).unwrap();
        }
        let reviewed = std::fs::read_to_string(&golden).unwrap();
        assert!(text == reviewed, "what /readyz says changed; mind those who read it, and review {golden:?}:\n{text}");
    }
}
