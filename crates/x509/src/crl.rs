//! Certificate revocation lists (RFC 5280 section 5): full lists, one per issuer.

use der::{
    Decode, Encode, Reader, SliceReader, Tag, TagMode, TagNumber,
    asn1::{AnyRef, BitStringRef, ContextSpecific, UintRef},
};
use signet_core::{Serial, Time, certificates::RevocationReason};
use thiserror::Error;
use x509_cert::{
    certificate::Version,
    crl::{RevokedCert, TbsCertList},
    ext::Extensions,
    time::Time as X509Time,
};

use crate::{
    IssueError, IssuerCert, PublicKey, encode,
    key::{Algorithm, SIGNATURE_ALGORITHM},
    oid,
};

/// One revoked certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct RevokedEntry {
    pub serial: Serial,
    /// When it was revoked.
    pub revoked_at: Time,
    pub reason: RevocationReason,
}

/// A list that waits for its signature. Not `Clone`: it is signed once.
#[derive(Debug)]
pub struct PreparedCrl {
    tbs_der: Vec<u8>,
    left_out: Vec<Serial>,
    issuer_key: PublicKey,
}

/// The full list of what `issuer` revoked, valid from `this_update` until `next_update`. `number` must rise with every
/// list of the issuer (section 5.2.3). Entries may come in any order; of a serial that comes twice the first counts.
/// An entry that cannot be written is left out ([`PreparedCrl::left_out`]): it must not keep the others off the list.
pub fn prepare_crl(
    issuer: &IssuerCert,
    number: u64,
    this_update: Time,
    next_update: Time,
    revoked: &[RevokedEntry],
) -> Result<PreparedCrl, IssueError> {
    if this_update >= next_update {
        return Err(IssueError::Encoding("a revocation list must end after it begins".into()));
    }
    let mut revoked: Vec<&RevokedEntry> = revoked.iter().collect();
    revoked.sort_by_key(|entry| entry.serial);
    revoked.dedup_by_key(|entry| entry.serial);
    let (mut left_out, mut entries) = (Vec::new(), Entries::new()?);
    for entry in revoked {
        if entries.add(entry).is_err() {
            left_out.push(entry.serial);
        }
    }
    let extensions =
        vec![encode::authority_key_id(&issuer.key_id)?, encode::extension(oid::CRL_NUMBER, false, &number)?];
    let mut content = Vec::with_capacity(entries.der.len().saturating_add(1024));
    Version::V2.encode_to_vec(&mut content)?;
    SIGNATURE_ALGORITHM.encode_to_vec(&mut content)?;
    content.extend_from_slice(&issuer.subject_der);
    encode::time(this_update)?.encode_to_vec(&mut content)?;
    encode::time(next_update)?.encode_to_vec(&mut content)?;
    // Section 5.1.2.6: absent when nothing is revoked, never empty.
    if !entries.der.is_empty() {
        AnyRef::new(Tag::Sequence, &entries.der)?.encode_to_vec(&mut content)?;
    }
    let (tag_number, tag_mode) = (TagNumber(0), TagMode::Explicit);
    ContextSpecific { tag_number, tag_mode, value: extensions }.encode_to_vec(&mut content)?;
    let tbs_der = AnyRef::new(Tag::Sequence, &content)?.to_der()?;
    Ok(PreparedCrl { tbs_der, left_out, issuer_key: issuer.key.clone() })
}

/// The octet of a SEQUENCE.
const SEQUENCE: u8 = 0x30;
/// Days whose form is remembered: what is on a list was revoked within a certificate's life, or little more.
const DAYS: usize = 512;
const DAY_SECONDS: i64 = 86_400;

/// Entries one after the other, DER. Written by hand: a list may have a million.
struct Entries {
    der: Vec<u8>,
    /// The extensions of an entry, by the code of its reason.
    extensions: Vec<Vec<u8>>,
    /// Midnights as the library writes them, each at its day's remainder by [`DAYS`].
    days: Vec<(i64, Vec<u8>)>,
}

