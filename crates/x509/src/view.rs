//! A certificate as it stands in its bytes: read in one pass, borrowed, not trusted.

use const_oid::ObjectIdentifier;
use der::{
    Decode, Header, Reader, SliceReader, Tag, TagMode, TagNumber,
    asn1::{BitStringRef, OctetStringRef, SequenceRef, UintRef},
};
use signet_core::{Serial, Time};
use thiserror::Error;
use x509_cert::{name::Name, time::Time as X509Time};

use crate::key::Algorithm;

/// The bytes are not a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not a DER X.509 version 3 certificate (RFC 5280 section 4.1)")]
pub struct Malformed;

impl From<der::Error> for Malformed {
    fn from(_: der::Error) -> Self {
        Self
    }
}

/// One extension (RFC 5280 section 4.1.2.9).
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct ExtensionView<'a> {
    pub oid: ObjectIdentifier,
    /// Whether who does not know it must refuse the certificate.
    pub critical: bool,
    /// The DER inside of the OCTET STRING.
    pub value: &'a [u8],
}

/// See the module's words.
#[derive(Clone, Debug)]
pub struct CertificateView<'a> {
    /// The to-be-signed part, DER.
    pub tbs_der: &'a [u8],
    /// The serial number's value, big endian, without a leading zero.
    pub serial: &'a [u8],
    /// Name of the issuer, DER.
    pub issuer_der: &'a [u8],
    /// Start of validity.
    pub not_before: Time,
    /// End of validity.
    pub not_after: Time,
    /// Name of the subject, DER.
    pub subject_der: &'a [u8],
    /// SubjectPublicKeyInfo, DER.
    pub spki_der: &'a [u8],
    /// The extensions, each at most once.
    pub extensions: Vec<ExtensionView<'a>>,
}

impl<'a> CertificateView<'a> {
    /// Reads a whole certificate. Its signature is not looked at.
    pub fn from_der(der: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = SliceReader::new(der)?;
        let tbs_der = reader.sequence(|outer| -> der::Result<_> {
            let tbs_der = outer.tlv_bytes()?;
            Algorithm::decode(outer)?;
            BitStringRef::decode(outer)?;
            Ok(tbs_der)
        })?;
        reader.finish()?;
        Self::from_tbs_der(tbs_der)
    }

    /// Reads the to-be-signed part of a certificate.
    pub fn from_tbs_der(tbs_der: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = SliceReader::new(tbs_der)?;
        let view = reader.sequence(|tbs| Self::read_tbs(tbs_der, tbs))?;
        reader.finish()?;
        Ok(view)
    }

    fn read_tbs(tbs_der: &'a [u8], tbs: &mut SliceReader<'a>) -> Result<Self, Malformed> {
        let version: Option<u8> = tbs.context_specific(TagNumber(0), TagMode::Explicit)?;
        let serial = UintRef::decode(tbs)?.as_bytes();
        Algorithm::decode(tbs)?;
        let issuer_der = sequence_bytes(tbs)?;
        let (not_before, not_after) =
            tbs.sequence(|validity| -> Result<_, Malformed> { Ok((read_time(validity)?, read_time(validity)?)) })?;
        let subject_der = sequence_bytes(tbs)?;
        let spki_der = sequence_bytes(tbs)?;
        let list: Option<&SequenceRef> = tbs.context_specific(TagNumber(3), TagMode::Explicit)?;
        let extensions = read_extensions(list.ok_or(Malformed)?.as_bytes())?;
        if version != Some(2) {
            return Err(Malformed);
        }
        Ok(Self { tbs_der, serial, issuer_der, not_before, not_after, subject_der, spki_der, extensions })
    }

    /// The serial number, if it is one of ours in form.
    pub fn serial(&self) -> Option<Serial> {
        Serial::from_der_integer(self.serial)
    }

    /// The extension `oid`.
    pub fn extension(&self, oid: ObjectIdentifier) -> Option<&ExtensionView<'a>> {
        self.extensions.iter().find(|extension| extension.oid == oid)
    }

    /// The subject for people, as RFC 4514 writes it.
    pub fn subject_text(&self) -> String {
        name_text(self.subject_der)
    }
}

/// The next value with its tag and length, which must be a SEQUENCE.
fn sequence_bytes<'a>(reader: &mut SliceReader<'a>) -> Result<&'a [u8], Malformed> {
    if Header::peek(reader)?.tag() != Tag::Sequence {
        return Err(Malformed);
    }
    Ok(reader.tlv_bytes()?)
}

fn read_time(reader: &mut SliceReader<'_>) -> Result<Time, Malformed> {
    let seconds = X509Time::decode(reader)?.to_unix_duration().as_secs();
    i64::try_from(seconds).map(Time::from_unix_seconds).map_err(|_| Malformed)
}

fn read_extensions(list: &[u8]) -> Result<Vec<ExtensionView<'_>>, Malformed> {
    let mut extensions: Vec<ExtensionView<'_>> = Vec::with_capacity(12);
    let mut list = SliceReader::new(list)?;
    while !list.is_finished() {
        let next = list.sequence(read_extension)?;
        // RFC 5280 section 4.2: no extension twice.
        if extensions.iter().any(|seen| seen.oid == next.oid) {
            return Err(Malformed);
        }
        extensions.push(next);
    }
    Ok(extensions)
}

fn read_extension<'a>(reader: &mut SliceReader<'a>) -> Result<ExtensionView<'a>, Malformed> {
    let oid = ObjectIdentifier::decode(reader)?;
    let critical = Option::<bool>::decode(reader)?.unwrap_or(false);
    let value = <&OctetStringRef>::decode(reader)?.as_bytes();
    Ok(ExtensionView { oid, critical, value })
}

fn name_text(der: &[u8]) -> String {
    Name::from_der(der).map(|name| name.to_string()).unwrap_or_default()
}
