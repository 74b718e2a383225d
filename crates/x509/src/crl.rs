//! Certificate revocation lists (RFC 5280 section 5): full lists, one per issuer.

use der::{
    Decode, Encode, Reader, SliceReader, Tag,
    asn1::{AnyRef, BitStringRef},
};
use signet_core::{Serial, Time, certificates::RevocationReason};
use thiserror::Error;
use x509_cert::{
    certificate::Version,
    crl::{RevokedCert, TbsCertList},
    name::Name,
    serial_number::SerialNumber,
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
    issuer_key: PublicKey,
}

/// The full list of what `issuer` revoked, valid from `this_update` until `next_update`. `number` must rise with every
/// list of the issuer (section 5.2.3). Entries may come in any order; a serial that comes twice is an error.
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
    revoked.sort_unstable_by_key(|entry| entry.serial);
    if revoked.windows(2).any(|pair| matches!(pair, [a, b] if a.serial == b.serial)) {
        return Err(IssueError::Encoding("a serial number stands twice in the revocation list".into()));
    }
    let revoked = revoked.into_iter().map(entry).collect::<der::Result<Vec<_>>>()?;
    let tbs = TbsCertList {
        version: Version::V2,
        signature: SIGNATURE_ALGORITHM.to_owned(),
        issuer: Name::from_der(&issuer.subject_der)?,
        this_update: encode::time(this_update)?,
        next_update: Some(encode::time(next_update)?),
        // Section 5.1.2.6: absent when nothing is revoked, never empty.
        revoked_certificates: (!revoked.is_empty()).then_some(revoked),
        crl_extensions: Some(vec![
            encode::authority_key_id(&issuer.key_id)?,
            encode::extension(oid::CRL_NUMBER, false, &number)?,
        ]),
    };
    Ok(PreparedCrl { tbs_der: tbs.to_der()?, issuer_key: issuer.key.clone() })
}

fn entry(entry: &RevokedEntry) -> der::Result<RevokedCert> {
    // Section 5.3.1: the reason is left out rather than `unspecified`.
    let reason = (entry.reason != RevocationReason::Unspecified)
        .then(|| encode::extension(oid::CRL_REASON, false, &AnyRef::new(Tag::Enumerated, &[entry.reason.code()])?));
    Ok(RevokedCert {
        serial_number: SerialNumber::new(entry.serial.as_bytes())?,
        revocation_date: encode::time(entry.revoked_at)?,
        crl_entry_extensions: reason.transpose()?.map(|reason| vec![reason]),
    })
}

impl PreparedCrl {
    /// What is to be signed, DER. May be long: sign a digest of it where a signer has a limit.
    pub fn tbs_der(&self) -> &[u8] {
        &self.tbs_der
    }

    /// Joins the list with its signature (DER Ecdsa-Sig-Value), which must verify with the issuer's key. Returns the
    /// CRL, DER.
    pub fn finish(self, signature_der: &[u8]) -> Result<Vec<u8>, IssueError> {
        self.issuer_key.verify(&self.tbs_der, signature_der).map_err(|_| IssueError::BadSignature)?;
        Ok(encode::signed(&self.tbs_der, signature_der)?)
    }
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

/// What stands on a list that `issuer` signed, in the list's order, whether it is still valid or not. `der`: the whole
/// list.
pub fn verified_entries(der: &[u8], issuer: &IssuerCert) -> Result<Vec<RevokedEntry>, CrlError> {
    let mut reader = SliceReader::new(der)?;
    let (tbs_der, signature) = reader.sequence(|outer| -> der::Result<_> {
        let tbs_der = outer.tlv_bytes()?;
        Algorithm::decode(outer)?;
        Ok((tbs_der, BitStringRef::decode(outer)?))
    })?;
    reader.finish()?;
    let tbs = TbsCertList::from_der(tbs_der)?;
    if tbs.issuer.to_der()? != issuer.subject_der {
        return Err(CrlError::OtherIssuer);
    }
    let signature = signature.as_bytes().ok_or(CrlError::Malformed)?;
    issuer.key.verify(tbs_der, signature).map_err(|_| CrlError::BadSignature)?;
    tbs.revoked_certificates.unwrap_or_default().iter().map(read_entry).collect()
}

fn read_entry(entry: &RevokedCert) -> Result<RevokedEntry, CrlError> {
    let serial = Serial::from_der_integer(entry.serial_number.as_bytes()).ok_or(CrlError::Malformed)?;
    let revoked_at = i64::try_from(entry.revocation_date.to_unix_duration().as_secs());
    let revoked_at = Time::from_unix_seconds(revoked_at.map_err(|_| CrlError::Malformed)?);
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
