//! PEM (RFC 7468).

use der::pem::LineEnding;
use rustls_pki_types::{
    CertificateDer,
    pem::{self, PemObject},
};
use thiserror::Error;

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

/// Why a text gives no certificate request. `Display` is fit for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RequestPemError {
    /// Nothing in it.
    #[error("it is empty")]
    Empty,
    /// As editors and PowerShell write it.
    #[error("it is UTF-16: save it as UTF-8 or ASCII")]
    Utf16,
    /// Neither PEM nor anything else that is known.
    #[error("it has no -----BEGIN CERTIFICATE REQUEST-----")]
    NoRequest,
    /// The base64 alone.
    #[error("it is base64 without the lines -----BEGIN CERTIFICATE REQUEST----- and -----END CERTIFICATE REQUEST-----")]
    BareBase64,
    /// The lines of PEM do not start in the first column.
    #[error("its lines are indented: -----BEGIN CERTIFICATE REQUEST----- must start its line")]
    Indented,
    /// Fields as of RFC 1421 after the first line.
    #[error("it has PEM headers after its first line (such as {0:?}): take them out")]
    Headers(&'static str),
    /// Another kind of block only.
    #[error("it is PEM, but holds no certificate request")]
    OtherBlock,
    /// More than one.
    #[error("it holds more than one certificate request")]
    Several,
    /// A block that cannot be read.
    #[error("its PEM is damaged: a line is missing or is not base64")]
    Damaged,
}

/// The one certificate request in `text`, DER. What stands around it is passed over, a byte order mark too, and
/// `NEW CERTIFICATE REQUEST` is the same thing (RFC 7468 section 7).
pub fn decode_request(text: &[u8]) -> Result<Vec<u8>, RequestPemError> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let text = String::from_utf8_lossy(text).replace("NEW CERTIFICATE REQUEST-----", "CERTIFICATE REQUEST-----");
    let mut found = None;
    let mut blocks = <(pem::SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes());
    loop {
        match blocks.next() {
            Some(Ok((pem::SectionKind::Csr, _))) if found.is_some() => return Err(RequestPemError::Several),
            Some(Ok((pem::SectionKind::Csr, der))) => found = Some(der),
            Some(Ok(_)) => {}
            Some(Err(_)) => return Err(why_not(&text, true)),
            None => return found.ok_or_else(|| why_not(&text, false)),
        }
    }
}

fn why_not(text: &str, damaged: bool) -> RequestPemError {
    let lines = || text.lines().filter(|line| !line.trim().is_empty());
    let base64 = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=');
    let begins = |line: &str| line.starts_with("-----BEGIN ");
    let headers = lines().skip_while(|line| !begins(line)).skip(1).take_while(|line| !line.starts_with("-----"));
    match () {
        () if lines().next().is_none() => RequestPemError::Empty,
        () if text.contains('\0') => RequestPemError::Utf16,
        () if headers.into_iter().any(|line| line.contains(": ")) => RequestPemError::Headers("Friendly-Name: …"),
        () if damaged => RequestPemError::Damaged,
        () if lines().any(begins) => RequestPemError::OtherBlock,
        () if lines().any(|line| begins(line.trim_start())) => RequestPemError::Indented,
        () if text.len() > 64 && lines().all(|line| line.trim().bytes().all(base64)) => RequestPemError::BareBase64,
        () => RequestPemError::NoRequest,
    }
}
