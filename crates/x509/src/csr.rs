//! Certificate requests (PKCS#10, RFC 2986). A request brings a key and the proof that its sender holds it; the
//! names it asks for are ignored.

use der::{
    Decode, Encode, Header, Reader, Sequence, SliceReader, Tag,
    asn1::{AnyRef, BitStringRef, SetOfVec},
};
use thiserror::Error;

use crate::{
    KeyPair, PublicKey, UnusableKey, encode,
    key::{Algorithm, SIGNATURE_ALGORITHM},
    oid,
    pem::{self, RequestPemError},
};

/// Largest request that is read; one for a P-256 key takes about 200 bytes.
pub const MAX_CSR_BYTES: usize = 16 * 1024;

/// Why a request is refused. `Display` is fit for the caller.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CsrError {
    /// Not even looked at.
    #[error("the certificate request has {0} bytes; at most {MAX_CSR_BYTES} are read")]
    TooLarge(usize),
    /// A text without a request.
    #[error("not a PKCS#10 certificate request: {0}")]
    NotPem(RequestPemError),
    /// Not PKCS#10.
    #[error("not a PKCS#10 certificate request: {0}")]
    Malformed(&'static str),
    /// There is more after the request.
    #[error("{0} bytes follow the certificate request")]
    TrailingBytes(usize),
    /// Another algorithm or curve.
    #[error("the request's key is {found}; use an ECDSA key on P-256")]
    UnsupportedKey {
        /// Name or object identifier of what the request has instead.
        found: String,
    },
    /// Not an uncompressed point on the curve.
    #[error("the request's key is not an uncompressed point on P-256")]
    BadPoint,
    /// Signed with something else than ecdsa-with-SHA256.
    #[error("the request is signed with {found}; use ecdsa-with-SHA256")]
    UnsupportedSignature {
        /// Name or object identifier of what the request has instead.
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
            Self::NotPem(_) | Self::Malformed(_) => "CSR_MALFORMED",
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
        let parts = Parts::read(without_trailing(der)?).map_err(|_| CsrError::Malformed("its structure is broken"))?;
        if parts.version != 0 {
            return Err(CsrError::Malformed("its version is not 1"));
        }
        let key = PublicKey::from_spki_der(parts.spki_der)?;
        if parts.algorithm != SIGNATURE_ALGORITHM {
            return Err(CsrError::UnsupportedSignature { found: oid::describe(parts.algorithm.oid) });
        }
        key.verify(parts.info_der, parts.signature)?;
        Ok(Self { key })
    }

    /// Reads and checks a request, PEM (see [`pem::decode_request`]) or DER.
    pub fn from_pem_or_der(bytes: &[u8]) -> Result<Self, CsrError> {
        // PEM takes a third more, and may have text before it.
        if bytes.len() > 2 * MAX_CSR_BYTES {
            return Err(CsrError::TooLarge(bytes.len()));
        }
        match pem::decode_request(bytes) {
            Ok(der) => Self::parse(&der),
            Err(why) if is_text(bytes) => Err(CsrError::NotPem(why)),
            Err(_) => Self::parse(bytes),
        }
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
    pub fn generate() -> Result<Self, UnusableKey> {
        let key = KeyPair::generate()?;
        let csr_der = create(&key)?;
        Ok(Self { key, csr_der })
    }
}

/// The request for a certificate of `key`, DER: no names, no attributes, only the proof of possession.
pub fn create(key: &KeyPair) -> Result<Vec<u8>, UnusableKey> {
    let encode = || -> der::Result<Vec<u8>> {
        let spki = AnyRef::from_der(key.public_key().spki_der())?;
        let subject = AnyRef::new(Tag::Sequence, &[])?;
        Info { version: 0, subject, spki, attributes: SetOfVec::new() }.to_der()
    };
    let info_der = encode().map_err(|_| UnusableKey::Malformed)?;
    let signature = key.sign(&info_der)?;
    encode::signed(&info_der, &signature).map_err(|_| UnusableKey::Malformed)
}

/// CertificationRequestInfo (RFC 2986 section 4.1), as we write it.
#[derive(Sequence)]
struct Info<'a> {
    version: u8,
    subject: AnyRef<'a>,
    spki: AnyRef<'a>,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT", constructed = "true")]
    attributes: SetOfVec<AnyRef<'a>>,
}

/// What a request is read for.
struct Parts<'a> {
    info_der: &'a [u8],
    version: u8,
    spki_der: &'a [u8],
    algorithm: Algorithm<'a>,
    signature: &'a [u8],
}

impl<'a> Parts<'a> {
    fn read(der: &'a [u8]) -> der::Result<Self> {
        SliceReader::new(der)?.sequence(|outer| {
            let info_der = outer.tlv_bytes()?;
            let algorithm = Algorithm::decode(outer)?;
            let signature = BitStringRef::decode(outer)?;
            let signature = signature.as_bytes().ok_or_else(|| Tag::BitString.value_error())?;
            let (version, spki_der) = SliceReader::new(info_der)?.sequence(|info| -> der::Result<_> {
                let version = u8::decode(info)?;
                AnyRef::decode(info)?.sequence(|name| name.drain(name.remaining_len()))?;
                let spki_der = info.tlv_bytes()?;
                // The attributes ask for names and extensions, which are ours to decide.
                while !info.is_finished() {
                    AnyRef::decode(info)?;
                }
                Ok((version, spki_der))
            })?;
            Ok(Self { info_der, version, spki_der, algorithm, signature })
        })
    }
}

/// The DER of a request is never UTF-8, nor UTF-16 with a byte order mark.
fn is_text(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") || std::str::from_utf8(bytes).is_ok()
}

/// `der`, if it is one SEQUENCE and nothing else.
fn without_trailing(der: &[u8]) -> Result<&[u8], CsrError> {
    let length = || -> der::Result<usize> {
        let header = Header::peek(&SliceReader::new(der)?)?;
        header.tag().assert_eq(Tag::Sequence)?;
        usize::try_from((header.encoded_len()? + header.length())?)
    };
    let length = length().map_err(|_| CsrError::Malformed("it does not start with a DER SEQUENCE"))?;
    match der.len().checked_sub(length) {
        Some(0) => Ok(der),
        Some(more) => Err(CsrError::TrailingBytes(more)),
        None => Err(CsrError::Malformed("it is cut off")),
    }
}

impl From<UnusableKey> for CsrError {
    fn from(error: UnusableKey) -> Self {
        match error {
            UnusableKey::Unsupported { found } => Self::UnsupportedKey { found },
            UnusableKey::BadPoint => Self::BadPoint,
            UnusableKey::BadSignature => Self::BadSignature,
            UnusableKey::Malformed | UnusableKey::Library(_) => {
                Self::Malformed("its key is not a SubjectPublicKeyInfo")
            }
        }
    }
}
