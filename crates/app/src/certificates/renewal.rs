//! Renewal: the next certificate of an instance, the word that it was stored, and when the next one is due.

use std::sync::Arc;

use signet_core::{
    Error, Identity, TenantScope, Time,
    authorities::CaState,
    authorization::Permit,
    certificates::{
        Certificate, CertificateState, Confirmation, RevocationReason,
        renewal::{Advice, Window, advise},
    },
    principals::{HeldCertificate, Principal},
    store::{Versioned, commit::Write},
};
use signet_x509::Csr;

use crate::{
    App, AuditEntry, Call, IssuedLeaf, Planned,
    authorities::{reservation::resource_id, signing},
    call,
    certificates::{
        issuance,
        lineage::{self, require_usable},
        order::{Admission, Order, Presented, key_digest, parse_csr},
        recorded::is_of_key,
        release, without,
    },
    ledger::{self, fingerprint},
    reads,
};

/// The caller's next certificate, for a key that is none of those it holds. Renewing again with the same certificate
/// replaces an answer that was lost; once the successor is in use, it locks the instance. `RENEWED_TOO_RECENTLY`: wait,
/// see [`signet_core::certificates::lineage::earliest_next`].
pub async fn renew_certificate(
    app: &Arc<App>,
    call: &Call,
    permit: &Permit,
    scope: &TenantScope,
    csr_der: &[u8],
) -> Result<IssuedLeaf, Error> {
    let identity = permit.identity();
    own(scope, identity)?;
    let csr = parse_csr(csr_der)?;
    let record = reads::certificate(app, scope, &identity.issuer, &identity.serial, call.now).await;
    let record = record.map_err(unknown)?.value;
    require_own_key(&record, identity)?;
    renew(app, call, scope, record, &csr).await
}

/// Renews the certificate of `record`, whose key the caller has proven to hold.
pub(crate) async fn renew(
    app: &Arc<App>,
    call: &Call,
    scope: &TenantScope,
    record: Certificate,
    csr: &Csr,
) -> Result<IssuedLeaf, Error> {
    let presented = &Presented::from(&record);
    // Those who ask at once would all be let in, as long as none has been answered.
    let _turn = app.turns.take(format!("renewal/{}", record.instance())).await;
    let holder = record.principal;
    // One request, whichever way it comes.
    let named = Call { operation: "RenewCertificate", ..call.clone() };
    let fingerprint = fingerprint(&named, &(&holder, key_digest(csr)))?;
    let order = Order { call, scope, csr, fingerprint, renews: Some(presented) };
    let admit = || async {
        let principal = reads::principal(app, scope, &holder, call.now).await?;
        let succession = lineage::succession(app, &order, &principal.value, None).await?;
        let Some(succession) = succession else { return Err(Error::internal("a renewal of nothing")) };
        succession.check()?;
        succession.check_pace(call.now)?;
        let presented = succession.presented.value;
        require_new_key(app, &order, &principal.value, &presented).await?;
        Ok(Admission::of(principal, Some(presented), call.now))
    };
    let begun = issuance::begin(app, &order, admit).await;
    let begun = lineage::lock_if_copied(app, &order, begun).await?;
    let concluded = release::conclude(app, &order, begun).await;
    lineage::lock_if_copied(app, &order, concluded).await
}

/// The new key must not be one that is certified already.
async fn require_new_key(
    app: &App,
    order: &Order<'_>,
    principal: &Principal,
    presented: &Certificate,
) -> Result<(), Error> {
    let now = order.call.now;
    let all = principal.certificates.iter().chain(&principal.superseded);
    let mut keys = vec![presented.spki_sha256.clone()];
    for held in all.filter(|held| held.serial != presented.serial && held.not_after > now) {
        keys.push(reads::certificate(app, order.scope, &held.issuer, &held.serial, now).await?.value.spki_sha256);
    }
    if keys.contains(&key_digest(order.csr)) {
        let message = "the key already has a certificate; create a new key for each renewal";
        return Err(Error::invalid("csr_der", "KEY_REUSED", message));
    }
    Ok(())
}

/// The holder's word that it has stored the certificate it calls with. From then on nobody needs the one before it,
/// and whoever renews that one holds a copy of its key. Saying it again changes nothing.
pub async fn confirm_certificate(
    app: &App,
    call: &Call,
    permit: &Permit,
    scope: &TenantScope,
) -> Result<Certificate, Error> {
    confirm(app, call, permit, scope, false).await
}

