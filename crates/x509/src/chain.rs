//! Whose certificate is it? The check of a client's certificate, once per connection.

use std::time::Duration;

use der::Decode;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use signet_core::{
    Identity, Serial, TenantId, Time,
    trust::{Anchor, TenantTrust},
};
use thiserror::Error;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert, aws_lc_rs::ECDSA_P256_SHA256};

use crate::{CertificateView, Environment, Leaf, leaf, oid};

/// Why a client's certificate is refused. [`ChainError::MissingExtension`] and [`ChainError::ExtensionDisagrees`] are
/// found after the signature was checked: one of the tenant's CAs really signed it. The others may speak of what anybody
/// wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ChainError {
    /// Not a certificate, or one that cannot be understood.
    #[error("the client's certificate is malformed")]
    Malformed,
    /// No URI name: nobody's (X.509-SVID section 2).
    #[error("the client's certificate has no URI name")]
    NoUriName,
    /// More than one URI name (X.509-SVID section 2).
    #[error("the client's certificate has more than one URI name")]
    MultipleUriNames,
    /// Its URI is not of this environment.
    #[error("the client's certificate belongs to a foreign trust domain")]
    ForeignTrustDomain,
    /// The trust domain is ours, the path is not `/<type>/<principal id>`.
    #[error("the client's SPIFFE ID has no valid path")]
    BadSpiffeId,
    /// There is no such tenant.
    #[error("the client's tenant does not exist")]
    UnknownTenant,
    /// Signed by itself.
    #[error("the client's certificate is self-signed")]
    SelfSigned,
    /// Not signed by a CA of its tenant.
    #[error("the client's certificate was not signed by a CA of its tenant")]
    UntrustedIssuer,
    /// The name is that of the tenant's CA, the signature is not.
    #[error("the client's certificate carries a bad signature")]
    BadSignature,
    /// It is older than its CA's certificate: one of that name was lost, and made anew on its key.
    #[error("the client's certificate is older than the CA that it names")]
    IssuerReplaced,
    /// Its validity has ended.
    #[error("the client's certificate has expired")]
    Expired,
    /// Its validity has not begun.
    #[error("the client's certificate is not valid yet")]
    NotYetValid,
    /// Not for client authentication.
    #[error("the client's certificate is not for client authentication")]
    WrongKeyUsage,
    /// It is a CA's certificate.
    #[error("the client's certificate is a CA's")]
    IsACa,
    /// One of our extensions is missing.
    #[error("the client's certificate lacks one of Signet's extensions")]
    MissingExtension,
    /// An extension and the URI contradict each other.
    #[error("the client's certificate contradicts itself: an extension disagrees with its URI")]
    ExtensionDisagrees,
}

impl ChainError {
    /// UPPER_SNAKE_CASE, for audit events, metrics and `google.rpc.ErrorInfo`.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Malformed => "CERTIFICATE_MALFORMED",
            Self::NoUriName => "CERTIFICATE_WITHOUT_URI",
            Self::MultipleUriNames => "CERTIFICATE_WITH_MULTIPLE_URIS",
            Self::ForeignTrustDomain => "FOREIGN_TRUST_DOMAIN",
            Self::BadSpiffeId => "BAD_SPIFFE_ID",
            Self::UnknownTenant => "UNKNOWN_TENANT",
            Self::SelfSigned => "CERTIFICATE_SELF_SIGNED",
            Self::UntrustedIssuer => "UNTRUSTED_ISSUER",
            Self::BadSignature => "BAD_CERTIFICATE_SIGNATURE",
            Self::IssuerReplaced => "ISSUER_REPLACED",
            Self::Expired => "CERTIFICATE_EXPIRED",
            Self::NotYetValid => "CERTIFICATE_NOT_YET_VALID",
            Self::WrongKeyUsage => "WRONG_EXTENDED_KEY_USAGE",
            Self::IsACa => "CERTIFICATE_IS_A_CA",
            Self::MissingExtension => "MISSING_EXTENSION",
            Self::ExtensionDisagrees => "EXTENSION_DISAGREES_WITH_URI",
        }
    }
}

/// Verifies a client's certificate against the CAs of the tenant that it names, and no others: signed by one of them
/// directly, valid at `now`, for client authentication, and in agreement with itself. `trust_of` tells what is trusted
/// for a tenant. Whether the tenant, the principal or the certificate may act is `signet_core::trust::Trust::admit`'s.
pub fn verify_client(
    leaf_der: &[u8],
    environment: &Environment,
    trust_of: impl Fn(&TenantId) -> Option<TenantTrust>,
    now: Time,
) -> Result<Identity, ChainError> {
    verify_for(KeyUsage::client_auth(), leaf_der, environment, trust_of, now)
}

/// The same for the certificate that a service shows as a server. Which service it must be is for the caller to say.
pub fn verify_service(
    leaf_der: &[u8],
    environment: &Environment,
    trust_of: impl Fn(&TenantId) -> Option<TenantTrust>,
    now: Time,
) -> Result<Identity, ChainError> {
    verify_for(KeyUsage::server_auth(), leaf_der, environment, trust_of, now)
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
    })
}

/// Whether a certificate is older than that of its CA. A CA that a restore has lost is made anew on its old key, and what
/// was revoked of the lost one is known to nobody. A CA whose serial number is not ours (a UUIDv7) tells no time.
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
