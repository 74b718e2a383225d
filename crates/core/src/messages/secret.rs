//! A device's secrets: the one that signs, and for an hour the one before.

use serde::{Deserialize, Serialize};

use crate::{
    Lifetime, PrincipalId, SecretId, TenantId, Time,
    store::layout::{Entity, Index, IndexEntry, Key, LISTING_SHARDS, Query, SortRange, Table, bytes, shard_of},
};

/// How long the secret before still verifies.
pub const GRACE: Lifetime = Lifetime::hours(1);
/// After so much of it, who still signs with the secret before is told of in the audit log.
pub const LATE_AFTER: Lifetime = Lifetime::minutes(45);

/// A secret as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedSecret {
    /// Tells it from others of the device; tells nothing of the secret.
    pub id: SecretId,
    /// Nonce, ciphertext and tag: AES-256-GCM under the tenant's [`super::MessageKey`], bound to [`bound_to`].
    #[serde(with = "bytes")]
    pub sealed: Vec<u8>,
    /// When it was made.
    pub made_at: Time,
    /// SHA-256 of who had it made and its request id, hexadecimal: only a repetition of that request is shown it
    /// again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_by: Option<String>,
}

/// The secret that another has taken the place of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviousSecret {
    /// It.
    pub secret: SealedSecret,
    /// Until when it verifies.
    pub until: Time,
    /// Whether the audit log has that it was used late.
    #[serde(default)]
    pub is_late_noted: bool,
}

impl PreviousSecret {
    /// Whether its use at `now` is to be noted: once, in the last quarter of an hour.
    pub fn is_late(&self, now: Time) -> bool {
        let since = self.until.minus(GRACE).plus(LATE_AFTER);
        !self.is_late_noted && since <= now && now < self.until
    }
}

/// The secrets of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageSecret {
    /// Whose device.
    pub tenant: TenantId,
    /// The device.
    pub principal: PrincipalId,
    /// Which life of its id: [`crate::principals::Principal::created_at`]. Of another life it counts as none.
    pub incarnation: Time,
    /// What signs.
    pub current: SealedSecret,
    /// What still verifies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<PreviousSecret>,
}

/// What a sealed secret is bound to: another tenant's, device's or secret's place does not open it.
pub fn bound_to(tenant: &TenantId, principal: &PrincipalId, secret: &SecretId) -> String {
    format!("{tenant}/{principal}/{secret}")
}

impl MessageSecret {
    const SORT: &'static str = "message-secret";

    /// Where a device's secrets are: beside its record.
    pub fn key_of(tenant: &TenantId, principal: &PrincipalId) -> Key {
        Key::new(Table::Principals, format!("{tenant}#{principal}"), Self::SORT)
    }

    /// Index partition of listing shard `shard` of `tenant`.
    pub fn listing(tenant: &TenantId, shard: u32) -> String {
        format!("{tenant}#message-secrets#{shard}")
    }

    /// A page of them, of one listing shard.
    pub fn list(tenant: &TenantId, shard: u32) -> Query {
        Query::index(Table::Principals, Index::Listing, Self::listing(tenant, shard)).range(SortRange::All)
    }

    /// The one before, if it still verifies at `now`.
    pub fn in_grace(&self, now: Time) -> Option<&PreviousSecret> {
        self.previous.as_ref().filter(|previous| now < previous.until)
    }

    /// `next` takes the place of what `before` has, which verifies for an hour more unless it ends `at_once`.
    /// `Err`: until when the one before that verifies, whose device a third secret would lock out.
    pub fn rotated(
        before: Option<&Self>,
        (tenant, principal, incarnation): (&TenantId, &PrincipalId, Time),
        next: SealedSecret,
        at_once: bool,
        now: Time,
    ) -> Result<Self, Time> {
        let before = before.filter(|before| before.incarnation == incarnation);
        if let Some(waits) = before.and_then(|before| before.in_grace(now)).filter(|_| !at_once) {
            return Err(waits.until);
        }
        let previous = before.filter(|_| !at_once).map(|before| PreviousSecret {
            secret: before.current.clone(),
            until: now.plus(GRACE),
            is_late_noted: false,
        });
        let (tenant, principal) = (tenant.clone(), principal.clone());
        Ok(Self { tenant, principal, incarnation, current: next, previous })
    }
}

impl Entity for MessageSecret {
    fn key(&self) -> Key {
        Self::key_of(&self.tenant, &self.principal)
    }
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
    fn principal(&self) -> Option<&PrincipalId> {
        Some(&self.principal)
    }
    fn indexes(&self) -> Vec<IndexEntry> {
        let shard = shard_of(self.principal.as_str(), LISTING_SHARDS);
        vec![IndexEntry::new(Index::Listing, Self::listing(&self.tenant, shard), self.principal.as_str())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Time {
        Time::from_unix_seconds(seconds)
    }

    fn sealed(id: &str) -> SealedSecret {
        SealedSecret { id: id.parse().unwrap(), sealed: vec![1], made_at: at(0), asked_by: None }
    }

    fn rotated(before: Option<&MessageSecret>, id: &str, at_once: bool, now: i64) -> Result<MessageSecret, Time> {
        let whose = (&"acme".parse().unwrap(), &"d1".parse().unwrap(), at(1));
        MessageSecret::rotated(before, whose, sealed(id), at_once, at(now))
    }

    #[test]
    fn the_one_before_verifies_for_an_hour_and_a_third_waits_for_its_end() {
        let first = rotated(None, "1", false, 100).unwrap();
        assert_eq!(first.previous, None);
        let second = rotated(Some(&first), "2", false, 200).unwrap();
        assert_eq!(second.in_grace(at(200 + 3599)).unwrap().secret, sealed("1"));
        assert_eq!(second.in_grace(at(200 + 3600)), None);
        assert_eq!(rotated(Some(&second), "3", false, 201).unwrap_err(), at(3800));
        assert_eq!(rotated(Some(&second), "3", false, 3800).unwrap().previous.unwrap().secret, sealed("2"));
        assert_eq!(rotated(Some(&second), "3", true, 201).unwrap().previous, None);
    }

    #[test]
    fn late_use_is_noted_once_in_the_last_quarter_of_the_grace() {
        let first = rotated(None, "1", false, 0).unwrap();
        let mut previous = rotated(Some(&first), "2", false, 0).unwrap().previous.unwrap();
        let is_late = |previous: &PreviousSecret| [2699, 2700, 3599, 3600].map(|now| previous.is_late(at(now)));
        assert_eq!(is_late(&previous), [false, true, true, false]);
        previous.is_late_noted = true;
        assert_eq!(is_late(&previous), [false; 4]);
    }

    #[test]
    fn the_next_life_of_an_id_begins_without_a_secret() {
        let other = MessageSecret { incarnation: at(0), ..rotated(None, "1", false, 0).unwrap() };
        assert_eq!(rotated(Some(&other), "2", false, 1).unwrap().previous, None);
    }
}
