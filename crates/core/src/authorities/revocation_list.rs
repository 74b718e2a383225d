//! A CA's revocation list (CRL) as it is kept: the signed list itself in parts, and a head that says which is the last.

use serde::{Deserialize, Serialize};

use crate::{
    CaId, Lifetime, TenantId, Time,
    store::layout::{Entity, Key, Table},
};

/// How long a list is valid.
pub const LIST_VALIDITY: Lifetime = Lifetime::hours(48);
/// When an unchanged list is made anew: a day before it ends, so that a day is left to mend what keeps it from being
/// made.
const RENEWAL: Lifetime = Lifetime::hours(24);
/// The head outlives its CA by this much.
const OUTLIVE: Lifetime = Lifetime::days(7);
/// Parts outlive their list by this much, so that after an outage the next list has what stood on it, whatever the
/// index shows. Each list has parts of its own, and nobody may delete them.
const PART_OUTLIVES: Lifetime = Lifetime::days(7);
/// How far clocks may differ.
const TOLERANCE: Lifetime = Lifetime::minutes(5);
/// Most bytes of a part. In base64, with the rest of its record, it stays below DynamoDB's 400 KB.
pub const MOST_OF_A_PART: usize = 250_000;

/// The last list of a CA that was signed. Nobody may sign another with its number or a lower one (RFC 5280 section
/// 5.2.3), so there is one record, replaced by compare-and-swap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevocationList {
    /// The CA's owner.
    pub tenant: TenantId,
    /// Whose list it is.
    pub ca: CaId,
    /// CRLNumber.
    pub number: u64,
    /// Start of validity.
    pub this_update: Time,
    /// End of validity.
    pub next_update: Time,
    /// When the list is made anew although nothing was revoked.
    pub renew_at: Time,
    /// How many certificates stand on it.
    pub entries: u64,
    /// Tells one set of entries from another, hexadecimal.
    pub entries_sha256: String,
    /// Digest of the to-be-signed list, hexadecimal.
    pub tbs_sha256: String,
    /// How many [`RevocationListPart`]s have the to-be-signed list.
    pub parts: u32,
    /// DER Ecdsa-Sig-Value.
    #[serde(with = "crate::store::layout::bytes")]
    pub signature_der: Vec<u8>,
    /// When it may be deleted: its CA has ended.
    pub keep_until: Time,
}

/// A part of a to-be-signed list. All are recorded before the list is signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevocationListPart {
    /// The CA's owner.
    pub tenant: TenantId,
    /// Whose list it is a part of.
    pub ca: CaId,
    /// That list's number.
    pub number: u64,
    /// Digest of the whole to-be-signed list, hexadecimal.
    pub tbs_sha256: String,
    /// Which part, from 0.
    pub index: u32,
    /// Bytes of the to-be-signed list.
    #[serde(with = "crate::store::layout::bytes")]
    pub tbs_der: Vec<u8>,
    /// When it may be deleted: the list has ended.
    pub keep_until: Time,
}

impl RevocationList {
    /// Key of the CA's list.
    pub fn key_of(ca: &CaId) -> Key {
        Key::new(Table::Certificates, partition(ca), "head")
    }

    /// The number of the list that follows `before`. Also where that was lost it is higher than any other, since no
    /// number is below the time at which it was given.
    pub fn next_number(before: Option<&Self>, now: Time) -> u64 {
        let least = before.map_or(0, |before| before.number.saturating_add(1));
        u64::try_from(now.unix_seconds()).unwrap_or(0).max(least)
    }

    /// When a list that is made at `now` is to be made anew.
    pub fn renewal(now: Time) -> Time {
        now.plus(RENEWAL)
    }

    /// Until when the head is kept for a CA that ends at `not_after`.
    pub fn kept_until(not_after: Time) -> Time {
        not_after.plus(OUTLIVE)
    }

    /// Whether another must be made although nothing was revoked.
    pub fn is_due(&self, now: Time) -> bool {
        // A clock that was ahead has made it: nobody takes it yet.
        let is_early = self.this_update > now.plus(TOLERANCE);
        now >= self.renew_at || now >= self.next_update || is_early
    }

    /// The keys of its parts, in order.
    pub fn part_keys(&self) -> impl Iterator<Item = Key> {
        (0..self.parts).map(|index| part_key(&self.ca, self.number, &self.tbs_sha256, index))
    }

    /// A part of the to-be-signed list that this is the head of.
    pub fn part(&self, index: u32, tbs_der: &[u8]) -> RevocationListPart {
        RevocationListPart {
            tenant: self.tenant.clone(),
            ca: self.ca.clone(),
            number: self.number,
            tbs_sha256: self.tbs_sha256.clone(),
            index,
            tbs_der: tbs_der.to_vec(),
            keep_until: self.next_update.plus(PART_OUTLIVES),
        }
    }
}

/// No CA has a name without a dot, so that no certificate's partition starts alike.
fn partition(ca: &CaId) -> String {
    format!("crl#{ca}")
}

/// Two processes may make lists with one number, of which one wins: the digest tells their parts apart. Each part has a
/// partition of its own: DynamoDB writes a thousand units a second to one, and a part is hundreds.
fn part_key(ca: &CaId, number: u64, tbs_sha256: &str, index: u32) -> Key {
    Key::new(Table::Certificates, format!("{}#{index}", partition(ca)), &format!("part#{number:020}#{tbs_sha256}"))
}

impl Entity for RevocationList {
    fn key(&self) -> Key {
        Self::key_of(&self.ca)
    }
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
    fn expires_at(&self) -> Option<Time> {
        Some(self.keep_until)
    }
}

impl Entity for RevocationListPart {
    fn key(&self) -> Key {
        part_key(&self.ca, self.number, &self.tbs_sha256, self.index)
    }
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
    fn expires_at(&self) -> Option<Time> {
        Some(self.keep_until)
    }
}