/// The same, and the one before it is refused everywhere from now on. Confirmed before or not.
pub async fn confirm_and_revoke_previous(
    app: &App,
    call: &Call,
    permit: &Permit,
    scope: &TenantScope,
) -> Result<Certificate, Error> {
    confirm(app, call, permit, scope, true).await
}

async fn confirm(
    app: &App,
    call: &Call,
    permit: &Permit,
    scope: &TenantScope,
    and_revoke: bool,
) -> Result<Certificate, Error> {
    let identity = permit.identity();
    own(scope, identity)?;
    let read = || reads::certificate(app, scope, &identity.issuer, &identity.serial, call.now);
    let plan = || async {
        let mut found = read().await?;
        require_own_key(&found.value, identity)?;
        require_usable(&found.value)?;
        let previous = if and_revoke { previous_of(app, scope, &found.value, call.now).await? } else { None };
        let is_new = found.value.lineage.confirmed.is_none() && found.value.renews.is_some();
        if !is_new && previous.is_none() {
            return Ok(Planned::Unchanged(found.value));
        }
        let mut entry = AuditEntry::done(call, "certificate", resource_id(&found.value))
            .detail("principal", &found.value.principal);
        if let Some((previous, _)) = &previous {
            entry = entry.detail("superseded", previous.value.serial);
        }
        let mut commit = call::audited(app, call, scope.tenant(), &entry);
        if is_new {
            found.value.lineage.confirmed = Some(Confirmation { at: call.now, source: call.source });
            commit = commit.write(Write::replace(found.value.clone(), found.version));
        }
        if let Some((previous, holder)) = previous {
            commit = commit.writes(without(holder, &previous.value.serial));
            commit = lineage::revoke(commit, previous, RevocationReason::Superseded, false, call.now);
        }
        Ok(Planned::Commit(Box::new(commit), found.value))
    };
    let replay = |_| async { Ok(read().await?.value) };
    let (serial, tenant) = (&identity.serial, scope.tenant());
    if and_revoke {
        return ledger::mutate(app, call, tenant, &(serial, "revoke previous"), plan, replay).await;
    }
    ledger::mutate(app, call, tenant, serial, plan, replay).await
}

/// The certificate that `of` was renewed from, unless nobody accepts it any more, and its holder.
async fn previous_of(
    app: &App,
    scope: &TenantScope,
    of: &Certificate,
    now: Time,
) -> Result<Option<(Versioned<Certificate>, Versioned<Principal>)>, Error> {
    let holder = reads::principal(app, scope, &of.principal, now).await?;
    let is_previous = |held: &&HeldCertificate| Some(held.serial) == of.renews && held.not_after > now;
    let Some(held) = holder.value.superseded.iter().find(is_previous).filter(|_| holder.value.is_holder_of(of)) else {
        return Ok(None);
    };
    let previous = reads::certificate(app, scope, &held.issuer, &held.serial, now).await?;
    Ok(Some((previous, holder)).filter(|(previous, _)| previous.value.state == CertificateState::Issued))
}

/// When the certificate that the caller calls with should be renewed.
pub async fn renewal_info(app: &App, call: &Call, permit: &Permit, scope: &TenantScope) -> Result<Advice, Error> {
    let identity = permit.identity();
    own(scope, identity)?;
    let authorities = signing::authorities(app, scope.tenant(), call.now).await?;
    let issuer = authorities.named(&identity.issuer)?;
    // One that signs in place of one that has not begun has not gone.
    let signs = authorities.active().is_ok_and(|active| active.id == issuer.id);
    let retiring = (issuer.state == CaState::Retiring && !signs).then_some(issuer.updated_at);
    let tenant = &authorities.tenant;
    let validity = Window { start: identity.not_before, end: identity.not_after };
    let steering = tenant.renewal_steering.as_ref();
    Ok(advise(validity, identity.serial.made_at(), steering, retiring, tenant.renewal_grace))
}

/// After a restore there are good certificates without a record.
fn unknown(error: Error) -> Error {
    if let Error::NotFound { .. } = error { not_on_record() } else { error }
}

/// One that the CA's key signed past us may have a serial number that is on record.
fn require_own_key(record: &Certificate, identity: &Identity) -> Result<(), Error> {
    if is_of_key(record, identity) { Ok(()) } else { Err(not_on_record()) }
}

fn not_on_record() -> Error {
    let message = "there is no record of this certificate, so it cannot be renewed; enroll again";
    Error::precondition("CERTIFICATE_UNKNOWN", message)
}

fn own(scope: &TenantScope, identity: &Identity) -> Result<(), Error> {
    if scope.tenant() == &identity.tenant { Ok(()) } else { Err(Error::not_found("principal", &identity.principal)) }
}
