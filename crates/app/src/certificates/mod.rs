//! Certificates on record: read, list, revoke.

pub mod expiry;
pub mod issuance;
pub(crate) mod lineage;
pub(crate) mod order;
pub mod recorded;
pub(crate) mod release;
pub mod renewal;
pub mod sweep;
mod unrecorded;

use std::sync::atomic::AtomicBool;

use signet_core::{
    CaId, Error, PrincipalId, Serial, TenantScope, Time,
    authorization::Permit,
    certificates::{Certificate, CertificateState, RevocationReason},
    principals::Principal,
    store::{Index, Query, Table, Versioned, commit::Write},
    tenants::Tenant,
};

use crate::{
    App, AuditEntry, Call, Listing, PageRequest, Planned,
    authorities::reservation::resource_id,
    call,
    certificates::lineage::{announce_revoked, end, list, revoke},
    ledger, paging,
    reads::{self, may_manage_any},
};

/// Reads a principal's certificate.
pub async fn get_certificate(
    app: &App,
    call: &Call,
    scope: &TenantScope,
    issuer: &CaId,
    serial: &Serial,
) -> Result<Certificate, Error> {
    match reads::certificate(app, scope, issuer, serial, call.now).await {
        Err(Error::NotFound { resource, id }) => Err(reads::missing(app, scope, resource, id, call.now).await),
        found => Ok(found?.value),
    }
}

/// Lists a principal's certificates, newest first: those that were released, until 30 days after they expire.
pub async fn list_certificates(
    app: &App,
    call: &Call,
    scope: &TenantScope,
    principal: &PrincipalId,
    page: &PageRequest,
) -> Result<Listing<Certificate>, Error> {
    reads::principal(app, scope, principal, call.now).await?;
    let partition = Certificate::by_principal(scope.tenant(), principal);
    let query = |_| Query::index(Table::Certificates, Index::ByPrincipal, partition.clone()).descending();
    let read = |query| async move { scope.page::<Certificate>(&*app.store, &query, call.now).await };
    paging::list(page, &format!("certificates/{partition}"), 1, query, read).await
}

/// Refuses the certificate everywhere, within a second, until it expires. For [`RevocationReason::KeyCompromise`] its
/// whole instance, since whoever has the key may have renewed it before; what the holder handed out counts no more
/// either.
pub async fn revoke_certificate(
    app: &App,
    call: &Call,
    permit: &Permit,
    scope: &TenantScope,
    issuer: &CaId,
    serial: &Serial,
    reason: RevocationReason,
) -> Result<Certificate, Error> {
    revoke_one(app, call, permit, scope, (issuer, serial, Unrecorded::NotFound), reason).await
}

/// The same, also of a certificate that was never recorded, so that its CA's key signed it past us: its record is
/// written, revoked. For admins, of a CA of the scope's tenant; the operator also of a shared one.
pub async fn revoke_recorded_or_not(
    app: &App,
    call: &Call,
    permit: &Permit,
    scope: &TenantScope,
    issuer: &CaId,
    serial: &Serial,
    reason: RevocationReason,
) -> Result<Certificate, Error> {
    revoke_one(app, call, permit, scope, (issuer, serial, Unrecorded::Revoked), reason).await
}

/// What becomes of one that was never recorded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unrecorded {
    NotFound,
    Revoked,
}

async fn revoke_one(
    app: &App,
    call: &Call,
    permit: &Permit,
    scope: &TenantScope,
    (issuer, serial, unrecorded): (&CaId, &Serial, Unrecorded),
    reason: RevocationReason,
) -> Result<Certificate, Error> {
    let is_charged = AtomicBool::new(false);
    let plan = || async {
        let found = match reads::read_certificate(app, scope, issuer, serial, call.now).await {
            Err(Error::NotFound { .. }) if unrecorded == Unrecorded::Revoked => {
                let which = (issuer, serial);
                return unrecorded::plan_revocation(app, call, permit, scope, which, reason, &is_charged).await;
            }
            Err(Error::NotFound { resource, id }) => {
                return Err(reads::missing(app, scope, resource, id, call.now).await);
            }
            found => found??,
        };
        if found.value.is_unrecorded() {
            return unrecorded::plan_again(app, call, permit, found.value, &is_charged);
        }
        let holder = holder_if_readable(app, permit, scope, &found.value, call.now).await?;
        let roles = holder.as_ref().map_or(&[][..], |holder| &holder.value.roles);
        permit.may_manage(found.value.principal_type, roles)?;
        if reason == RevocationReason::KeyCompromise {
            return plan_end(app, call, scope, found, holder, &is_charged).await;
        }
        require_usable_by_anybody(app, scope, &found.value, call.now).await?;
        if is_revoked(&found.value) && found.value.not_after <= call.now {
            return Ok(Planned::Unchanged(found.value));
        }
        let entry = revocation(call, &found.value, reason);
        let commit = call::audited(app, call, scope.tenant(), &entry);
        if is_revoked(&found.value) {
            app.throttle.repeated(call, &is_charged)?;
            let commit = announce_revoked(commit, scope.tenant(), *serial, found.value.not_after);
            return Ok(Planned::Commit(Box::new(commit), found.value));
        }
        let commit = revoke(commit, found.clone(), reason, false, call.now);
        let state = CertificateState::Revoked { revoked_at: call.now, reason };
        let commit = commit.writes(holder.and_then(|holder| without(holder, serial)));
        Ok(Planned::Commit(Box::new(commit), Certificate { state, ..found.value }))
    };
    let replay = |_| get_certificate(app, call, scope, issuer, serial);
    ledger::mutate(app, call, scope.tenant(), &(issuer, serial, reason), plan, replay).await
}

