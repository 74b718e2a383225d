//! Certificate requests (PKCS#10, RFC 2986). A request brings a key and the proof that its sender holds it; the
//! names it asks for are ignored.

use der::{
    Decode, Encode, Header, Reader, Sequence, SliceReader, Tag,
    asn1::{AnyRef, BitStringRef, SetOfVec},
};
use rustls_pki_types::{CertificateSigningRequestDer, pem::PemObject};
use thiserror::Error;

use crate::{
    KeyError, KeyPair, PublicKey,
    key::{Algorithm, SIGNATURE_ALGORITHM},
    oid,
};

/// Largest request that is read; one for a P-256 key takes about 200 bytes.
pub const MAX_CSR_BYTES: usize = 16 * 1024;

/// Why a request is refused. `Display` is fit for the caller.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CsrError {
    /// Not even looked at.
    #[error("the certificate request has {0} bytes; at most {MAX_CSR_BYTES} are read")]
    TooLarge(usize),
    /// Not PKCS#10.
    #[error("not a PKCS#10 certificate request: {0}")]
    Malformed(&'static str),
    /// There is more after the request.
    #[error("{0} bytes follow the certificate request")]
    TrailingBytes(usize),
    /// Another algorithm or curve.
    #[error("the request's key is {found}; use an ECDSA key on P-256")]
    UnsupportedKey {
        /// What it is.
        found: String,
    },
    /// Not an uncompressed point on the curve.
    #[error("the request's key is not an uncompressed point on P-256")]
    BadPoint,
    /// Signed with something else than ecdsa-with-SHA256.
    #[error("the request is signed with {found}; use ecdsa-with-SHA256")]
    UnsupportedSignature {
        /// What it is.
        found: String,
    },
    /// The sender does not hold the private key, or the request was changed.
    #[error("the request's signature does not verify: it must be made with the private key that belongs to it")]
    BadSignature,
}

impl CsrError {
    /// UPPER_SNAKE_CASE, for programs and audit events.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge(_) => "CSR_TOO_LARGE",
            Self::Malformed(_) => "CSR_MALFORMED",
            Self::TrailingBytes(_) => "CSR_TRAILING_BYTES",
            Self::UnsupportedKey { .. } => "CSR_UNSUPPORTED_KEY",
            Self::BadPoint => "CSR_BAD_POINT",
            Self::UnsupportedSignature { .. } => "CSR_UNSUPPORTED_SIGNATURE",
            Self::BadSignature => "CSR_BAD_SIGNATURE",
        }
    }
}

/// A request whose proof of possession holds; only [`Csr::parse`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Csr {
    key: PublicKey,
}

impl Csr {
    /// Reads and checks a DER request.
    pub fn parse(der: &[u8]) -> Result<Self, CsrError> {
        if der.len() > MAX_CSR_BYTES {
            return Err(CsrError::TooLarge(der.len()));
        }
        let header = Header::from_prefix(der)?;
        let parts = Parts::read(trimmed(der)?).map_err(|_| CsrError::Malformed("its structure is broken"))?;
        todo!()
    }

    /// Reads and checks a request, PEM (`CERTIFICATE REQUEST`, text around it is passed over) or DER.
    pub fn from_pem_or_der(bytes: &[u8]) -> Result<Self, CsrError> {
        todo!()
    }

    /// The key to certify.
    pub fn public_key(&self) -> &PublicKey {
        &self.key
    }

    /// The key to certify, a DER SubjectPublicKeyInfo.
    pub fn spki_der(&self) -> &[u8] {
        self.key.spki_der()
    }
}

/// A new key and the request for its first certificate.
#[derive(Debug)]
pub struct KeyAndCsr {
    /// The key; stays with its maker.
    pub key: KeyPair,
    /// The request, DER.
    pub csr_der: Vec<u8>,
}

impl KeyAndCsr {
    /// Makes both.
    pub fn generate() -> Result<Self, KeyError> {
        let key = KeyPair::generate()?;
        let csr_der = create(&key)?;
        Ok(Self { key, csr_der })
    }
}

/// The request for a certificate of `key`, DER: no names, no attributes, only the proof of possession.
pub fn create(key: &KeyPair) -> Result<Vec<u8>, KeyError> {
    todo!()
}
