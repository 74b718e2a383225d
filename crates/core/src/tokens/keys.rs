//! A tenant's keys for tokens: kept with their private half wrapped, published before they sign, kept published until
//! the last token that they signed has ended.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    Lifetime, TenantId, Time,
    store::layout::{Entity, Index, IndexEntry, Key, LISTING_SHARDS, Query, SortRange, Table, bytes, shard_of},
};

/// How long a key signs.
pub const KEY_LIFETIME: Lifetime = Lifetime::days(30);
/// How long a key is published before it signs: longer than anybody keeps a set of keys.
pub const PUBLISH_LEAD: Lifetime = Lifetime::hours(1);
/// As everywhere: clocks are right within five minutes.
const CLOCKS_DIFFER: Lifetime = Lifetime::minutes(5);

/// What a key signs. Each kind of token has keys of its own: no verifier can take one kind for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenUse {
    /// OAuth access tokens (RFC 9068).
    AccessToken,
    /// JWT-SVIDs.
    JwtSvid,
    /// WIT-SVIDs.
    WitSvid,
    /// Security event tokens (RFC 8417).
    SecurityEvent,
    /// What clients of message brokers show as password.
    BrokerToken,
}

impl TokenUse {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::AccessToken, Self::JwtSvid, Self::WitSvid, Self::SecurityEvent, Self::BrokerToken];

    /// As in records, audit events and the context that a key is wrapped with. Never changes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AccessToken => "access_token",
            Self::JwtSvid => "jwt_svid",
            Self::WitSvid => "wit_svid",
            Self::SecurityEvent => "security_event",
            Self::BrokerToken => "broker_token",
        }
    }

    /// How long a token is good at most: who cannot ask whether it was revoked takes it until its end. A broker's
    /// client keeps its connection for hours, and may have nobody to ask for another.
    pub const fn longest_lifetime(self) -> Lifetime {
        match self {
            Self::AccessToken | Self::JwtSvid | Self::WitSvid | Self::SecurityEvent => Lifetime::minutes(15),
            Self::BrokerToken => Lifetime::hours(24),
        }
    }
}

impl fmt::Display for TokenUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What tokens are signed with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TokenAlgorithm {
    /// ECDSA with P-256 and SHA-256.
    #[default]
    #[serde(rename = "ES256")]
    Es256,
    /// RSA of 2048 bits, PKCS #1 v1.5, SHA-256: for verifiers that know no other.
    #[serde(rename = "RS256")]
    Rs256,
}

/// One key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenKey {
    /// Its `kid`: the thumbprint of its public half (RFC 7638).
    pub id: String,
    /// What it signs with.
    pub algorithm: TokenAlgorithm,
    /// Its public half, DER SubjectPublicKeyInfo.
    #[serde(with = "bytes")]
    pub spki_der: Vec<u8>,
    /// Its private half, wrapped by [`crate::KeyManager::make_wrapped`].
    #[serde(with = "bytes")]
    pub wrapped: Vec<u8>,
    /// From when on it is published.
    pub published_at: Time,
    /// From when on it signs.
    pub signs_at: Time,
}

/// A tenant's keys for one kind of token, the oldest first. Never restored: what a restore loses is made anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenKeys {
    /// Whose.
    pub tenant: TenantId,
    /// For which kind.
    pub for_use: TokenUse,
    /// At least one.
    pub keys: Vec<TokenKey>,
    /// Rises with every change, also after a loss: the time in seconds, or one more than before.
    pub generation: u64,
}

impl TokenKeys {
    const SORT: &'static str = "token-keys#";

    /// Where a tenant's keys are.
    pub fn key_of(tenant: &TenantId, for_use: TokenUse) -> Key {
        Key::new(Table::Tenants, tenant.as_str(), &format!("{}{for_use}", Self::SORT))
    }

    /// All of a tenant's.
    pub fn all_of(tenant: &TenantId) -> Query {
        Query::table(Table::Tenants, tenant.as_str()).range(SortRange::Prefix(Self::SORT.to_owned()))
    }

    /// The tenant whose keys are at `key`, for a record that cannot be read.
    pub fn tenant_in(key: &Key) -> Option<TenantId> {
        key.sort.starts_with(Self::SORT).then(|| key.partition.parse().ok()).flatten()
    }

    /// Index partition of listing shard `shard`.
    pub fn listing(shard: u32) -> String {
        format!("token-keys#{shard}")
    }

    /// The generation of what takes the place of keys of this one (0: of none) at `now`.
    pub fn generation_after(before: u64, now: Time) -> u64 {
        before.saturating_add(1).max(u64::try_from(now.unix_seconds()).unwrap_or(0))
    }

    /// The key that signs at `now`. A clock that was put back finds the oldest.
    pub fn signing(&self, now: Time) -> Option<&TokenKey> {
        self.keys.iter().rev().find(|key| key.signs_at <= now).or(self.keys.first())
    }

    /// The key with this `kid`.
    pub fn find(&self, id: &str) -> Option<&TokenKey> {
        self.keys.iter().find(|key| key.id == id)
    }
}

impl Entity for TokenKeys {
    fn key(&self) -> Key {
        Self::key_of(&self.tenant, self.for_use)
    }
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
    fn indexes(&self) -> Vec<IndexEntry> {
        let shard = shard_of(self.tenant.as_str(), LISTING_SHARDS);
        vec![IndexEntry::new(Index::Listing, Self::listing(shard), &format!("{}/{}", self.tenant, self.for_use))]
    }
}

/// What is due for keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyStep {
    /// Make a key that signs from then on, and let go of those that are over.
    Make {
        /// See [`TokenKey::algorithm`].
        algorithm: TokenAlgorithm,
        /// See [`TokenKey::signs_at`].
        signs_at: Time,
    },
    /// Let go of the keys that are over.
    LetGo,
}

