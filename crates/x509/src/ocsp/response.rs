//! An answer (RFC 6960 section 4.2).

use std::time::Duration;

use aws_lc_rs::digest;
use const_oid::ObjectIdentifier;
use der::{
    Choice, Decode, Encode, Sequence, Tag,
    asn1::{AnyRef, BitStringRef, GeneralizedTime, Null, OctetStringRef},
};
use signet_core::{Time, certificates::RevocationReason};
use x509_cert::ext::{Extension, Extensions, pkix::CrlReason};

use super::cert_id::CertId;
use crate::{
    IssueError, KeyPair, encode,
    key::{Algorithm, SIGNATURE_ALGORITHM},
    oid,
};

/// Where a certificate stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertStatus {
    /// Issued by the CA, and not revoked.
    Good,
    /// Revoked.
    #[expect(missing_docs, reason = "a plain record: its names say it")]
    Revoked { revoked_at: Time, reason: RevocationReason },
    /// Never issued by the CA.
    Unknown,
}

/// Why there is no answer (section 4.2.1). Such a response is not signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorStatus {
    /// It cannot be read.
    MalformedRequest = 1,
    /// The responder cannot answer; to ask again is of no use.
    InternalError = 2,
    /// The responder cannot answer now.
    TryLater = 3,
    /// The responder does not answer for that issuer (RFC 9919 section 3.2.3).
    Unauthorized = 6,
}

impl ErrorStatus {
    /// The response, DER.
    pub const fn der(self) -> [u8; 5] {
        [0x30, 3, 0x0a, 1, self as u8]
    }
}

/// A key that may answer for a CA, with the certificate that says so.
#[derive(Debug)]
pub struct Responder {
    key: KeyPair,
    certificate_der: Vec<u8>,
    /// SHA-1 of its public key's bits: how answers name it (section 4.2.1, byKey).
    key_hash: Vec<u8>,
}

/// What an answer says.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct Answer<'a> {
    pub id: &'a CertId,
    pub status: CertStatus,
    /// When that was known; the answer is made then, too.
    pub this_update: Time,
    pub next_update: Time,
    /// The request's.
    pub nonce: Option<&'a [u8]>,
}

impl Responder {
    /// `certificate_der`: of `key`, as [`crate::issue::prepare_responder`] makes it.
    pub fn new(key: KeyPair, certificate_der: Vec<u8>) -> Self {
        let key_hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, key.public_key().point());
        Self { key, certificate_der, key_hash: key_hash.as_ref().to_vec() }
    }

    /// Signs an answer; returns the response, DER.
    pub fn answer(&self, answer: &Answer<'_>) -> Result<Vec<u8>, IssueError> {
        let tbs_der = self.response_data(answer)?.to_der()?;
        let signature = self.key.sign(&tbs_der).map_err(|error| IssueError::Encoding(error.to_string()))?;
        let basic_der = BasicResponse {
            tbs: AnyRef::from_der(&tbs_der)?,
            algorithm: SIGNATURE_ALGORITHM,
            signature: BitStringRef::from_bytes(&signature)?,
            certificates: vec![AnyRef::from_der(&self.certificate_der)?],
        }
        .to_der()?;
        let bytes = ResponseBytes { kind: oid::OCSP_BASIC, response: OctetStringRef::new(&basic_der)? };
        Ok(Response { status: AnyRef::new(Tag::Enumerated, &[0])?, bytes }.to_der()?)
    }

    fn response_data<'a>(&'a self, answer: &'a Answer<'a>) -> der::Result<ResponseData<'a>> {
        let this_update = generalized(answer.this_update)?;
        let single = Single {
            id: AnyRef::from_der(answer.id.der())?,
            status: answer.status.encode()?,
            this_update,
            next_update: generalized(answer.next_update)?,
        };
        let nonce = answer.nonce.map(nonce_extension);
        let extensions = nonce.transpose()?.map(|nonce| vec![nonce]);
        let responder = OctetStringRef::new(&self.key_hash)?;
        Ok(ResponseData { responder, produced_at: this_update, responses: vec![single], extensions })
    }
}

#[derive(Sequence)]
struct Response<'a> {
    status: AnyRef<'a>,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    bytes: ResponseBytes<'a>,
}

#[derive(Sequence)]
struct ResponseBytes<'a> {
    kind: ObjectIdentifier,
    response: &'a OctetStringRef,
}

#[derive(Sequence)]
struct BasicResponse<'a> {
    tbs: AnyRef<'a>,
    algorithm: Algorithm<'a>,
    signature: BitStringRef<'a>,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    certificates: Vec<AnyRef<'a>>,
}

#[derive(Sequence)]
struct ResponseData<'a> {
    #[asn1(context_specific = "2", tag_mode = "EXPLICIT")]
    responder: &'a OctetStringRef,
    produced_at: GeneralizedTime,
    responses: Vec<Single<'a>>,
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT", optional = "true")]
    extensions: Option<Extensions>,
}

#[derive(Sequence)]
struct Single<'a> {
    id: AnyRef<'a>,
    status: StatusDer,
    this_update: GeneralizedTime,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    next_update: GeneralizedTime,
}

#[derive(Choice)]
enum StatusDer {
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT")]
    Good(Null),
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", constructed = "true")]
    Revoked(RevokedInfo),
    #[asn1(context_specific = "2", tag_mode = "IMPLICIT")]
    Unknown(Null),
}

#[derive(Sequence)]
struct RevokedInfo {
    revoked_at: GeneralizedTime,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    reason: Option<CrlReason>,
}

impl CertStatus {
    fn encode(self) -> der::Result<StatusDer> {
        Ok(match self {
            Self::Good => StatusDer::Good(Null),
            Self::Unknown => StatusDer::Unknown(Null),
            Self::Revoked { revoked_at, reason } => {
                // As on revocation lists (RFC 5280 section 5.3.1).
                let reason = (reason != RevocationReason::Unspecified).then(|| reason.code().into());
                let reason = reason.map(|code: u32| CrlReason::try_from(code)).transpose()?;
                StatusDer::Revoked(RevokedInfo { revoked_at: generalized(revoked_at)?, reason })
            }
        })
    }
}

fn nonce_extension(nonce: &[u8]) -> der::Result<Extension> {
    encode::extension(oid::OCSP_NONCE, false, &OctetStringRef::new(nonce)?)
}

/// Whole seconds; before 2050, too (section 4.2.2.1).
fn generalized(time: Time) -> der::Result<GeneralizedTime> {
    let seconds = u64::try_from(time.unix_seconds()).map_err(|_| der::ErrorKind::DateTime)?;
    GeneralizedTime::from_unix_duration(Duration::from_secs(seconds))
}
