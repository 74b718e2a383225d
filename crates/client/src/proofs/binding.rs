//! What all proofs have: what they are bound to, and why they fail.

use signet_core::TenantId;
use signet_x509::{CertificateView, KeyPair};
use thiserror::Error;

/// Why no proof could be made. Texts hold no secrets.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("no {proof} proof: {problem}")]
pub struct ProofError {
    /// Which kind.
    pub proof: &'static str,
    /// What is wrong, and where.
    pub problem: String,
    /// Whether another try may help without anybody doing anything.
    pub transient: bool,
}

/// What a proof is bound to besides the key, so that it is of no use anywhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The environment's trust domain suffix, see [`environment_of`].
    pub server_id: String,
    /// The tenant to enroll in.
    pub tenant: TenantId,
}

/// The trust domain suffix of the environment that a root certificate (DER) is the root of: its subject's domain
/// components. Taken from the root that the caller trusts anyway, so that no server can choose it.
pub fn environment_of(root_der: &[u8]) -> Option<String> {
    let subject = CertificateView::from_der(root_der).ok()?.subject_text();
    // RFC 4514 section 2.1 writes the last component first, which is a domain name's order.
    let labels: Vec<&str> = subject.split(',').filter_map(|part| part.strip_prefix("DC=")).collect();
    (!labels.is_empty()).then(|| labels.join("."))
}

pub(super) fn key_sha256(key: &KeyPair) -> String {
    hex::encode(key.public_key().spki_sha256())
}
