//! The end of an issuance: sign what was reserved, compare, commit, and only then release.

use futures::FutureExt;
use signet_core::{
    Error, StoreError, TenantScope,
    authorities::Ca,
    certificates::{Certificate, CertificateState},
    principals::{HeldCertificate, Principal},
    store::{
        Versioned,
        commit::{Commit, Write},
        request::Outcome,
    },
};
use signet_x509::{Prepared, lint::Kind};

use crate::{
    App, AuditEntry, Call, IssuedLeaf,
    authorities::{
        reservation::{self, resource_id, sign, with_signature},
        signing::{self, Authorities, issue_error},
    },
    call,
    certificates::{
        lineage::{self, Succession, replaced},
        order::{Begun, Order, Reservation, may_hold},
    },
    ledger::{self, ATTEMPTS},
    reads::{self, require_active},
};

/// Signs and commits what was reserved, or answers with what was released before.
pub(crate) async fn conclude(app: &App, order: &Order<'_>, begun: Begun) -> Result<IssuedLeaf, Error> {
    let reservation = match begun {
        Begun::Reserved(reservation) => *reservation,
        Begun::Known(outcome) => match take_up(app, order, outcome).await? {
            TakenUp::Reserved(reservation) => *reservation,
            TakenUp::Released(leaf) => return Ok(*leaf),
        },
    };
    sign_and_commit(app, order, reservation).await
}

/// Where a repeated request stands: its certificate was released, or its recorded bytes are signed again.
async fn take_up(app: &App, order: &Order<'_>, outcome: Outcome) -> Result<TakenUp, Error> {
    let (call, scope) = (order.call, order.scope);
    let Outcome::Certificate { issuer, serial } = outcome else {
        return Err(Error::internal("the request's record is not that of a certificate"));
    };
    let record = reads::certificate(app, scope, &issuer, &serial, call.now).await?;
    let authorities = signing::authorities(app, scope.tenant(), call.now).await?;
    let ca = authorities.named(&issuer)?;
    if is_released(&record.value)? {
        return Ok(TakenUp::Released(Box::new(leaf(record.value, ca, &authorities))));
    }
    let Some(principal) = reads::find_principal(app, scope, &record.value.principal, call.now).await? else {
        reservation::abandon(app, call, &record, "PRINCIPAL_DELETED").await?;
        return Err(Error::not_found("principal", &record.value.principal));
    };
    let succession = lineage::succession(app, order, &principal.value, Some(&record.value.serial)).await?;
    let succession = succession.as_ref();
    if let Err(refusal) = still_admitted(order, &principal.value, &record.value, &authorities, succession) {
        let released = give_up(app, order, &record, refusal).await?;
        return Ok(TakenUp::Released(Box::new(leaf(released, ca, &authorities))));
    }
    let issuer = signing::issuer(app, ca).await?;
    let tbs_der = &record.value.tbs_der;
    let prepared = Prepared::resume(Kind::Leaf, &app.environment, tbs_der, &issuer.certificate).map_err(issue_error)?;
    let reservation = Reservation { record, principal, prepared, issuer, authorities };
    Ok(TakenUp::Reserved(Box::new(reservation)))
}

/// A certificate that was released before, with what its holder needs.
pub(crate) async fn released_leaf(
    app: &App,
    call: &Call,
    scope: &TenantScope,
    record: Certificate,
) -> Result<IssuedLeaf, Error> {
    let authorities = signing::authorities(app, scope.tenant(), call.now).await?;
    let ca = authorities.named(&record.issuer)?;
    Ok(leaf(record, ca, &authorities))
}

async fn sign_and_commit(app: &App, order: &Order<'_>, reservation: Reservation) -> Result<IssuedLeaf, Error> {
    let Reservation { mut record, mut principal, prepared, issuer, authorities } = reservation;
    let (call, scope) = (order.call, order.scope);
    let issued = sign(&*issuer.signer, prepared).await?;
    let mut conflict = Error::Conflict("the principal");
    // Instances of one principal queue here instead of meeting in the store. Who had to wait looks again.
    let holder = format!("{}/{}", scope.tenant(), principal.value.id);
    let _turn = match app.holders.take(holder.clone()).now_or_never() {
        Some(turn) => turn,
        None => {
            let turn = app.holders.take(holder).await;
            principal = reads::principal(app, scope, &principal.value.id, call.now).await?;
            turn
        }
    };
    for attempt in 0..ATTEMPTS {
        ledger::pause(app, attempt).await;
        let succession = lineage::succession(app, order, &principal.value, Some(&record.value.serial)).await?;
        let succession = succession.as_ref();
        if let Err(refusal) = still_admitted(order, &principal.value, &record.value, &authorities, succession) {
            let released = give_up(app, order, &record, refusal).await?;
            return Ok(leaf(released, &issuer.ca, &authorities));
        }
        let certificate = with_signature(record.value.clone(), issued.clone());
        let commit = release(app, order, &certificate, &record, &principal, succession);
        match ledger::commit(app, &commit, call.now).await {
            Ok(()) => return Ok(leaf(certificate, &issuer.ca, &authorities)),
            Err(error @ (StoreError::Conflict { .. } | StoreError::Unknown(_))) => conflict = error.into(),
            // The reservation stays: the same request id takes it up again.
            Err(error) => return Err(error.into()),
        }
        record = reads::certificate(app, scope, &record.value.issuer, &record.value.serial, call.now).await?;
        if is_released(&record.value)? {
            return Ok(leaf(record.value, &issuer.ca, &authorities));
        }
        principal = reads::principal(app, scope, &principal.value.id, call.now).await?;
    }
    Err(conflict)
}

