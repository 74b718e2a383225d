//! Enrollment: the first certificate, against a proof that is none of ours.

mod admitting;
mod by_rule;
mod by_token;
pub mod exchange;
pub mod out_of_band;
pub mod rules;
pub mod tokens;

use std::sync::Arc;

use secrecy::SecretString;
use signet_core::{Error, PrincipalId, TenantId, enrollment::attestation::Evidence};

use crate::{App, Call, IssuedLeaf, certificates::order::parse_csr};

/// What speaks for the caller.
#[derive(Debug)]
pub enum Proof {
    /// The text of a join token.
    JoinToken(SecretString),
    /// Evidence that the rules of a tenant may accept.
    Attested {
        /// The tenant to be enrolled in.
        tenant: TenantId,
        /// What the caller presents.
        evidence: Evidence,
    },
}

/// A request for a first certificate.
#[derive(Debug)]
pub struct Enroll {
    /// What speaks for the caller.
    pub proof: Proof,
    /// The id to take, if the proof leaves it open.
    pub principal: Option<PrincipalId>,
    /// PKCS#10, DER.
    pub csr_der: Vec<u8>,
}

/// Redeems a proof. What it uses up, a new principal and the reservation are one transaction, so that of any number of
/// callers with a single-use token one gets a certificate. The same request id and key take up what a crash left
/// behind, and use nothing a second time. A refusal names its reason in the tenant's audit log and nowhere else.
pub async fn enroll(app: &Arc<App>, call: &Call, input: Enroll) -> Result<IssuedLeaf, Error> {
    if call.request_id.is_none() {
        return Err(Error::invalid("request_id", "REQUIRED", "is needed: it makes a retry safe"));
    }
    let csr = parse_csr(&input.csr_der)?;
    match &input.proof {
        Proof::JoinToken(secret) => by_token::enroll_by_token(app, call, secret, input.principal.as_ref(), &csr).await,
        Proof::Attested { tenant, evidence } => {
            evidence.check_size()?;
            by_rule::enroll_by_rule(app, call, tenant, evidence, input.principal.as_ref(), &csr).await
        }
    }
}