/// Whether a key was made by a clock that is right: one that was ahead must not keep others from being made for as
/// long.
pub fn is_believable(key: &TokenKey, now: Time) -> bool {
    key.signs_at <= now.plus(PUBLISH_LEAD).plus(CLOCKS_DIFFER)
}

/// What is due at `now`; `keys`: the oldest first, none yet if empty. The next key signs with what the one before it
/// does.
pub fn plan_keys(for_use: TokenUse, keys: &[TokenKey], now: Time) -> Option<KeyStep> {
    if keys.is_empty() {
        return Some(KeyStep::Make { algorithm: TokenAlgorithm::default(), signs_at: now });
    }
    // If there is none, it is this clock that is behind.
    let newest = keys.iter().rev().find(|key| is_believable(key, now))?;
    let in_time = now.plus(PUBLISH_LEAD);
    if newest.signs_at.plus(KEY_LIFETIME) <= in_time {
        return Some(KeyStep::Make { algorithm: newest.algorithm, signs_at: in_time });
    }
    keys.windows(2).any(|pair| is_over(for_use, pair, now)).then_some(KeyStep::LetGo)
}

/// The keys that stay at `now`: still published, and of a clock that is right. Where all are of one that is ahead, all
/// stay.
pub fn kept(for_use: TokenUse, keys: &[TokenKey], now: Time) -> Vec<TokenKey> {
    let over = keys.windows(2).take_while(|pair| is_over(for_use, pair, now)).count();
    let left = keys.get(over..).unwrap_or_default();
    let believable: Vec<TokenKey> = left.iter().filter(|key| is_believable(key, now)).cloned().collect();
    if believable.is_empty() { left.to_vec() } else { believable }
}

/// Whether the first of two keys that follow one another has signed its last, and nothing that it signed is still good.
fn is_over(for_use: TokenUse, pair: &[TokenKey], now: Time) -> bool {
    let until = |next: &TokenKey| next.signs_at.plus(for_use.longest_lifetime()).plus(CLOCKS_DIFFER);
    matches!(pair, [_, next] if until(next) <= now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(signs_at: i64) -> TokenKey {
        TokenKey {
            id: signs_at.to_string(),
            algorithm: TokenAlgorithm::Es256,
            spki_der: vec![1],
            wrapped: vec![2],
            published_at: at(signs_at),
            signs_at: at(signs_at),
        }
    }

    fn at(seconds: i64) -> Time {
        Time::from_unix_seconds(seconds)
    }

    fn make(signs_at: i64) -> Option<KeyStep> {
        Some(KeyStep::Make { algorithm: TokenAlgorithm::Es256, signs_at: at(signs_at) })
    }

    const DAY: i64 = 24 * 3600;
    const USE: TokenUse = TokenUse::AccessToken;

    #[test]
    fn the_first_key_signs_at_once_and_each_next_one_is_published_before_it_signs() {
        let plan = |keys: &[TokenKey], now| plan_keys(USE, keys, at(now));
        assert_eq!(plan(&[], 5), make(5));
        let last = 30 * DAY - 3600;
        assert_eq!(plan(&[key(0)], last - 1), None);
        assert_eq!(plan(&[key(0)], last), make(last + 3600));
        assert_eq!(plan(&[key(0), key(last + 3600)], last), None);
    }

    #[test]
    fn a_key_stays_published_until_the_last_token_that_it_signed_is_over() {
        let keys = [key(0), key(1000)];
        let keys_at = |now| kept(USE, &keys, at(now)).len();
        assert_eq!((keys_at(1000 + 1199), keys_at(1000 + 1200)), (2, 1));
        let plan = |now| plan_keys(USE, &keys, at(now));
        assert_eq!((plan(2199), plan(2200)), (None, Some(KeyStep::LetGo)));
        // A broker token is good for a day.
        let of_broker = |now| kept(TokenUse::BrokerToken, &keys, at(now)).len();
        assert_eq!((of_broker(1000 + DAY + 299), of_broker(1000 + DAY + 300)), (2, 1));
        assert_eq!(plan_keys(TokenUse::BrokerToken, &keys, at(2200)), None);
    }

    /// One jump ahead must not stop rotation until then.
    #[test]
    fn a_key_of_a_clock_that_was_far_ahead_is_let_go_of_when_the_next_one_is_due() {
        let keys = [key(0), key(400 * DAY)];
        let due = 30 * DAY - 3600;
        assert_eq!(plan_keys(USE, &keys, at(due - 1)), None);
        assert_eq!(plan_keys(USE, &keys, at(due)), make(due + 3600));
        assert_eq!(kept(USE, &keys, at(due)), [key(0)]);
        // A clock that is behind all of them decides nothing.
        assert_eq!(plan_keys(USE, &keys[1..], at(0)), None);
        assert_eq!(kept(USE, &keys[1..], at(0)).len(), 1);
    }

    #[test]
    fn the_next_key_signs_with_what_the_one_before_it_does() {
        let rsa = TokenKey { algorithm: TokenAlgorithm::Rs256, ..key(0) };
        let step = plan_keys(USE, &[rsa], at(30 * DAY));
        assert!(matches!(step, Some(KeyStep::Make { algorithm: TokenAlgorithm::Rs256, .. })), "{step:?}");
    }

    #[test]
    fn who_signs_goes_by_the_clock_and_there_is_always_one() {
        let keys =
            TokenKeys { tenant: "acme".parse().unwrap(), for_use: USE, keys: vec![key(100), key(200)], generation: 1 };
        let signing = |now| keys.signing(at(now)).unwrap().id.clone();
        assert_eq!([50, 100, 199, 200].map(signing), ["100", "100", "100", "200"]);
    }
}
