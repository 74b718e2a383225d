//! Certificates of other CAs, e.g. a device maker's: whose are they, and did their key sign this?

use std::time::Duration;

use const_oid::ObjectIdentifier;
use der::Decode;
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use signet_core::Time;
use thiserror::Error;
use webpki::{
    ALL_VERIFICATION_ALGS, EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter, RequiredEkuNotFoundContext,
    anchor_from_trusted_cert,
    aws_lc_rs::{ECDSA_P256_SHA256, ECDSA_P384_SHA256, ECDSA_P384_SHA384, RSA_PKCS1_2048_8192_SHA256},
};
use x509_cert::{ext::pkix::BasicConstraints, name::Name};

use crate::{CertificateView, key::sha256, oid};

/// Certificates in a chain, the leaf among them, the registered CA aside.
pub const MAX_CHAIN: usize = 5;
/// Bytes of one certificate; one with an RSA-4096 key and much text takes 4 KiB.
pub const MAX_CERTIFICATE_BYTES: usize = 16 * 1024;

/// What a signature over a message may be made with.
static MESSAGE_ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] =
    &[ECDSA_P256_SHA256, ECDSA_P384_SHA384, ECDSA_P384_SHA256, RSA_PKCS1_2048_8192_SHA256];

/// Why a foreign certificate, or the signature with its key, does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ForeignError {
    /// No certificate, too many, or one too large.
    #[error("there must be 1 to {MAX_CHAIN} certificates of at most {MAX_CERTIFICATE_BYTES} bytes")]
    Size,
    /// Not a certificate, or one that cannot be understood.
    #[error("a certificate is malformed, or has a critical extension that is not understood")]
    Malformed,
    /// Not below a registered CA.
    #[error("the certificate was not signed by a registered CA")]
    UntrustedIssuer,
    /// The name is that of a registered CA, the signature is not; or it is made with an algorithm that is not accepted.
    #[error("a certificate in the chain carries a bad signature")]
    BadSignature,
    /// The validity of the leaf or of a CA above it has ended.
    #[error("a certificate in the chain has expired")]
    Expired,
    /// The registered CA's own validity has ended or has not begun.
    #[error("the registered CA's certificate is not valid now")]
    AnchorNotValid,
    /// The validity of the leaf or of a CA above it has not begun.
    #[error("a certificate in the chain is not valid yet")]
    NotYetValid,
    /// Its extended key usage excludes client authentication, or its key usage digital signatures.
    #[error("the certificate is not for client authentication by signature")]
    WrongKeyUsage,
    /// A CA's certificate, where one of its subjects' is expected.
    #[error("the certificate is a CA's")]
    IsACa,
    /// Made with another key, or over something else.
    #[error("the signature was not made over this statement with the certificate's key")]
    BadProof,
}

/// Why a certificate cannot be registered as a CA's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AnchorError {
    /// Not one certificate in DER.
    #[error("not a DER X.509 version 3 certificate, or one with a critical extension that is not understood")]
    Malformed,
    /// A certificate of something else.
    #[error("its basic constraints do not say that it is a CA's")]
    NotACa,
}

/// A certificate below a registered CA, whose holder has shown to have its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// SHA-256 of the registered CA's certificate.
    pub anchor_sha256: [u8; 32],
    /// Serial number, big endian, without a leading zero.
    pub serial: Vec<u8>,
    /// The subject's attributes in their order: short name in lower case, value.
    pub subject: Vec<(&'static str, String)>,
    /// DNS names (subjectAltName).
    pub dns_names: Vec<String>,
    /// URIs (subjectAltName).
    pub uris: Vec<String>,
}

