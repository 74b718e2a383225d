//! OCSP: who answers for a CA, and where its certificates stand.

use signet_core::{
    CaId, Error, Serial, Time, authorities::CaKind, certificates::CertificateState, store::scope::certificate_state,
};
use signet_x509::{
    CaProfile, KeyPair,
    issue::prepare_responder,
    ocsp::{CertStatus, Responder},
};

use crate::{
    App, AuditEntry, Chore,
    authorities::{
        reservation::{self, Holder},
        signing::{self, issue_error},
    },
    call, ledger,
};

/// A key of this process that may answer for a CA.
#[derive(Debug)]
pub struct CertifiedResponder {
    /// Signs the answers.
    pub responder: Responder,
    /// Start of its certificate's validity.
    pub not_before: Time,
    /// End of its certificate's validity.
    pub not_after: Time,
}

/// Makes a key and has the CA certify it for its answers. The key is kept nowhere else. `None`: there is no such CA
/// that signs for principals, or it is trusted no more.
pub async fn certify_responder(app: &App, chore: &Chore, ca: &CaId) -> Result<Option<CertifiedResponder>, Error> {
    let found = signing::find_trusted(app, chore, ca).await?;
    let Some(ca) = found.filter(|ca| matches!(ca.kind, CaKind::Tenant | CaKind::Shared)) else { return Ok(None) };
    let issuer = signing::issuer(app, &ca).await?;
    let key = KeyPair::generate().map_err(Error::internal)?;
    let profile = CaProfile::new(&app.environment, ca.kind, &ca.tenant, ca.generation);
    let serial = reservation::serial(app, chore.now);
    let prepared = prepare_responder(&profile, key.public_key(), &issuer.certificate, serial, chore.now);
    let (prepared, holder) = (prepared.map_err(issue_error)?, Holder::responder(&ca.tenant)?);
    let (issued, record) = reservation::reserve_and_sign(app, chore, &ca.id, &*issuer.signer, prepared, holder).await?;
    let entry = AuditEntry::done(chore, "certificate", format!("{}/{serial}", ca.id))
        .detail("principal", "ocsp")
        .detail("not_after", issued.not_after.unix_seconds())
        .detail("spki_sha256", hex::encode(issued.spki_sha256));
    let commit = call::audited(app, chore, &ca.tenant, &entry).write(record);
    ledger::commit(app, &commit, chore.now).await?;
    let responder = Responder::new(key, issued.certificate_der);
    Ok(Some(CertifiedResponder { responder, not_before: issued.not_before, not_after: issued.not_after }))
}

/// Where a certificate of the CA stands by its record, a strongly consistent read. What was never released was never
/// issued. As on revocation lists, whoever is suspended only is not revoked.
pub async fn status(app: &App, ca: &CaId, serial: &Serial, now: Time) -> Result<CertStatus, Error> {
    Ok(match certificate_state(&*app.store, ca, serial, now).await? {
        Some(CertificateState::Issued) => CertStatus::Good,
        Some(CertificateState::Revoked { revoked_at, reason }) => CertStatus::Revoked { revoked_at, reason },
        Some(CertificateState::Reserved | CertificateState::Abandoned) | None => CertStatus::Unknown,
    })
}
