//! What is asked of an issuance, and what its steps hand on.

use std::sync::Arc;

use signet_core::{
    CaId, Error, Serial, TenantId, TenantScope, Time,
    certificates::Certificate,
    principals::{HeldCertificate, Principal, PrincipalStatus},
    store::{Versioned, commit::Commit, request::Outcome, tally::Tally},
};
use signet_x509::{Csr, Prepared};

use crate::{
    App, Call,
    authorities::signing::{Authorities, Issuer},
};

pub(crate) const OPERATORS_ELSEWHERE: &str = "OPERATORS_ENROLL_AT_CONTROL_PLANE";

/// A released certificate and what its holder needs to use it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct IssuedLeaf {
    pub certificate: Certificate,
    /// The certificate, then the CA that signed it; DER.
    pub chain_der: Vec<Vec<u8>>,
    /// The environment's roots, DER.
    pub root_der: Vec<Vec<u8>>,
    /// What the tenant's verifiers trust, DER.
    pub trust_anchor_der: Vec<Vec<u8>>,
}

/// What is asked for.
pub(crate) struct Order<'a> {
    pub(crate) call: &'a Call,
    pub(crate) scope: &'a TenantScope,
    pub(crate) csr: &'a Csr,
    /// Tells this request from others with the same id.
    pub(crate) fingerprint: String,
    /// The certificate that the caller holds, if it asks for the next one.
    pub(crate) renews: Option<&'a Presented>,
}

/// Names the certificate that a renewal is asked with.
pub(crate) struct Presented {
    pub(crate) issuer: CaId,
    pub(crate) serial: Serial,
}

/// A principal that may have a certificate, as it will be once `commit` is written.
pub(crate) struct Admission {
    pub(crate) principal: Versioned<Principal>,
    /// The certificate to be renewed.
    pub(crate) presented: Option<Certificate>,
    /// What is written together with the reservation.
    pub(crate) commit: Commit,
    /// For a principal that does not exist yet: how many its tenant has.
    pub(crate) others: Option<Tally>,
}

impl Admission {
    /// Of a principal that exists: nothing but the reservation is written.
    pub(crate) fn of(principal: Versioned<Principal>, presented: Option<Certificate>, now: Time) -> Self {
        let commit = Commit::bookkeeping(now);
        Self { principal, presented, commit, others: None }
    }
}

/// How far a request has come.
pub(crate) enum Begun {
    /// Its to-be-signed bytes are on record.
    Reserved(Box<Reservation>),
    /// It was made before.
    Known(Outcome),
}

/// A reservation about to be signed and committed.
pub(crate) struct Reservation {
    pub(crate) record: Versioned<Certificate>,
    pub(crate) principal: Versioned<Principal>,
    pub(crate) prepared: Prepared,
    pub(crate) issuer: Arc<Issuer>,
    pub(crate) authorities: Arc<Authorities>,
}

/// Reads a CSR; the error names what is wrong with it.
pub(crate) fn parse_csr(csr_der: &[u8]) -> Result<Csr, Error> {
    Csr::parse(csr_der).map_err(|error| Error::invalid("csr_der", error.reason(), error.to_string()))
}

/// SHA-256 of the key to be certified, hexadecimal: all that counts of a CSR.
pub(crate) fn key_digest(csr: &Csr) -> String {
    hex::encode(csr.public_key().spki_sha256())
}

/// Whether the principal may hold one more. A renewal takes the place of what its instance holds.
pub(crate) fn may_hold(
    call: &Call,
    principal: &Principal,
    presented: Option<&Certificate>,
    most: u32,
) -> Result<(), Error> {
    require_active_principal(principal)?;
    let replaced = |held: &HeldCertificate| presented.is_some_and(|presented| presented.instance() == held.instance());
    let held = principal.certificates.iter().filter(|held| held.not_after > call.now && !replaced(held));
    if held.count() < most as usize {
        return Ok(());
    }
    let message =
        format!("the principal has {most} certificates, the limit of its tenant; revoke one or wait until one expires");
    Err(Error::Exhausted { reason: "CERTIFICATE_LIMIT", message, retry_after: None })
}

pub(crate) fn require_active_principal(principal: &Principal) -> Result<(), Error> {
    let what = match principal.status {
        PrincipalStatus::Active => return Ok(()),
        PrincipalStatus::Suspended => ("PRINCIPAL_SUSPENDED", "is suspended; activate it first"),
        PrincipalStatus::Deleted => ("PRINCIPAL_DELETED", "was deleted; create one with another id"),
    };
    Err(Error::precondition(what.0, format!("principal {} {}", principal.id, what.1)))
}

/// Sends operators away before anything is written, if this process may not sign for them.
pub(crate) fn require_served(app: &App, tenant: &TenantId) -> Result<(), Error> {
    let Some(address) = app.settings.operators_at.as_ref().filter(|_| tenant.is_system()) else { return Ok(()) };
    let message = format!("operators enroll and renew at the control plane, not here: {address}");
    Err(Error::precondition(OPERATORS_ELSEWHERE, message))
}
