//! Whose certificate is it? The check of a client's certificate, once per connection.

use std::time::Duration;

use der::Decode;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use signet_core::{
    Identity, PrincipalType, Serial, TenantId, Time,
    tenants::MAX_LIFETIME,
    trust::{Anchor, TenantTrust},
};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert, aws_lc_rs::ECDSA_P256_SHA256};

use crate::{CertificateView, Environment, Leaf, chain_error::ChainError, issue::BACKDATE, key, leaf, oid};

// webpki's own usages let a certificate without extendedKeyUsage do everything (RFC 5280 section 4.2.1.12).
const CLIENT_AUTH: KeyUsage = KeyUsage::required(oid::CLIENT_AUTH.as_bytes());
const SERVER_AUTH: KeyUsage = KeyUsage::required(oid::SERVER_AUTH.as_bytes());

/// Verifies a client's certificate against the CAs of the tenant that it names, and no others: signed by one of them
/// directly, valid at `now` and for no longer than any tenant may allow, for client authentication and a key that we
/// certify, and in agreement with itself. `trust_of` tells what is trusted for a tenant. Whether the tenant, the
/// principal or the certificate may act is `signet_core::trust::Trust::admit`'s.
pub fn verify_client(
    leaf_der: &[u8],
    environment: &Environment,
    trust_of: impl Fn(&TenantId) -> Option<TenantTrust>,
    now: Time,
) -> Result<Identity, ChainError> {
    verify_for(CLIENT_AUTH, leaf_der, environment, trust_of, now)
}

/// The same for the certificate that a service shows as a server. Which service it must be is for the caller to say.
pub fn verify_service(
    leaf_der: &[u8],
    environment: &Environment,
    trust_of: impl Fn(&TenantId) -> Option<TenantTrust>,
    now: Time,
) -> Result<Identity, ChainError> {
    let identity = verify_for(SERVER_AUTH, leaf_der, environment, trust_of, now)?;
    // A worker's certificate is a server's for SPIFFE's sake; our peers call services.
    let is_service = identity.principal_type == PrincipalType::Service;
    if is_service { Ok(identity) } else { Err(ChainError::WrongKeyUsage) }
}

fn verify_for(
    usage: KeyUsage,
    leaf_der: &[u8],
    environment: &Environment,
    trust_of: impl Fn(&TenantId) -> Option<TenantTrust>,
    now: Time,
) -> Result<Identity, ChainError> {
    let view = CertificateView::from_der(leaf_der).map_err(|_| ChainError::Malformed)?;
    let id = leaf::spiffe_id(&view, environment)?;
    let trust = trust_of(&id.tenant).ok_or(ChainError::UnknownTenant)?;
    let issuer = find_issuer(leaf_der, &trust.anchors, usage, now)?;
    if signs_certificates(&view) {
        return Err(ChainError::IsACa);
    }
    if !key::is_p256(view.spki_der) {
        return Err(ChainError::UnsupportedKey);
    }
    // Not what the tenant allows now: to allow less must not end what was issued before.
    let longest = MAX_LIFETIME.millis().saturating_add(BACKDATE.millis());
    if view.not_after.millis_since(view.not_before) > longest {
        return Err(ChainError::ValidTooLong);
    }
    let leaf = Leaf::from_view(&view, id, environment)?;
    if is_older_than_issuer(&leaf.serial, &issuer.certificate_der) {
        return Err(ChainError::IssuerReplaced);
    }
    Ok(Identity {
        tenant: leaf.id.tenant,
        principal: leaf.id.principal,
        principal_type: leaf.id.principal_type,
        roles: leaf.roles,
        issuer: issuer.ca.clone(),
        serial: leaf.serial,
        not_before: leaf.not_before,
        not_after: leaf.not_after,
        spki_sha256: leaf.spki_sha256,
        certificate_sha256: key::sha256(leaf_der),
    })
}

/// Whether a certificate is older than that of its CA. A CA that a restore has lost is made anew on its old key, and
/// what was revoked of the lost one is known to nobody. A CA whose serial number is not ours (a UUIDv7) tells no time.
pub fn is_older_than_issuer(serial: &Serial, issuer_der: &[u8]) -> bool {
    let made_at =
        CertificateView::from_der(issuer_der).ok().and_then(|view| view.serial()).and_then(|ca| ca.uuid_time());
    made_at.is_some_and(|made_at| serial.predates(made_at))
}

/// The anchor that signed the leaf. No two CAs of ours share a name, so at most one signature is checked.
fn find_issuer<'a>(
    leaf_der: &[u8],
    anchors: &'a [Anchor],
    usage: KeyUsage,
    now: Time,
) -> Result<&'a Anchor, ChainError> {
    let leaf_der = CertificateDer::from(leaf_der);
    let leaf = EndEntityCert::try_from(&leaf_der).map_err(refusal)?;
    let mut refused =
        if leaf.subject() == leaf.issuer() { ChainError::SelfSigned } else { ChainError::UntrustedIssuer };
    for anchor in anchors.iter().filter(|anchor| now < anchor.not_after) {
        let anchor_der = CertificateDer::from(&*anchor.certificate_der);
        // A CA certificate that cannot be read vouches for nobody.
        let Ok(trusted) = anchor_from_trusted_cert(&anchor_der) else { continue };
        if trusted.subject.as_ref() != leaf.issuer() {
            continue;
        }
        match verify(&leaf, trusted, usage, now) {
            Ok(()) => return Ok(anchor),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

fn verify(leaf: &EndEntityCert<'_>, anchor: TrustAnchor<'_>, usage: KeyUsage, now: Time) -> Result<(), ChainError> {
    let seconds = u64::try_from(now.unix_seconds()).map_err(|_| ChainError::NotYetValid)?;
    let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    leaf.verify_for_usage(&[ECDSA_P256_SHA256], &[anchor], &[], time, usage, None, None).map(drop).map_err(refusal)
}

fn refusal(error: webpki::Error) -> ChainError {
    match error {
        webpki::Error::CertExpired { .. } => ChainError::Expired,
        webpki::Error::CertNotValidYet { .. } => ChainError::NotYetValid,
        webpki::Error::RequiredEkuNotFoundContext(_) => ChainError::WrongKeyUsage,
        webpki::Error::CaUsedAsEndEntity => ChainError::IsACa,
        webpki::Error::InvalidSignatureForPublicKey => ChainError::BadSignature,
        webpki::Error::UnknownIssuer | webpki::Error::NameConstraintViolation => ChainError::UntrustedIssuer,
        _ => ChainError::Malformed,
    }
}

/// Whether keyUsage has keyCertSign or cRLSign, which webpki does not look at (X.509-SVID section 4.3).
fn signs_certificates(view: &CertificateView<'_>) -> bool {
    let usage =
        view.extension(oid::KEY_USAGE).map(|extension| x509_cert::ext::pkix::KeyUsage::from_der(extension.value));
    usage.is_some_and(|usage| usage.map_or(true, |usage| usage.key_cert_sign() || usage.crl_sign()))
}
