//! Certificates of principals. Reserve, sign, compare, commit, and only then release: this module reserves,
//! [`crate::release`] does the rest. [`crate::renewal`] has what is special about a next one.

use std::sync::Arc;

use signet_core::{
    CaId, Error, PrincipalId, Serial, StoreError, TenantScope, Time,
    certificate::Certificate,
    commit::{Bookkeeping, Commit, Write},
    principal::{HeldCertificate, Principal, PrincipalStatus},
    quota::{Quota, Tally},
    request::Outcome,
    store::Versioned,
};
use signet_x509::{Csr, LeafProfile, Prepared, issue::prepare_leaf};

use crate::{
    App, Call,
    authority::{Authorities, Issuer, issue_error, profile_error},
    ledger::{ATTEMPTS, fingerprint, request_record},
    reservation::{CREATED, Holder},
    tenants::require_active,
};

/// A released certificate and what its holder needs to use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedLeaf {
    /// The record.
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

impl From<&Certificate> for Presented {
    fn from(certificate: &Certificate) -> Self {
        Self { issuer: certificate.issuer.clone(), serial: certificate.serial }
    }
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
        let commit = Commit::bookkeeping(Bookkeeping::Reservation, now);
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

impl App {
    /// A certificate for a principal whose CSR somebody with the right to do so hands in.
    pub async fn issue_certificate(
        &self,
        call: &Call,
        scope: &TenantScope,
        id: &PrincipalId,
        csr_der: &[u8],
    ) -> Result<IssuedLeaf, Error> {
        let csr = parse_csr(csr_der)?;
        let fingerprint = fingerprint(call, &(id, key_digest(&csr)))?;
        let order = Order { call, scope, csr: &csr, fingerprint, renews: None };
        let admit = || async { Ok(Admission::of(self.principal(scope, id, call.now).await?, None, call.now)) };
        let begun = self.begin(&order, admit).await?;
        self.conclude(&order, begun).await
    }

    /// Reserves a certificate for the principal that `admit` lets in, or finds what came of the request before.
    pub(crate) async fn begin<A, F>(&self, order: &Order<'_>, admit: A) -> Result<Begun, Error>
    where
        A: Fn() -> F,
        F: Future<Output = Result<Admission, Error>>,
    {
        let (call, tenant) = (order.call, order.scope.tenant());
        let mut conflict = Error::Conflict("the principal");
        for attempt in 0..ATTEMPTS {
            self.pause(attempt).await;
            if let Some(outcome) = self.outcome_of(call, tenant, &order.fingerprint).await? {
                return Ok(Begun::Known(outcome));
            }
            let draft = match self.draft(order, &admit).await {
                Ok(draft) => draft,
                // It may come of this very request's first attempt, e.g. when that used up the token.
                Err(refusal) => {
                    let known = self.outcome_of(call, tenant, &order.fingerprint).await?;
                    return known.map(Begun::Known).ok_or(refusal);
                }
            };
            let (Reservation { record: Versioned { value: record, .. }, .. }, commit) = &draft;
            let outcome = Outcome::Certificate { issuer: record.issuer.clone(), serial: record.serial };
            let request = request_record(call, tenant, &order.fingerprint, outcome);
            let commit = commit.clone().writes(request.map(Write::create));
            match self.commit(&commit, call.now).await {
                Ok(()) => return Ok(Begun::Reserved(Box::new(draft.0))),
                Err(error @ (StoreError::Conflict { .. } | StoreError::Unknown(_))) => conflict = error.into(),
                Err(error) => return Err(error.into()),
            }
        }
        Err(conflict)
    }

    /// A reservation, and the commit that makes it one.
    async fn draft<A, F>(&self, order: &Order<'_>, admit: A) -> Result<(Reservation, Commit), Error>
    where
        A: Fn() -> F,
        F: Future<Output = Result<Admission, Error>>,
    {
        let (admission, authorities) = futures::try_join!(admit(), self.authorities(order.scope, order.call.now))?;
        let Admission { principal, presented, commit, others } = admission;
        if let Some(others) = others {
            let tenant = &authorities.tenant;
            tenant.quotas.check(Quota::Principals, &tenant.id, others.used())?;
        }
        let issuer = self.issuer(authorities.active()?).await?;
        let (prepared, record) = self.prepare(order, &principal.value, presented.as_ref(), &authorities, &issuer)?;
        let commit = commit.write(Write::create(record.clone()));
        let record = Versioned { value: record, version: CREATED };
        Ok((Reservation { record, principal, prepared, issuer, authorities }, commit))
    }

    fn prepare(
        &self,
        order: &Order<'_>,
        principal: &Principal,
        presented: Option<&Certificate>,
        authorities: &Authorities,
        issuer: &Issuer,
    ) -> Result<(Prepared, Certificate), Error> {
        let (call, tenant) = (order.call, &authorities.tenant);
        require_active(tenant)?;
        may_hold(call, principal, presented, tenant.max_certificates)?;
        let profile = LeafProfile::of(&self.environment, principal).map_err(profile_error)?;
        let lifetime = tenant.lifetime(principal.principal_type);
        let serial = self.serial(call.now);
        let prepared =
            prepare_leaf(&profile, order.csr, &issuer.certificate, serial, lifetime, call.now).map_err(issue_error)?;
        let record = self.reservation(call, &issuer.ca.id, &prepared, Holder::principal(principal, presented))?;
        Ok((prepared, record))
    }
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
    let message = format!("the principal holds {most} certificates, as many as its tenant allows; revoke one or wait");
    Err(Error::Exhausted { reason: "CERTIFICATE_LIMIT", message })
}

pub(crate) fn require_active_principal(principal: &Principal) -> Result<(), Error> {
    let what = match principal.status {
        PrincipalStatus::Active => return Ok(()),
        PrincipalStatus::Suspended => ("PRINCIPAL_SUSPENDED", "is suspended; activate it first"),
        PrincipalStatus::Deleted => ("PRINCIPAL_DELETED", "was deleted; create one with another id"),
    };
    Err(Error::precondition(what.0, format!("principal {} {}", principal.id, what.1)))
}
