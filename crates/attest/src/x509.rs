//! A certificate of a registered CA, and a signature with its key over [`Challenge::statement`].

use std::collections::BTreeMap;

use signet_core::{
    Lifetime, Time,
    enrollment::{
        attestation::{AttestationError, Challenge, Facts, ProofKind, fact},
        rule::Source,
    },
};
use signet_x509::foreign::{self, Foreign, ForeignError};

use crate::refused;

/// Oldest signature that counts.
const PAST: Lifetime = Lifetime::minutes(5);
/// How far a caller's clock may be ahead.
const AHEAD: Lifetime = Lifetime::minutes(1);
/// X.509: DNS names of the leaf.
const DNS: &str = "dns";
/// X.509: URIs of the leaf.
const URI: &str = "uri";

pub(crate) fn attest(
    chain_der: &[Vec<u8>],
    signed_at: Time,
    signature: &[u8],
    challenge: &Challenge<'_>,
) -> Result<Facts, AttestationError> {
    let anchors = anchors(challenge.sources);
    if anchors.is_empty() {
        return Err(refused("X509_NOT_TRUSTED", "no rule of the tenant registers a CA"));
    }
    if signed_at > challenge.now.plus(AHEAD) {
        return Err(refused("X509_PROOF_FROM_FUTURE", age(signed_at, challenge.now)));
    }
    if challenge.now > signed_at.plus(PAST) {
        return Err(refused("X509_PROOF_EXPIRED", age(signed_at, challenge.now)));
    }
    let statement = challenge.statement(signed_at);
    let verified = foreign::verify(chain_der, &anchors, statement.as_bytes(), signature, challenge.now);
    verified.map(facts).map_err(|error| refused(reason(error), error.to_string()))
}

fn age(signed_at: Time, now: Time) -> String {
    format!("it was signed {} s before now", now.millis_since(signed_at).div_euclid(1000))
}

/// The registered CAs, each once.
fn anchors(sources: &[Source]) -> Vec<Vec<u8>> {
    let mut anchors: Vec<Vec<u8>> = Vec::new();
    for source in sources {
        let Source::X509 { anchors_der } = source else { continue };
        anchors.extend(anchors_der.iter().cloned());
    }
    anchors.sort_unstable();
    anchors.dedup();
    anchors
}

fn facts(foreign: Foreign) -> Facts {
    let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
    values.insert(fact::ANCHOR.into(), vec![hex::encode(foreign.anchor_sha256)]);
    values.insert(fact::SERIAL.into(), vec![hex::encode(foreign.serial)]);
    for (name, value) in foreign.subject {
        values.entry(name.into()).or_default().push(value);
    }
    for (name, list) in [(DNS, foreign.dns_names), (URI, foreign.uris)] {
        if !list.is_empty() {
            values.insert(name.into(), list);
        }
    }
    Facts { proof: ProofKind::X509, values }
}

const fn reason(error: ForeignError) -> &'static str {
    match error {
        ForeignError::Size => "X509_CHAIN_SIZE",
        ForeignError::Malformed => "X509_MALFORMED",
        ForeignError::UntrustedIssuer => "X509_UNTRUSTED_ISSUER",
        ForeignError::BadSignature => "X509_BAD_CERTIFICATE_SIGNATURE",
        ForeignError::Expired => "X509_EXPIRED",
        ForeignError::NotYetValid => "X509_NOT_YET_VALID",
        ForeignError::AnchorNotValid => "X509_ANCHOR_NOT_VALID",
        ForeignError::WrongKeyUsage => "X509_WRONG_KEY_USAGE",
        ForeignError::IsACa => "X509_IS_A_CA",
        ForeignError::BadProof => "X509_BAD_PROOF",
    }
}
