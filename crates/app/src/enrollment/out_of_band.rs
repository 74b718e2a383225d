//! Renewal without a handshake: for a holder that cannot reach the control plane, or whose certificate has expired.

use std::sync::Arc;

use signet_core::{
    Actor, Error, Lifetime, TenantId, TenantScope, Time,
    certificates::{Certificate, CertificateKind},
    tenants::{Isolation, Tenant},
};
use signet_x509::{CertificateView, Csr, Leaf, OutOfBandStatement, PublicKey, is_older_than_issuer};

use crate::{
    App, AuditEntry, Call, IssuedLeaf,
    authorities::signing,
    certificates::{
        lineage::{CLONE_DETECTED, require_usable},
        order::{self, parse_csr},
        renewal,
    },
    enrollment::admitting::{self, refused},
};

/// How far the time of a statement may be from ours.
const MAX_SKEW: Lifetime = Lifetime::minutes(5);
/// Largest certificate that is looked at, bytes.
const MAX_CERTIFICATE: usize = 16 * 1024;

/// A renewal that is signed with the present key instead of asked for over a connection of the present certificate.
#[derive(Clone, Debug)]
pub struct OutOfBandRenewal {
    /// The present certificate, DER.
    pub certificate_der: Vec<u8>,
    /// PKCS#10 for a new key, DER.
    pub csr_der: Vec<u8>,
    /// When it was signed; within five minutes of our time.
    pub signed_at: Time,
    /// Over [`OutOfBandStatement::text`], ECDSA with SHA-256, DER.
    pub signature_der: Vec<u8>,
}

/// Renews a certificate whose holder signs with its key. Also after expiry, within the tenant's grace; and when its CA
/// was retired since, for the certificate is compared with our record of it, byte for byte, and not with the CA. `call`
/// is the anonymous caller's, with a request id. Refusals are audited here.
///
/// Before the key is proven the caller learns no more than "refused", or that its clock is wrong.
pub async fn renew_out_of_band(app: &Arc<App>, call: &Call, input: &OutOfBandRenewal) -> Result<IssuedLeaf, Error> {
    if call.request_id.is_none() {
        return Err(Error::invalid("request_id", "REQUIRED", "is needed: it makes a retry safe"));
    }
    let csr = parse_csr(&input.csr_der)?;
    let (record, tenant) = match proven(app, call, input).await {
        Ok(found) => found,
        Err(error) => return refuse_renewal(app, call, &TenantId::system(), None, error).await,
    };
    let call = Call { actor: holder(&record), ..call.clone() };
    match renew_proven(app, &call, &record, &tenant, &csr).await {
        Ok(leaf) => Ok(leaf),
        Err(error) => refuse_renewal(app, &call, &record.tenant, Some(&record), error).await,
    }
}

async fn renew_proven(
    app: &Arc<App>,
    call: &Call,
    record: &Certificate,
    tenant: &Tenant,
    csr: &Csr,
) -> Result<IssuedLeaf, Error> {
    order::require_served(app, &record.tenant)?;
    require_usable(record)?;
    if call.now >= record.not_after.plus(tenant.renewal_grace) {
        let message = "the certificate has expired, and so has the tenant's renewal grace period; enroll again";
        return Err(Error::precondition("RENEWAL_GRACE_OVER", message));
    }
    renewal::renew(app, call, &TenantScope::of_certificate(record), record.clone(), csr).await
}

