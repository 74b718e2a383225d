//! Certificates of principals: reserve, sign, compare, commit, and only then release.

use signet_core::{
    Error, Identity, PrincipalId, StoreError, TenantScope, Time,
    authz::Permit,
    ca::Ca,
    certificate::{Certificate, CertificateState},
    commit::{Bookkeeping, Commit, Write},
    principal::{HeldCertificate, Principal, PrincipalStatus},
    request::Outcome,
    store::Versioned,
    trust::Refusal,
};
use signet_x509::{Csr, LeafProfile, Prepared, lint::Kind};

use crate::{
    App, AuditEntry, Call,
    authority::{Authorities, Issuer, issue_error, profile_error},
    ledger::{ATTEMPTS, fingerprint, request_record},
    reservation::{CREATED, Holder, released, resource_id, sign},
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
}

/// What is asked for.
pub(crate) struct Order<'a> {
    pub(crate) call: &'a Call,
    pub(crate) scope: &'a TenantScope,
    pub(crate) csr: &'a Csr,
    /// Tells this request from others with the same id.
    pub(crate) fingerprint: String,
    /// The certificate that the caller calls with, if it asks for the next one.
    pub(crate) renews: Option<&'a Identity>,
}

/// A principal that may have a certificate, as it will be once `commit` is written.
pub(crate) struct Admission {
    pub(crate) principal: Versioned<Principal>,
    /// What is written together with the reservation.
    pub(crate) commit: Commit,
}

impl Admission {
    /// Of a principal that exists: nothing but the reservation is written.
    pub(crate) fn of(principal: Versioned<Principal>, now: Time) -> Self {
        Self { principal, commit: Commit::bookkeeping(Bookkeeping::Reservation, now) }
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
    record: Versioned<Certificate>,
    principal: Versioned<Principal>,
    prepared: Prepared,
    issuer: Issuer,
    authorities: Authorities,
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
        let admit = || async { Ok(Admission::of(self.principal(scope, id, call.now).await?, call.now)) };
        let begun = self.begin(&order, admit).await?;
        self.conclude(&order, begun).await
    }

    /// The caller's next certificate, for a key that is none of those it holds.
    pub async fn renew_certificate(
        &self,
        call: &Call,
        permit: &Permit,
        scope: &TenantScope,
        csr_der: &[u8],
    ) -> Result<IssuedLeaf, Error> {
        let identity = permit.identity();
        if scope.tenant() != &identity.tenant {
            return Err(Error::not_found("principal", &identity.principal));
        }
        let csr = parse_csr(csr_der)?;
        let fingerprint = fingerprint(call, &(&identity.principal, key_digest(&csr)))?;
        let order = Order { call, scope, csr: &csr, fingerprint, renews: Some(identity) };
        let admit = || async {
            let principal = self.principal(scope, &identity.principal, call.now).await?;
            self.require_new_key(call, scope, identity, &principal.value, &csr).await?;
            Ok(Admission::of(principal, call.now))
        };
        let begun = self.begin(&order, admit).await?;
        self.conclude(&order, begun).await
    }

    /// The presented certificate must stand, and the new key must not be one that is certified already.
    async fn require_new_key(
        &self,
        call: &Call,
        scope: &TenantScope,
        identity: &Identity,
        principal: &Principal,
        csr: &Csr,
    ) -> Result<(), Error> {
        let presented = self.certificate(scope, &identity.issuer, &identity.serial, call.now).await?;
        if presented.value.state != CertificateState::Issued {
            return Err(Refusal::Revoked.into());
        }
        let held =
            principal.certificates.iter().filter(|held| held.serial != identity.serial && held.not_after > call.now);
        let mut keys = vec![presented.value.spki_sha256];
        for held in held {
            keys.push(self.certificate(scope, &held.issuer, &held.serial, call.now).await?.value.spki_sha256);
        }
        if keys.contains(&key_digest(csr)) {
            let message = "the key has a certificate already; make a new key for each renewal";
            return Err(Error::invalid("csr_der", "KEY_REUSED", message));
        }
        Ok(())
    }

