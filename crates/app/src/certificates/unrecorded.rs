//! Revocation of a certificate that was never recorded, so that a CA's key signed it past us.

use std::sync::atomic::AtomicBool;

use signet_core::{
    CaId, Error, PrincipalType, Serial, TenantScope, Time,
    authorities::{Ca, CaKind},
    authorization::Permit,
    certificates::{Certificate, CertificateKind, CertificateState, Lineage, RevocationReason, UNRECORDED},
    store::commit::{Commit, Write},
    tenants::MAX_LIFETIME,
    trust::change::Change,
};

use crate::{
    App, AuditEntry, Call, Planned,
    authorities::reservation::{request_id_of, resource_id},
    call,
};

/// Writes the record of a certificate that has none, as revoked, and has every node refuse it for as long as any
/// certificate lives. For admins, of a CA of the scope's tenant; the operator also of a shared one.
pub(super) async fn plan_revocation(
    app: &App,
    call: &Call,
    permit: &Permit,
    scope: &TenantScope,
    (issuer, serial): (&CaId, &Serial),
    reason: RevocationReason,
    is_charged: &AtomicBool,
) -> Result<Planned<Certificate>, Error> {
    permit.may_manage(PrincipalType::Admin, &[])?;
    require_own_issuer(app, permit, scope, issuer, serial, call.now).await?;
    // Nothing else limits how many there are.
    app.throttle.repeated(call, is_charged)?;
    let record = Certificate {
        kind: CertificateKind::Leaf,
        issuer: issuer.clone(),
        serial: *serial,
        tenant: scope.tenant().clone(),
        principal: UNRECORDED.parse().map_err(Error::internal)?,
        principal_type: PrincipalType::Worker,
        principal_generation: 0,
        incarnation: None,
        state: CertificateState::Revoked { revoked_at: call.now, reason },
        not_before: call.now,
        not_after: call.now.plus(MAX_LIFETIME),
        spki_sha256: String::new(),
        tbs_der: Vec::new(),
        certificate_der: Vec::new(),
        request_id: request_id_of(app, call)?,
        renews: None,
        lineage: Lineage::default(),
        created_at: call.now,
        keep_until: None,
    };
    let commit = announced(app, call, &record, reason).write(Write::create(record.clone()));
    Ok(Planned::Commit(Box::new(commit), record))
}

/// Tells every node again.
pub(super) fn plan_again(
    app: &App,
    call: &Call,
    permit: &Permit,
    record: Certificate,
    is_charged: &AtomicBool,
) -> Result<Planned<Certificate>, Error> {
    permit.may_manage(PrincipalType::Admin, &[])?;
    let CertificateState::Revoked { reason, .. } = record.state else { return Ok(Planned::Unchanged(record)) };
    if record.not_after <= call.now {
        return Ok(Planned::Unchanged(record));
    }
    app.throttle.repeated(call, is_charged)?;
    Ok(Planned::Commit(Box::new(announced(app, call, &record, reason)), record))
}

/// The audit event, and the change for its issuer only: its serial number may be another's.
fn announced(app: &App, call: &Call, record: &Certificate, reason: RevocationReason) -> Commit {
    let entry = AuditEntry::done(call, "certificate", resource_id(record));
    let entry = entry.detail("reason", reason.as_str()).detail(UNRECORDED, true);
    let (serial, not_after, issuer) = (record.serial, record.not_after, Some(record.issuer.clone()));
    let change = Change::CertificateRevoked { serial, not_after, issuer };
    call::audited(app, call, &record.tenant, &entry).announce(&record.tenant, change, not_after)
}

/// `NOT_FOUND` for a CA that is not the caller's.
async fn require_own_issuer(
    app: &App,
    permit: &Permit,
    scope: &TenantScope,
    issuer: &CaId,
    serial: &Serial,
    now: Time,
) -> Result<(), Error> {
    let own = scope.get::<Ca>(&*app.store, &Ca::key_of(scope.tenant(), issuer), now).await?;
    if own.is_some_and(|ca| ca.value.kind == CaKind::Tenant) {
        return Ok(());
    }
    if permit.identity().tenant.is_system() {
        let system = TenantScope::system();
        let shared = system.get::<Ca>(&*app.store, &Ca::key_of(system.tenant(), issuer), now).await?;
        if shared.is_some_and(|ca| ca.value.kind == CaKind::Shared) {
            return Ok(());
        }
    }
    Err(Error::not_found("certificate", format!("{issuer}/{serial}")))
}