impl Entries {
    fn new() -> der::Result<Self> {
        let mut extensions = vec![Vec::new(); 16];
        for reason in RevocationReason::ALL {
            // Section 5.3.1: the reason is left out rather than `unspecified`.
            if reason == RevocationReason::Unspecified {
                continue;
            }
            let code = [reason.code()];
            let extension = encode::extension(oid::CRL_REASON, false, &AnyRef::new(Tag::Enumerated, &code)?)?;
            let place = extensions.get_mut(usize::from(reason.code())).ok_or(der::ErrorKind::Failed)?;
            *place = vec![extension].to_der()?;
        }
        Ok(Self { der: Vec::new(), extensions, days: vec![(i64::MIN, Vec::new()); DAYS] })
    }

    /// After an error there is nothing of the entry.
    fn add(&mut self, entry: &RevokedEntry) -> der::Result<()> {
        let begin = self.der.len();
        self.der.extend_from_slice(&[SEQUENCE, 0]);
        let written = self.write(entry);
        // Less than 128 bytes, so that the length has one byte: a serial has 20 at most.
        let length = self.der.len().saturating_sub(begin).saturating_sub(2);
        let length = u8::try_from(length).ok().filter(|length| *length < 0x80).ok_or(der::ErrorKind::Overlength.into());
        match written.and(length) {
            Ok(length) => {
                if let Some(place) = self.der.get_mut(begin.saturating_add(1)) {
                    *place = length;
                }
                Ok(())
            }
            Err(error) => {
                self.der.truncate(begin);
                Err(error)
            }
        }
    }

    fn write(&mut self, entry: &RevokedEntry) -> der::Result<()> {
        UintRef::new(entry.serial.as_bytes())?.encode(&mut self.der)?;
        let at = entry.revoked_at.unix_seconds();
        let (day, second) = (at.div_euclid(DAY_SECONDS), at.rem_euclid(DAY_SECONDS));
        let place = usize::try_from(day.rem_euclid(DAYS as i64)).unwrap_or_default();
        let (known, midnight) = self.days.get_mut(place).ok_or(der::ErrorKind::Failed)?;
        if *known != day {
            *midnight = encode::time(Time::from_unix_seconds(day.saturating_mul(DAY_SECONDS)))?.to_der()?;
            *known = day;
        }
        // Both forms end in HHMMSSZ.
        let date = midnight.strip_suffix(b"000000Z").ok_or(der::ErrorKind::DateTime)?;
        self.der.extend_from_slice(date);
        for part in [second / 3600, second / 60 % 60, second % 60] {
            let digit = |digit: i64| b'0'.saturating_add(u8::try_from(digit).unwrap_or_default());
            self.der.extend_from_slice(&[digit(part / 10), digit(part % 10)]);
        }
        self.der.push(b'Z');
        let extensions = self.extensions.get(usize::from(entry.reason.code())).ok_or(der::ErrorKind::Failed)?;
        self.der.extend_from_slice(extensions);
        Ok(())
    }
}

impl PreparedCrl {
    /// What is to be signed, DER. May be long: sign a digest of it where a signer has a limit.
    pub fn tbs_der(&self) -> &[u8] {
        &self.tbs_der
    }

    /// What could not be written.
    pub fn left_out(&self) -> &[Serial] {
        &self.left_out
    }

    /// Joins the list with its signature (DER Ecdsa-Sig-Value), which must verify with the issuer's key. Returns the
    /// CRL, DER.
    pub fn finish(self, signature_der: &[u8]) -> Result<Vec<u8>, IssueError> {
        self.issuer_key.verify(&self.tbs_der, signature_der).map_err(|_| IssueError::BadSignature)?;
        Ok(encode::signed(&self.tbs_der, signature_der)?)
    }
}

/// Joins the bytes of a list that was signed before with its signature (DER Ecdsa-Sig-Value), unchecked. Returns the
/// CRL, DER.
pub fn assemble(tbs_der: &[u8], signature_der: &[u8]) -> Result<Vec<u8>, IssueError> {
    Ok(encode::signed(tbs_der, signature_der)?)
}

/// Why a list is not one of an issuer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CrlError {
    /// Not a list, or one with serial numbers or reasons that are not ours.
    #[error("not a DER X.509 revocation list (RFC 5280 section 5.1) as we write it")]
    Malformed,
    /// Another issuer's.
    #[error("the revocation list names another issuer")]
    OtherIssuer,
    /// Not signed with the issuer's key.
    #[error("the revocation list carries a bad signature")]
    BadSignature,
}