    /// Reserves a certificate for the principal that `admit` lets in, or finds what came of the request before.
    pub(crate) async fn begin<A, F>(&self, order: &Order<'_>, admit: A) -> Result<Begun, Error>
    where
        A: Fn() -> F,
        F: Future<Output = Result<Admission, Error>>,
    {
        let (call, tenant) = (order.call, order.scope.tenant());
        let mut conflict = Error::Conflict("the principal");
        for _ in 0..ATTEMPTS {
            if let Some(outcome) = self.outcome_of(call, tenant, &order.fingerprint).await? {
                return Ok(Begun::Known(outcome));
            }
            let (admission, authorities) = match futures::try_join!(admit(), self.authorities(order.scope, call.now)) {
                Ok(both) => both,
                Err(error) => return self.begun_meanwhile(order, error).await,
            };
            let Admission { principal, commit } = admission;
            let issuer = self.issuer(authorities.active()?).await?;
            let (prepared, record) = self.prepare(order, &principal.value, &authorities, &issuer)?;
            let outcome = Outcome::Certificate { issuer: record.issuer.clone(), serial: record.serial };
            let request = request_record(call, tenant, &order.fingerprint, outcome);
            let commit = commit.write(Write::create(record.clone())).writes(request.map(Write::create));
            match self.commit(&commit, call.now).await {
                Ok(()) => {
                    let record = Versioned { value: record, version: CREATED };
                    let reservation = Reservation { record, principal, prepared, issuer, authorities };
                    return Ok(Begun::Reserved(Box::new(reservation)));
                }
                Err(error @ (StoreError::Conflict { .. } | StoreError::Unknown(_))) => conflict = error.into(),
                Err(error) => return Err(error.into()),
            }
        }
        Err(conflict)
    }

    /// A refusal may come of the same request's first attempt, e.g. when it used up the token just now.
    async fn begun_meanwhile(&self, order: &Order<'_>, error: Error) -> Result<Begun, Error> {
        let known = self.outcome_of(order.call, order.scope.tenant(), &order.fingerprint).await?;
        known.map(Begun::Known).ok_or(error)
    }

    fn prepare(
        &self,
        order: &Order<'_>,
        principal: &Principal,
        authorities: &Authorities,
        issuer: &Issuer,
    ) -> Result<(Prepared, Certificate), Error> {
        let (call, tenant) = (order.call, &authorities.tenant);
        require_active(tenant)?;
        may_hold(order, principal, tenant.max_certificates)?;
        let profile = LeafProfile::of(&self.environment, principal).map_err(profile_error)?;
        let lifetime = tenant.lifetime(principal.principal_type);
        let serial = self.serial(call.now);
        let prepared =
            signet_x509::issue::prepare_leaf(&profile, order.csr, &issuer.certificate, serial, lifetime, call.now)
                .map_err(issue_error)?;
        let renews = order.renews.map(|presented| presented.serial);
        let holder = Holder::principal(principal, renews);
        let record = self.reservation(call, &issuer.ca.id, &prepared, holder)?;
        Ok((prepared, record))
    }

    /// Signs and commits what was reserved, or answers with what was released before.
    pub(crate) async fn conclude(&self, order: &Order<'_>, begun: Begun) -> Result<IssuedLeaf, Error> {
        let reservation = match begun {
            Begun::Reserved(reservation) => *reservation,
            Begun::Known(outcome) => match self.take_up(order, outcome).await? {
                TakenUp::Reserved(reservation) => *reservation,
                TakenUp::Released(leaf) => return Ok(*leaf),
            },
        };
        self.sign_and_commit(order, reservation).await
    }

    /// Where a repeated request stands: its certificate was released, or its recorded bytes are signed again.
    async fn take_up(&self, order: &Order<'_>, outcome: Outcome) -> Result<TakenUp, Error> {
        let (call, scope) = (order.call, order.scope);
        let Outcome::Certificate { issuer, serial } = outcome else {
            return Err(Error::internal("the request's record is not that of a certificate"));
        };
        let record = self.certificate(scope, &issuer, &serial, call.now).await?;
        let authorities = self.authorities(scope, call.now).await?;
        let ca = authorities.named(&issuer)?;
        if is_released(&record.value)? {
            return Ok(TakenUp::Released(Box::new(leaf(record.value, ca, &authorities.roots))));
        }
        let Some(principal) = self.find_principal(scope, &record.value.principal, call.now).await? else {
            self.abandon(call, &record, "PRINCIPAL_DELETED").await?;
            return Err(Error::not_found("principal", &record.value.principal));
        };
        self.admit_or_abandon(order, &record, &principal.value, &authorities).await?;
        let issuer = self.issuer(ca).await?;
        let tbs_der = &record.value.tbs_der;
        let prepared =
            Prepared::resume(Kind::Leaf, &self.environment, tbs_der, &issuer.certificate).map_err(issue_error)?;
        let reservation = Reservation { record, principal, prepared, issuer, authorities };
        Ok(TakenUp::Reserved(Box::new(reservation)))
    }

    /// A certificate that was released before, with what its holder needs.
    pub(crate) async fn released_leaf(
        &self,
        call: &Call,
        scope: &TenantScope,
        record: Certificate,
    ) -> Result<IssuedLeaf, Error> {
        let authorities = self.authorities(scope, call.now).await?;
        let ca = authorities.named(&record.issuer)?;
        Ok(leaf(record, ca, &authorities.roots))
    }

    async fn sign_and_commit(&self, order: &Order<'_>, reservation: Reservation) -> Result<IssuedLeaf, Error> {
        let Reservation { mut record, mut principal, prepared, issuer, authorities } = reservation;
        let (call, scope) = (order.call, order.scope);
        let issued = sign(&*issuer.signer, prepared).await?;
        let mut conflict = Error::Conflict("the principal");
        for _ in 0..ATTEMPTS {
            self.admit_or_abandon(order, &record, &principal.value, &authorities).await?;
            let certificate = released(record.value.clone(), issued.clone());
            let commit = self.release(order, &certificate, &record, &principal);
            match self.commit(&commit, call.now).await {
                Ok(()) => return Ok(leaf(certificate, &issuer.ca, &authorities.roots)),
                Err(error @ (StoreError::Conflict { .. } | StoreError::Unknown(_))) => conflict = error.into(),
                // The reservation stays: the same request id takes it up again.
                Err(error) => return Err(error.into()),
            }
            record = self.certificate(scope, &record.value.issuer, &record.value.serial, call.now).await?;
            if is_released(&record.value)? {
                return Ok(leaf(record.value, &issuer.ca, &authorities.roots));
            }
            principal = self.principal(scope, &principal.value.id, call.now).await?;
        }
        Err(conflict)
    }

    /// Gives the reservation up if its holder may no longer have it.
    async fn admit_or_abandon(
        &self,
        order: &Order<'_>,
        record: &Versioned<Certificate>,
        principal: &Principal,
        authorities: &Authorities,
    ) -> Result<(), Error> {
        let Err(refusal) = still_admitted(order, principal, &record.value, authorities) else { return Ok(()) };
        self.abandon(order.call, record, refusal.reason()).await?;
        Err(refusal)
    }

    /// The commit that makes a certificate valid: only if nobody changed its holder since it was looked at.
    fn release(
        &self,
        order: &Order<'_>,
        certificate: &Certificate,
        reserved: &Versioned<Certificate>,
        principal: &Versioned<Principal>,
    ) -> Commit {
        let mut holder = principal.value.clone();
        holder.forget_expired(order.call.now);
        holder.certificates.retain(|held| !is_presented(order, held));
        holder.certificates.push(HeldCertificate {
            issuer: certificate.issuer.clone(),
            serial: certificate.serial,
            not_after: certificate.not_after,
        });
        let mut entry = AuditEntry::done(order.call, "certificate", resource_id(certificate))
            .detail("principal", &certificate.principal)
            .detail("principal_type", certificate.principal_type)
            .detail("not_after", certificate.not_after.unix_seconds())
            .detail("spki_sha256", &certificate.spki_sha256);
        if let Some(renews) = &certificate.renews {
            entry = entry.detail("renews", renews);
        }
        Commit::audited(self.event(order.call, &certificate.tenant, &entry))
            .write(Write::replace(certificate.clone(), reserved.version))
            .write(Write::replace(holder, principal.version))
    }
}

enum TakenUp {
    Reserved(Box<Reservation>),
    Released(Box<IssuedLeaf>),
}

/// Reads a CSR; the error names what is wrong with it.
pub(crate) fn parse_csr(csr_der: &[u8]) -> Result<Csr, Error> {
    Csr::parse(csr_der).map_err(|error| Error::invalid("csr_der", error.reason(), error.to_string()))
}

/// SHA-256 of the key to be certified, hexadecimal: all that counts of a CSR.
pub(crate) fn key_digest(csr: &Csr) -> String {
    hex::encode(csr.public_key().spki_sha256())
}

fn leaf(certificate: Certificate, issuer: &Ca, roots: &[Ca]) -> IssuedLeaf {
    let chain_der = vec![certificate.certificate_der.clone(), issuer.certificate_der.clone()];
    IssuedLeaf { certificate, chain_der, root_der: roots.iter().map(|root| root.certificate_der.clone()).collect() }
}

/// Whether a record's certificate was released; an error if it never will be, or is no longer good.
fn is_released(record: &Certificate) -> Result<bool, Error> {
    match record.state {
        CertificateState::Reserved => Ok(false),
        CertificateState::Issued => Ok(true),
        CertificateState::Abandoned => {
            let message = "this request was given up before its certificate was complete; use a new request id (to enroll, \
                           also a token with uses left)";
            Err(Error::precondition("RESERVATION_ABANDONED", message))
        }
        CertificateState::Revoked { .. } => {
            let message = "the certificate of this request was revoked meanwhile; use a new request id";
            Err(Error::precondition("CERTIFICATE_REVOKED", message))
        }
    }
}

fn is_presented(order: &Order<'_>, held: &HeldCertificate) -> bool {
    order.renews.is_some_and(|presented| presented.serial == held.serial)
}

fn may_hold(order: &Order<'_>, principal: &Principal, most: u32) -> Result<(), Error> {
    require_active_principal(principal)?;
    let held =
        principal.certificates.iter().filter(|held| held.not_after > order.call.now && !is_presented(order, held));
    if held.count() < most as usize {
        return Ok(());
    }
    let message = format!("the principal holds {most} certificates, as many as its tenant allows; revoke one or wait");
    Err(Error::Exhausted { reason: "CERTIFICATE_LIMIT", message })
}

/// The last look before the commit, at the principal as it is now.
fn still_admitted(
    order: &Order<'_>,
    principal: &Principal,
    record: &Certificate,
    authorities: &Authorities,
) -> Result<(), Error> {
    require_active(&authorities.tenant)?;
    may_hold(order, principal, authorities.tenant.max_certificates)?;
    if principal.generation == record.principal_generation {
        return Ok(());
    }
    let message = "the principal was changed while its certificate was made; use a new request id";
    Err(Error::precondition("PRINCIPAL_CHANGED", message))
}

pub(crate) fn require_active_principal(principal: &Principal) -> Result<(), Error> {
    let what = match principal.status {
        PrincipalStatus::Active => return Ok(()),
        PrincipalStatus::Suspended => ("PRINCIPAL_SUSPENDED", "is suspended; activate it first"),
        PrincipalStatus::Deleted => ("PRINCIPAL_DELETED", "was deleted; create one with another id"),
    };
    Err(Error::precondition(what.0, format!("principal {} {}", principal.id, what.1)))
}
