//! PEM (RFC 7468).

use der::pem::LineEnding;
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer, pem::PemObject};

/// Label of a certificate.
pub const CERTIFICATE: &str = "CERTIFICATE";
/// Label of a certificate request.
pub const CERTIFICATE_REQUEST: &str = "CERTIFICATE REQUEST";
/// Label of a PKCS#8 private key.
pub const PRIVATE_KEY: &str = "PRIVATE KEY";
/// Label of a certificate revocation list.
pub const CRL: &str = "X509 CRL";

/// One PEM block. `label` must be one of this module's.
pub fn encode(label: &'static str, der: &[u8]) -> String {
    // It fails only for labels with forbidden characters and for sizes beyond memory.
    der::pem::encode_string(label, LineEnding::LF, der).unwrap_or_default()
}

/// A certificate as PEM.
pub fn encode_certificate(der: &[u8]) -> String {
    encode(CERTIFICATE, der)
}

/// All certificates in `text`, DER, in their order; other blocks and text between are passed over. `None` if a
/// block is damaged or there is no certificate.
pub fn decode_certificates(text: &str) -> Option<Vec<Vec<u8>>> {
    let blocks = CertificateDer::pem_slice_iter(text.as_bytes());
    let certificates: Vec<Vec<u8>> =
        blocks.map(|block| block.map(|der| der.to_vec())).collect::<Result<_, _>>().ok()?;
    (!certificates.is_empty()).then_some(certificates)
}

/// The one certificate request in `text`, DER; `None` if there is none, more than one, or it is damaged.
pub fn decode_request(text: &str) -> Option<Vec<u8>> {
    let mut blocks = CertificateSigningRequestDer::pem_slice_iter(text.as_bytes());
    let first = blocks.next()?.ok()?;
    blocks.next().is_none().then(|| first.to_vec())
}