/// The end of the instance of a certificate whose key is in other hands. Also if the certificate itself has expired or
/// was revoked before: what was renewed from it is still in use.
async fn plan_end(
    app: &App,
    call: &Call,
    scope: &TenantScope,
    found: Versioned<Certificate>,
    holder: Option<Versioned<Principal>>,
    is_charged: &AtomicBool,
) -> Result<Planned<Certificate>, Error> {
    require_released(&found.value)?;
    let mut members = lineage::members(app, scope, found.clone(), holder.as_ref(), call.now).await?;
    if is_revoked(&found.value) {
        if members.valid.is_empty() {
            app.throttle.repeated(call, is_charged)?;
        }
        lineage::add_revoked(app, scope, &found.value, &mut members, call.now).await?;
    }
    if members.told.is_empty() && members.valid.iter().all(|member| member.value.not_after <= call.now) {
        require_usable_by_anybody(app, scope, &found.value, call.now).await?;
    }
    let instance = found.value.instance();
    let ended = holder.as_ref().is_none_or(|holder| holder.value.ended_instances.contains(&instance));
    if members.is_empty() && ended {
        return Ok(Planned::Unchanged(found.value));
    }
    let reason = RevocationReason::KeyCompromise;
    let entry = revocation(call, &found.value, reason).detail("instance", instance);
    let entry = entry.detail("revoked", list(&members.valid));
    let commit = call::audited(app, call, scope.tenant(), &entry);
    let mut answer = found.value;
    if !is_revoked(&answer) {
        answer.state = CertificateState::Revoked { revoked_at: call.now, reason };
    }
    Ok(Planned::Commit(Box::new(end(commit, instance, holder, scope.tenant(), members, false, call.now)), answer))
}

/// See `lineage::holder_of`. One that cannot be read counts as none where the caller's right does not depend on it.
async fn holder_if_readable(
    app: &App,
    permit: &Permit,
    scope: &TenantScope,
    certificate: &Certificate,
    now: Time,
) -> Result<Option<Versioned<Principal>>, Error> {
    match reads::read_principal(app, scope, &certificate.principal, now).await {
        Ok(Ok(found)) => Ok(Some(found).filter(|found| found.value.is_holder_of(certificate))),
        Ok(Err(_)) if may_manage_any(permit) => Ok(None),
        Ok(Err(error)) => Err(error.into()),
        Err(Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn revocation(call: &Call, certificate: &Certificate, reason: RevocationReason) -> AuditEntry {
    AuditEntry::done(call, "certificate", resource_id(certificate))
        .detail("principal", &certificate.principal)
        .detail("reason", reason.as_str())
}

/// An error if there is nothing to revoke: it was never released, or has expired and is not renewed any more either.
async fn require_usable_by_anybody(
    app: &App,
    scope: &TenantScope,
    certificate: &Certificate,
    now: Time,
) -> Result<(), Error> {
    require_released(certificate)?;
    if certificate.state != CertificateState::Issued || certificate.not_after > now {
        return Ok(());
    }
    let found = scope.get::<Tenant>(&*app.store, &Tenant::key_of(scope.tenant()), now).await?;
    let grace = found.map(|found| found.value.renewal_grace).unwrap_or_default();
    if now < certificate.not_after.plus(grace) {
        return Ok(());
    }
    Err(Error::precondition("CERTIFICATE_EXPIRED", "the certificate has expired; nobody accepts or renews it"))
}

fn is_revoked(certificate: &Certificate) -> bool {
    matches!(certificate.state, CertificateState::Revoked { .. })
}

fn require_released(certificate: &Certificate) -> Result<(), Error> {
    match certificate.state {
        CertificateState::Issued | CertificateState::Revoked { .. } => Ok(()),
        CertificateState::Reserved | CertificateState::Abandoned => {
            Err(Error::precondition("CERTIFICATE_NOT_ISSUED", "the certificate was never released; nobody accepts it"))
        }
    }
}

/// Takes the certificate off the list of those that its holder has, if it is on it.
pub(crate) fn without(holder: Versioned<Principal>, serial: &Serial) -> Option<Write> {
    let Versioned { mut value, version } = holder;
    value.forget(serial).then(|| Write::replace(value, version))
}