/// Closes a reservation whose holder may no longer have it. `Ok`: the same request, sent twice, was faster and has
/// released it.
async fn give_up(
    app: &App,
    order: &Order<'_>,
    record: &Versioned<Certificate>,
    refusal: Error,
) -> Result<Certificate, Error> {
    if !reservation::abandon(app, order.call, record, refusal.reason()).await? {
        let Certificate { issuer, serial, .. } = &record.value;
        let now = reads::certificate(app, order.scope, issuer, serial, order.call.now).await?.value;
        if is_released(&now)? {
            return Ok(now);
        }
    }
    Err(refusal)
}

/// The commit that makes a certificate valid: only if nobody changed its holder since it was looked at.
fn release(
    app: &App,
    order: &Order<'_>,
    certificate: &Certificate,
    reserved: &Versioned<Certificate>,
    principal: &Versioned<Principal>,
    succession: Option<&Succession>,
) -> Commit {
    let mut holder = principal.value.clone();
    holder.forget_expired(order.call.now);
    holder.certificates.push(HeldCertificate {
        issuer: certificate.issuer.clone(),
        serial: certificate.serial,
        not_after: certificate.not_after,
        instance: certificate.lineage.instance,
    });
    let mut entry = AuditEntry::done(order.call, "certificate", resource_id(certificate))
        .detail("principal", &certificate.principal)
        .detail("principal_type", certificate.principal_type)
        .detail("not_after", certificate.not_after.unix_seconds())
        .detail("spki_sha256", &certificate.spki_sha256);
    if let Some(succession) = succession {
        entry = succession.describe(entry);
        succession.supersede(&mut holder, order.call.now);
    }
    let commit = call::audited(app, order.call, &certificate.tenant, &entry)
        .write(Write::replace(certificate.clone(), reserved.version.clone()))
        .write(Write::replace(holder, principal.version.clone()));
    match succession {
        Some(succession) => succession.write(commit, certificate, order.call.now),
        None => commit,
    }
}

enum TakenUp {
    Reserved(Box<Reservation>),
    Released(Box<IssuedLeaf>),
}

fn leaf(certificate: Certificate, issuer: &Ca, authorities: &Authorities) -> IssuedLeaf {
    let chain_der = vec![certificate.certificate_der.clone(), issuer.certificate_der.clone()];
    let root_der = authorities.server_trust_der.clone();
    IssuedLeaf { certificate, chain_der, root_der, trust_anchor_der: authorities.trust_anchors() }
}

/// Whether a record's certificate was released; an error if it never will be, or is no longer good.
fn is_released(record: &Certificate) -> Result<bool, Error> {
    match record.state {
        CertificateState::Reserved => Ok(false),
        CertificateState::Issued => Ok(true),
        CertificateState::Abandoned => {
            let message = "this request was abandoned before its certificate was complete; use a new request id (to enroll, \
                           also a token with uses left)";
            Err(Error::precondition("RESERVATION_ABANDONED", message))
        }
        CertificateState::Revoked { .. } => {
            let message = "the certificate of this request was revoked meanwhile; use a new request id";
            Err(Error::precondition("CERTIFICATE_REVOKED", message))
        }
    }
}

/// The last look before the commit, at the principal and what it renews as they are now.
fn still_admitted(
    order: &Order<'_>,
    principal: &Principal,
    record: &Certificate,
    authorities: &Authorities,
    succession: Option<&Succession>,
) -> Result<(), Error> {
    require_active(&authorities.tenant)?;
    if let Some(succession) = succession {
        succession.check_again(order.call.now)?;
    }
    let presented = succession.map(|succession| &succession.presented.value);
    may_hold(order.call, principal, presented, authorities.tenant.max_certificates)?;
    if !principal.is_holder_of(record) {
        return Err(replaced());
    }
    if principal.generation == record.principal_generation {
        return Ok(());
    }
    let message = "the principal changed while its certificate was being issued; use a new request id";
    Err(Error::precondition("PRINCIPAL_CHANGED", message))
}