/// Subject attributes that are read (RFC 4519); others are passed over.
const ATTRIBUTES: [(ObjectIdentifier, &str); 10] = [
    (ObjectIdentifier::new_unwrap("2.5.4.3"), "cn"),
    (ObjectIdentifier::new_unwrap("2.5.4.5"), "serialnumber"),
    (ObjectIdentifier::new_unwrap("2.5.4.6"), "c"),
    (ObjectIdentifier::new_unwrap("2.5.4.7"), "l"),
    (ObjectIdentifier::new_unwrap("2.5.4.8"), "st"),
    (ObjectIdentifier::new_unwrap("2.5.4.10"), "o"),
    (ObjectIdentifier::new_unwrap("2.5.4.11"), "ou"),
    (ObjectIdentifier::new_unwrap("2.5.4.12"), "title"),
    (ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.1"), "uid"),
    (ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.25"), "dc"),
];

/// Verifies that the first of `chain_der` stands below one of `anchors_der`, is valid at `now` and may sign for a
/// client, and that `signature` was made over `message` with its key. Keys: ECDSA on P-256 (with SHA-256) or P-384
/// (SHA-256 or SHA-384), RSA of 2048 to 8192 bits (PKCS #1 v1.5, SHA-256). An absent extended key usage is fine (RFC
/// 5280 section 4.2.1.12), and so is a validity without end (99991231235959Z, IEEE 802.1AR). Revocation is not looked
/// at.
pub fn verify(
    chain_der: &[Vec<u8>],
    anchors_der: &[Vec<u8>],
    message: &[u8],
    signature: &[u8],
    now: Time,
) -> Result<Foreign, ForeignError> {
    let sizes = chain_der.iter().all(|der| der.len() <= MAX_CERTIFICATE_BYTES) && chain_der.len() <= MAX_CHAIN;
    let (leaf_der, above) = chain_der.split_first().filter(|_| sizes).ok_or(ForeignError::Size)?;
    let view = CertificateView::from_der(leaf_der).map_err(|_| ForeignError::Malformed)?;
    check_key_usage(&view)?;
    let certificate = CertificateDer::from(leaf_der.as_slice());
    let leaf = EndEntityCert::try_from(&certificate).map_err(refusal)?;
    let above: Vec<CertificateDer<'_>> = above.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
    let anchor = find_anchor(&leaf, &above, anchors_der, now)?;
    verify_signature(&leaf, message, signature)?;
    Ok(Foreign {
        anchor_sha256: sha256(anchor),
        serial: view.serial.to_vec(),
        subject: subject(view.subject_der)?,
        dns_names: leaf.valid_dns_names().map(str::to_owned).collect(),
        uris: leaf.valid_uri_names().map(str::to_owned).collect(),
    })
}

/// Whether a certificate can be registered as a CA's: it can be read and says that it is one (RFC 5280 section
/// 4.2.1.9).
pub fn check_anchor(der: &[u8]) -> Result<(), AnchorError> {
    let view = CertificateView::from_der(der).map_err(|_| AnchorError::Malformed)?;
    anchor_from_trusted_cert(&CertificateDer::from(der)).map_err(|_| AnchorError::Malformed)?;
    let basic = view.extension(oid::BASIC_CONSTRAINTS).map(|basic| BasicConstraints::from_der(basic.value));
    if matches!(basic, Some(Ok(BasicConstraints { ca: true, .. }))) { Ok(()) } else { Err(AnchorError::NotACa) }
}

/// The registered certificate that the chain ends in. Each is tried alone, so that it is known which one it was.
fn find_anchor<'a>(
    leaf: &EndEntityCert<'_>,
    above: &[CertificateDer<'_>],
    anchors_der: &'a [Vec<u8>],
    now: Time,
) -> Result<&'a [u8], ForeignError> {
    let mut refused = ForeignError::UntrustedIssuer;
    for anchor_der in anchors_der {
        let der = CertificateDer::from(anchor_der.as_slice());
        // What cannot be read vouches for nobody.
        let Ok(anchor) = anchor_from_trusted_cert(&der) else { continue };
        match verify_path(leaf, above, anchor, now) {
            // webpki takes an anchor as it is, whatever its validity.
            Ok(()) if !is_valid(anchor_der, now) => refused = ForeignError::AnchorNotValid,
            Ok(()) => return Ok(anchor_der),
            Err(ForeignError::UntrustedIssuer) => {}
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

fn verify_path(
    leaf: &EndEntityCert<'_>,
    above: &[CertificateDer<'_>],
    anchor: TrustAnchor<'_>,
    now: Time,
) -> Result<(), ForeignError> {
    let seconds = u64::try_from(now.unix_seconds()).map_err(|_| ForeignError::NotYetValid)?;
    let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    leaf.verify_for_usage(ALL_VERIFICATION_ALGS, &[anchor], above, time, ClientAuthIfRestricted, None, None)
        .map(drop)
        .map_err(refusal)
}

fn is_valid(der: &[u8], now: Time) -> bool {
    CertificateView::from_der(der).is_ok_and(|view| view.not_before <= now && now <= view.not_after)
}

fn verify_signature(leaf: &EndEntityCert<'_>, message: &[u8], signature: &[u8]) -> Result<(), ForeignError> {
    let fits =
        |algorithm: &&dyn SignatureVerificationAlgorithm| leaf.verify_signature(*algorithm, message, signature).is_ok();
    if MESSAGE_ALGORITHMS.iter().any(fits) { Ok(()) } else { Err(ForeignError::BadProof) }
}

/// clientAuth or anyExtendedKeyUsage, if there is a list at all.
struct ClientAuthIfRestricted;

impl ExtendedKeyUsageValidator for ClientAuthIfRestricted {
    fn validate(&self, purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        const ANY: [usize; 5] = [2, 5, 29, 37, 0];
        let mut restricted = false;
        for purpose in purposes {
            restricted = true;
            let purpose = purpose?.to_decoded_oid();
            if purpose == webpki::KeyUsage::CLIENT_AUTH_REPR || purpose == ANY {
                return Ok(());
            }
        }
        if !restricted {
            return Ok(());
        }
        let (required, present) = (webpki::KeyUsage::client_auth(), Vec::new());
        Err(webpki::Error::RequiredEkuNotFoundContext(RequiredEkuNotFoundContext { required, present }))
    }
}

/// webpki does not look at keyUsage (RFC 5280 section 4.2.1.3).
fn check_key_usage(view: &CertificateView<'_>) -> Result<(), ForeignError> {
    let Some(usage) = view.extension(oid::KEY_USAGE) else { return Ok(()) };
    let usage = x509_cert::ext::pkix::KeyUsage::from_der(usage.value).map_err(|_| ForeignError::Malformed)?;
    match () {
        () if usage.key_cert_sign() || usage.crl_sign() => Err(ForeignError::IsACa),
        () if !usage.digital_signature() => Err(ForeignError::WrongKeyUsage),
        () => Ok(()),
    }
}

fn subject(der: &[u8]) -> Result<Vec<(&'static str, String)>, ForeignError> {
    let name = Name::from_der(der).map_err(|_| ForeignError::Malformed)?;
    let mut attributes = Vec::new();
    for attribute in name.iter() {
        let Some(short) = short_name(attribute.oid) else { continue };
        let text = text(&attribute.value).ok_or(ForeignError::Malformed)?;
        attributes.push((short, text));
    }
    Ok(attributes)
}

fn short_name(oid: ObjectIdentifier) -> Option<&'static str> {
    ATTRIBUTES.iter().find(|(known, _)| *known == oid).map(|(_, short)| *short)
}

/// The kinds of string that names hold (RFC 5280 section 4.1.2.4), the two wide ones aside: they are long out of use.
fn text(value: &der::Any) -> Option<String> {
    use der::{Tag, Tagged};
    let plain = matches!(value.tag(), Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::TeletexString);
    let text = String::from_utf8(value.value().to_vec()).ok().filter(|_| plain)?;
    // Teletex beyond ASCII has meanings of its own.
    let known = value.tag() == Tag::Utf8String || text.is_ascii();
    (known && !text.chars().any(char::is_control)).then_some(text)
}

fn refusal(error: webpki::Error) -> ForeignError {
    use webpki::Error as E;
    match error {
        E::CertExpired { .. } => ForeignError::Expired,
        E::CertNotValidYet { .. } => ForeignError::NotYetValid,
        E::RequiredEkuNotFoundContext(_) => ForeignError::WrongKeyUsage,
        E::CaUsedAsEndEntity => ForeignError::IsACa,
        E::InvalidSignatureForPublicKey
        | E::UnsupportedSignatureAlgorithmContext(_)
        | E::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => ForeignError::BadSignature,
        E::UnknownIssuer
        | E::EndEntityUsedAsCa
        | E::NameConstraintViolation
        | E::PathLenConstraintViolated
        | E::MaximumPathBuildCallsExceeded
        | E::MaximumPathDepthExceeded
        | E::MaximumSignatureChecksExceeded => ForeignError::UntrustedIssuer,
        _ => ForeignError::Malformed,
    }
}
