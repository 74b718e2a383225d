//! Certificate revocation lists (RFC 5280 section 5): full lists, one per issuer.

use der::{Decode, Encode, Tag, asn1::AnyRef};
use signet_core::{Serial, Time, certificate::RevocationReason};

use x509_cert::{
    certificate::Version,
    crl::{RevokedCert, TbsCertList},
    name::Name,
    serial_number::SerialNumber,
};

use crate::{IssueError, IssuerCert, PublicKey, encode, key::SIGNATURE_ALGORITHM, oid};

/// One revoked certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevokedEntry {
    /// Its serial number.
    pub serial: Serial,
    /// When it was revoked.
    pub revoked_at: Time,
    /// Why.
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