impl From<der::Error> for CrlError {
    fn from(_: der::Error) -> Self {
        Self::Malformed
    }
}

/// What a list says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct ListFacts {
    /// CRLNumber.
    pub number: u64,
    pub this_update: Time,
    pub next_update: Time,
}

/// What a list that `issuer` signed says of itself. `der`: the whole list, of which no entry is read.
pub fn verified_facts(der: &[u8], issuer: &IssuerCert) -> Result<ListFacts, CrlError> {
    let mut reader = SliceReader::new(signed_part(der, issuer)?)?;
    let (this_update, next_update, extensions) = reader.sequence(|tbs| -> der::Result<_> {
        issuer_of(tbs)?;
        let (this_update, next_update) = (X509Time::decode(tbs)?, X509Time::decode(tbs)?);
        if Tag::peek(tbs)? == Tag::Sequence {
            tbs.tlv_bytes()?;
        }
        Ok((this_update, next_update, ContextSpecific::<Extensions>::decode(tbs)?.value))
    })?;
    reader.finish()?;
    let number = extensions.iter().find(|extension| extension.extn_id == oid::CRL_NUMBER).ok_or(CrlError::Malformed)?;
    Ok(ListFacts {
        number: u64::from_der(number.extn_value.as_bytes())?,
        this_update: read_time(&this_update)?,
        next_update: read_time(&next_update)?,
    })
}

/// What stands on a list that `issuer` signed, in the list's order, whether it is still valid or not. `der`: the whole
/// list.
pub fn verified_entries(der: &[u8], issuer: &IssuerCert) -> Result<Vec<RevokedEntry>, CrlError> {
    let tbs = TbsCertList::from_der(signed_part(der, issuer)?)?;
    tbs.revoked_certificates.unwrap_or_default().iter().map(read_entry).collect()
}

/// The to-be-signed part, if it is the issuer's.
fn signed_part<'a>(der: &'a [u8], issuer: &IssuerCert) -> Result<&'a [u8], CrlError> {
    let mut reader = SliceReader::new(der)?;
    let (tbs_der, signature) = reader.sequence(|outer| -> der::Result<_> {
        let tbs_der = outer.tlv_bytes()?;
        Algorithm::decode(outer)?;
        Ok((tbs_der, BitStringRef::decode(outer)?))
    })?;
    reader.finish()?;
    let mut tbs = SliceReader::new(AnyRef::from_der(tbs_der)?.value())?;
    if issuer_of(&mut tbs)? != issuer.subject_der {
        return Err(CrlError::OtherIssuer);
    }
    let signature = signature.as_bytes().ok_or(CrlError::Malformed)?;
    issuer.key.verify(tbs_der, signature).map_err(|_| CrlError::BadSignature)?;
    Ok(tbs_der)
}

/// The name that a list begins with, after its version and algorithm; DER.
fn issuer_of<'a>(tbs: &mut SliceReader<'a>) -> der::Result<&'a [u8]> {
    Version::decode(tbs)?;
    Algorithm::decode(tbs)?;
    tbs.tlv_bytes()
}

fn read_time(time: &X509Time) -> Result<Time, CrlError> {
    let seconds = i64::try_from(time.to_unix_duration().as_secs()).map_err(|_| CrlError::Malformed)?;
    Ok(Time::from_unix_seconds(seconds))
}

fn read_entry(entry: &RevokedCert) -> Result<RevokedEntry, CrlError> {
    let serial = Serial::from_der_integer(entry.serial_number.as_bytes()).ok_or(CrlError::Malformed)?;
    let revoked_at = read_time(&entry.revocation_date)?;
    let extensions = entry.crl_entry_extensions.iter().flatten();
    let reason = match extensions.into_iter().find(|extension| extension.extn_id == oid::CRL_REASON) {
        None => RevocationReason::Unspecified,
        Some(extension) => match AnyRef::from_der(extension.extn_value.as_bytes())?.value() {
            [code] => RevocationReason::from_code(*code).ok_or(CrlError::Malformed)?,
            _ => return Err(CrlError::Malformed),
        },
    };
    Ok(RevokedEntry { serial, revoked_at, reason })
}