/// Our record of the certificate, whose key has signed the request, and its tenant.
async fn proven(app: &App, call: &Call, input: &OutOfBandRenewal) -> Result<(Certificate, Tenant), Error> {
    let certificate_der = &input.certificate_der;
    if certificate_der.len() > MAX_CERTIFICATE {
        return Err(refused("CERTIFICATE_TOO_LARGE"));
    }
    let view = CertificateView::from_der(certificate_der).map_err(|_| refused("CERTIFICATE_MALFORMED"))?;
    let leaf = Leaf::from_der(certificate_der, &app.environment).map_err(|_| refused("CERTIFICATE_NOT_OURS"))?;
    check_signature(app, call, input, &view)?;
    let authorities = match signing::authorities(app, &leaf.id.tenant, call.now).await {
        Err(Error::NotFound { .. }) => return Err(refused("UNKNOWN_TENANT")),
        found => found?,
    };
    let issuer = authorities.issuer_of(&view).ok_or_else(|| refused("CERTIFICATE_NOT_OURS"))?;
    if is_older_than_issuer(&leaf.serial, &issuer.certificate_der) {
        return Err(refused("ISSUER_REPLACED"));
    }
    let tenant = &authorities.tenant;
    if tenant.isolation == Isolation::Shared && leaf.serial.predates(tenant.created_at) {
        return Err(refused("TENANT_REPLACED"));
    }
    let key = Certificate::key_of(&issuer.id, &leaf.serial);
    let scope = TenantScope::of_holder(&authorities.tenant.id, &leaf.id.principal);
    let found = scope.get::<Certificate>(&*app.store, &key, call.now).await?.map(|found| found.value);
    let ours =
        |record: &Certificate| record.kind == CertificateKind::Leaf && &record.certificate_der == certificate_der;
    let record = found.filter(ours).ok_or_else(|| refused("CERTIFICATE_UNKNOWN"))?;
    Ok((record, authorities.tenant.clone()))
}

fn check_signature(app: &App, call: &Call, input: &OutOfBandRenewal, view: &CertificateView<'_>) -> Result<(), Error> {
    let key = PublicKey::from_spki_der(view.spki_der).map_err(|_| refused("CERTIFICATE_NOT_OURS"))?;
    let request_id = call.request_id.as_ref().ok_or_else(|| Error::internal("no request id"))?;
    let statement = OutOfBandStatement {
        environment: &app.environment,
        certificate_der: &input.certificate_der,
        csr_der: &input.csr_der,
        request_id,
        signed_at: input.signed_at,
    };
    statement.verify(&key, &input.signature_der).map_err(|_| refused("SIGNATURE_INVALID"))?;
    if call.now.millis_since(input.signed_at).abs() > MAX_SKEW.millis() {
        let message = "must be within five minutes of the server's time: set the clock, or sign again";
        return Err(Error::invalid("signed_at", "CLOCK_SKEW", message));
    }
    Ok(())
}

/// Records a refusal. What says nothing about the caller passes as it is, and what was recorded before.
async fn refuse_renewal<T>(
    app: &Arc<App>,
    call: &Call,
    tenant: &TenantId,
    record: Option<&Certificate>,
    error: Error,
) -> Result<T, Error> {
    let reason = match &error {
        Error::ProofRefused { reason } => reason,
        Error::Invalid { reason: "CLOCK_SKEW", .. } => "CLOCK_SKEW",
        Error::Precondition { reason, .. } if *reason == CLONE_DETECTED => return Err(error),
        Error::Invalid { .. }
        | Error::Conflict(_)
        | Error::Unavailable { .. }
        | Error::Restoring { .. }
        | Error::Misconfigured { .. }
        | Error::Unreadable { .. }
        | Error::Internal { .. } => {
            return Err(error);
        }
        other => other.reason(),
    };
    // Anybody can send these: they must not fill the log.
    let Some(unwritten) = app.throttle.may_record(tenant, reason, call.now) else { return Err(error) };
    let mut entry = AuditEntry::refused(call, reason);
    if unwritten > 0 {
        entry = entry.detail("unwritten_refusals_before", unwritten);
    }
    if let Some(record) = record {
        entry = entry
            .about("certificate", crate::authorities::reservation::resource_id(record))
            .detail("principal", &record.principal);
    }
    admitting::record_refusal(app, call, tenant, reason, entry).await;
    Err(error)
}

fn holder(record: &Certificate) -> Actor {
    Actor::Principal {
        tenant: record.tenant.clone(),
        principal_type: record.principal_type,
        principal: record.principal.clone(),
        serial: record.serial,
    }
}
