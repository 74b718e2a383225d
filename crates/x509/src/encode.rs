//! From values to DER.

use const_oid::ObjectIdentifier;
use der::{
    DateTime, Decode, Encode, Sequence,
    asn1::{
        AnyRef, BitString, BitStringRef, GeneralizedTime, Ia5String, OctetString, OctetStringRef, UintRef, UtcTime,
    },
};
use signet_core::Time;
use x509_cert::{
    ext::{
        Extension,
        pkix::{AuthorityKeyIdentifier, BasicConstraints},
    },
    time::Time as X509Time,
};

use crate::{
    key::{Algorithm, SIGNATURE_ALGORITHM},
    oid,
};

/// TBSCertificate (RFC 5280 section 4.1), as we write it.
#[derive(Sequence)]
pub(crate) struct Tbs<'a> {
    /// 2, which means version 3.
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    pub(crate) version: u8,
    pub(crate) serial: UintRef<'a>,
    pub(crate) signature: Algorithm<'a>,
    pub(crate) issuer: AnyRef<'a>,
    pub(crate) validity: Validity,
    pub(crate) subject: AnyRef<'a>,
    pub(crate) spki: AnyRef<'a>,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT")]
    pub(crate) extensions: Vec<Extension>,
}

/// RFC 5280 section 4.1.2.5.
#[derive(Sequence)]
pub(crate) struct Validity {
    pub(crate) not_before: X509Time,
    pub(crate) not_after: X509Time,
}

#[derive(Sequence)]
struct Signed<'a> {
    tbs: AnyRef<'a>,
    algorithm: Algorithm<'a>,
    signature: BitStringRef<'a>,
}

/// A certificate, request or list: the signed bytes unchanged, the algorithm, the signature.
pub(crate) fn signed(tbs_der: &[u8], signature_der: &[u8]) -> der::Result<Vec<u8>> {
    Signed {
        tbs: AnyRef::from_der(tbs_der)?,
        algorithm: SIGNATURE_ALGORITHM,
        signature: BitStringRef::from_bytes(signature_der)?,
    }
    .to_der()
}

/// UTCTime through 2049, GeneralizedTime from 2050 on, whole seconds (RFC 5280 section 4.1.2.5).
pub(crate) fn time(time: Time) -> der::Result<X509Time> {
    let seconds = u64::try_from(time.unix_seconds()).map_err(|_| der::ErrorKind::DateTime)?;
    let date = DateTime::from_unix_duration(std::time::Duration::from_secs(seconds))?;
    Ok(match UtcTime::from_date_time(date) {
        Ok(utc) => X509Time::UtcTime(utc),
        Err(_) => X509Time::GeneralTime(GeneralizedTime::from_date_time(date)),
    })
}

pub(crate) fn extension(oid: ObjectIdentifier, critical: bool, value: &impl Encode) -> der::Result<Extension> {
    Ok(Extension { extn_id: oid, critical, extn_value: OctetString::new(value.to_der()?)? })
}

pub(crate) fn ia5(text: &str) -> der::Result<Ia5String> {
    Ia5String::new(text)
}

/// RFC 5280 section 4.2.1.2.
pub(crate) fn subject_key_id(key_id: &[u8]) -> der::Result<Extension> {
    extension(oid::SUBJECT_KEY_ID, false, &OctetStringRef::new(key_id)?)
}

/// RFC 5280 section 4.2.1.1: the key identifier form.
pub(crate) fn authority_key_id(key_id: &[u8]) -> der::Result<Extension> {
    let value = AuthorityKeyIdentifier { key_identifier: Some(OctetString::new(key_id)?), ..Default::default() };
    extension(oid::AUTHORITY_KEY_ID, false, &value)
}

/// RFC 5280 section 4.2.1.9.
pub(crate) fn ca_constraints(path_len: u8) -> der::Result<Extension> {
    let value = BasicConstraints { ca: true, path_len_constraint: Some(path_len) };
    extension(oid::BASIC_CONSTRAINTS, true, &value)
}

/// X.509-SVID section 4.1. The field's default is false and therefore left out, but the extension has to be there:
/// SPIFFE's Python and Rust libraries refuse a leaf without it.
pub(crate) fn no_ca() -> der::Result<Extension> {
    extension(oid::BASIC_CONSTRAINTS, true, &BasicConstraints { ca: false, path_len_constraint: None })
}

/// RFC 5280 section 4.2.1.3: bit 0.
pub(crate) fn usage_digital_signature() -> der::Result<Extension> {
    extension(oid::KEY_USAGE, true, &BitString::new(7, [0x80])?)
}

/// RFC 5280 section 4.2.1.3: bits 5 and 6.
pub(crate) fn usage_cert_and_crl_sign() -> der::Result<Extension> {
    extension(oid::KEY_USAGE, true, &BitString::new(1, [0x06])?)
}

/// RFC 5280 section 4.2.1.12.
pub(crate) fn extended_usage(purposes: &[ObjectIdentifier]) -> der::Result<Extension> {
    extension(oid::EXT_KEY_USAGE, false, &purposes.to_vec())
}
