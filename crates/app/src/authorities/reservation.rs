//! Reserve, sign, commit: what every signature of a CA key goes through, so that each has a record made before it.

use signet_core::{
    CaId, Error, PrincipalId, PrincipalType, RequestId, Serial, Signer, StoreError, TenantId, Time,
    authorities::signer::random,
    certificates::{Certificate, CertificateKind, CertificateState, Lineage},
    principals::Principal,
    store::{
        Version, Versioned,
        commit::{Commit, Write},
    },
};
use signet_x509::{Issued, Prepared};

use crate::{
    App, AuditEntry, Call,
    authorities::signing::issue_error,
    call,
    ledger::{self, ATTEMPTS},
};

/// The version of a record that was just created.
pub(crate) const CREATED: Version = Version::new(1);

/// For whom a certificate is made.
pub(crate) struct Holder {
    kind: CertificateKind,
    tenant: TenantId,
    principal: PrincipalId,
    principal_type: PrincipalType,
    generation: u64,
    incarnation: Option<Time>,
    /// The certificate that it replaces.
    renews: Option<Serial>,
    /// Until when that one's record is kept.
    keep_until: Option<Time>,
    lineage: Lineage,
}

impl Holder {
    /// A principal, perhaps for the next certificate after `presented`.
    pub(crate) fn principal(principal: &Principal, presented: Option<&Certificate>) -> Self {
        let lineage = |presented: &Certificate| Lineage {
            instance: Some(presented.instance()),
            generation: presented.lineage.generation.saturating_add(1),
            ..Lineage::default()
        };
        Self {
            kind: CertificateKind::Leaf,
            tenant: principal.tenant.clone(),
            principal: principal.id.clone(),
            principal_type: principal.principal_type,
            generation: principal.generation,
            incarnation: Some(principal.created_at),
            renews: presented.map(|presented| presented.serial),
            keep_until: presented.map(Certificate::kept_until),
            lineage: presented.map(lineage).unwrap_or_default(),
        }
    }

    /// The control plane as a server, or a CA of `tenant`.
    pub(crate) fn other(kind: CertificateKind, tenant: &TenantId) -> Result<Self, Error> {
        let name = if kind == CertificateKind::Ca { "ca" } else { "server" };
        Ok(Self {
            kind,
            tenant: tenant.clone(),
            principal: name.parse().map_err(Error::internal)?,
            principal_type: PrincipalType::Service,
            generation: 0,
            incarnation: None,
            renews: None,
            keep_until: None,
            lineage: Lineage::default(),
        })
    }

    /// An OCSP responder of a CA of `tenant`.
    pub(crate) fn responder(tenant: &TenantId) -> Result<Self, Error> {
        let principal = "ocsp".parse().map_err(Error::internal)?;
        Ok(Self { principal, ..Self::other(CertificateKind::Ca, tenant)? })
    }
}

/// A serial number for `now`.
pub(crate) fn serial(app: &App, now: Time) -> Serial {
    Serial::new(now, random(&*app.entropy))
}

/// The record of a certificate that is about to be signed.
pub(crate) fn reservation(
    app: &App,
    call: &Call,
    issuer: &CaId,
    prepared: &Prepared,
    holder: Holder,
) -> Result<Certificate, Error> {
    let request_id = request_id_of(app, call)?;
    Ok(Certificate {
        kind: holder.kind,
        issuer: issuer.clone(),
        serial: prepared.serial(),
        tenant: holder.tenant,
        principal: holder.principal,
        principal_type: holder.principal_type,
        principal_generation: holder.generation,
        incarnation: holder.incarnation,
        state: CertificateState::Reserved,
        not_before: prepared.not_before(),
        not_after: prepared.not_after(),
        spki_sha256: hex::encode(prepared.spki_sha256()),
        tbs_der: prepared.tbs_der().to_vec(),
        certificate_der: Vec::new(),
        request_id,
        renews: holder.renews,
        lineage: holder.lineage,
        created_at: call.now,
        keep_until: holder.keep_until,
    })
}

/// The request's id, or one for a request whose caller gave none.
pub(crate) fn request_id_of(app: &App, call: &Call) -> Result<RequestId, Error> {
    call.request_id.clone().map_or_else(|| internal_request_id(app), Ok)
}

fn internal_request_id(app: &App) -> Result<RequestId, Error> {
    let random: [u8; 16] = random(&*app.entropy);
    format!("internal-{}", hex::encode(random)).parse().map_err(Error::internal)
}

/// Records a certificate of a CA or server, then signs it. The write makes it an issued one; it belongs into the
/// commit that releases it.
pub(crate) async fn reserve_and_sign(
    app: &App,
    call: &Call,
    issuer: &CaId,
    signer: &dyn Signer,
    prepared: Prepared,
    holder: Holder,
) -> Result<(Issued, Write), Error> {
    let record = reservation(app, call, issuer, &prepared, holder)?;
    let commit = Commit::bookkeeping(call.now).write(Write::create(record.clone()));
    commit_reservation(app, &commit, call.now).await?;
    let issued = sign(signer, prepared).await?;
    Ok((issued.clone(), Write::replace(with_signature(record, issued), CREATED)))
}

/// Asks again while no answer comes. A conflict then means that it was written: nobody else has its serial number.
async fn commit_reservation(app: &App, commit: &Commit, now: Time) -> Result<(), Error> {
    let mut unanswered = None;
    for attempt in 0..ATTEMPTS {
        ledger::pause(app, attempt).await;
        match (ledger::commit(app, commit, now).await, &unanswered) {
            (Ok(()), _) | (Err(StoreError::Conflict { .. }), Some(_)) => return Ok(()),
            (Err(error @ StoreError::Unknown(_)), _) => unanswered = Some(error),
            (Err(error), _) => return Err(error.into()),
        }
    }
    Err(unanswered.map_or(Error::Conflict("the reservation"), Error::from))
}

/// Closes a reservation for good: what was signed for it, if anything, is never released. Somebody else may have
/// moved it meanwhile; then it is theirs. Returns whether this call closed it.
pub(crate) async fn abandon(
    app: &App,
    call: &Call,
    reserved: &Versioned<Certificate>,
    because: &'static str,
) -> Result<bool, Error> {
    let record = &reserved.value;
    let entry = AuditEntry::done(call, "certificate", resource_id(record))
        .detail("state", "abandoned")
        .detail("because", because)
        .detail("principal", &record.principal);
    let abandoned = Certificate { state: CertificateState::Abandoned, ..record.clone() };
    let commit =
        call::audited(app, call, &record.tenant, &entry).write(Write::replace(abandoned, reserved.version.clone()));
    match ledger::commit(app, &commit, call.now).await {
        Ok(()) => Ok(true),
        Err(StoreError::Conflict { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// How audit events name a certificate.
pub(crate) fn resource_id(record: &Certificate) -> String {
    format!("{}/{}", record.issuer, record.serial)
}

/// The record of a certificate with its signature, and the signed bytes once.
pub(crate) fn with_signature(record: Certificate, issued: Issued) -> Certificate {
    let (certificate_der, tbs_der) = (issued.certificate_der, Vec::new());
    Certificate { state: CertificateState::Issued, certificate_der, tbs_der, ..record }
}

/// Signs what was recorded; the result has been checked against it.
pub(crate) async fn sign(signer: &dyn Signer, prepared: Prepared) -> Result<Issued, Error> {
    let signature = signer.sign(prepared.tbs_der()).await?;
    prepared.finish(&signature).map_err(issue_error)
}
