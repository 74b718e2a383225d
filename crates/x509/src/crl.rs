//! Certificate revocation lists (RFC 5280 section 5): full lists, one per issuer.

use signet_core::{Serial, Time, certificate::RevocationReason};

use crate::{IssueError, IssuerCert, PublicKey};

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
    todo!()
}

impl PreparedCrl {
    /// What is to be signed, DER. May be long: sign a digest of it where a signer has a limit.
    pub fn tbs_der(&self) -> &[u8] {
        &self.tbs_der
    }

    /// Joins the list with its signature (DER Ecdsa-Sig-Value), which must verify with the issuer's key. Returns the
    /// CRL, DER.
    pub fn finish(self, signature_der: &[u8]) -> Result<Vec<u8>, IssueError> {
        todo!()
    }
}
