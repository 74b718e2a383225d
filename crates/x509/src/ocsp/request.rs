//! A request (RFC 6960 section 4.1), from anybody.

use der::{
    Decode, Encode, Sequence,
    asn1::{AnyRef, OctetStringRef},
};
use thiserror::Error;
use x509_cert::ext::Extensions;

use super::cert_id::CertId;
use crate::oid;

/// Longest request. RFC 9919 has one certificate in each, which makes it about 120 bytes with the longest nonce 260.
pub const MAX_REQUEST_BYTES: usize = 2048;
/// RFC 9654 section 2.1: what is shorter or longer must be refused.
const NONCE_BYTES: std::ops::RangeInclusive<usize> = 1..=128;

/// The bytes are not a request that can be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not a DER OCSP request of version 1 (RFC 6960 section 4.1), or with a critical extension that is not known")]
pub struct RequestError;

impl From<der::Error> for RequestError {
    fn from(_: der::Error) -> Self {
        Self
    }
}

/// What is asked. Who asks, and a signature of his, is not looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OcspRequest {
    /// The certificate; of several the first, and the others get no answer (RFC 9919 section 3.1.1: one a request).
    pub first: CertId,
    /// 1 to 128 bytes that the answer may repeat (RFC 9654).
    pub nonce: Option<Vec<u8>>,
}

#[derive(Sequence)]
struct Outer<'a> {
    tbs: Tbs<'a>,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    signature: Option<AnyRef<'a>>,
}

#[derive(Sequence)]
struct Tbs<'a> {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", default = "Default::default")]
    version: u8,
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT", optional = "true")]
    requestor: Option<AnyRef<'a>>,
    requests: Vec<Single<'a>>,
    #[asn1(context_specific = "2", tag_mode = "EXPLICIT", optional = "true")]
    extensions: Option<Extensions>,
}

#[derive(Sequence)]
struct Single<'a> {
    id: AnyRef<'a>,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    extensions: Option<Extensions>,
}

impl OcspRequest {
    /// Reads a request.
    pub fn from_der(der: &[u8]) -> Result<Self, RequestError> {
        if der.len() > MAX_REQUEST_BYTES {
            return Err(RequestError);
        }
        let Tbs { version, requests, extensions, .. } = Outer::from_der(der)?.tbs;
        let first = requests.first().ok_or(RequestError)?;
        let of_first = first.extensions.as_deref().unwrap_or_default();
        let extensions = extensions.as_deref().unwrap_or_default();
        let is_known = |id| id == oid::OCSP_NONCE;
        if version != 0 || extensions.iter().chain(of_first).any(|it| it.critical && !is_known(it.extn_id)) {
            return Err(RequestError);
        }
        let nonce = extensions.iter().find(|extension| extension.extn_id == oid::OCSP_NONCE);
        let nonce = nonce.map(|nonce| read_nonce(nonce.extn_value.as_bytes())).transpose()?;
        Ok(Self { first: CertId::from_der(&first.id.to_der()?)?, nonce })
    }
}

fn read_nonce(der: &[u8]) -> Result<Vec<u8>, RequestError> {
    let nonce = <&OctetStringRef>::from_der(der)?.as_bytes();
    if NONCE_BYTES.contains(&nonce.len()) { Ok(nonce.to_vec()) } else { Err(RequestError) }
}
