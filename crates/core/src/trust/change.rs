//! The changes feed: everything that could turn a yes into a no, in order.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::{
    CaId, Lifetime, PrincipalId, Role, Serial, TenantId, Time,
    store::layout::{Cursor, Entity, Key, Query, SortRange, Table, shard_of},
    trust::recent::Affected,
};

/// Shards of the feed, each written by one group of commits at a time: see [`crate::store::commit::Group`].
pub const FEED_SHARDS: u32 = 4;

/// How long every entry lives at least, and how far clocks may differ at most: a number that a node misses and that was
/// used more recently than this has not expired, it is late.
pub const LEAST_LIFE: Lifetime = Lifetime::hours(1);

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub enum Change {
    /// A certificate was revoked; it would have expired at `not_after`.
    CertificateRevoked {
        /// Its serial number; ours are unique over all issuers.
        serial: Serial,
        /// When the refusal may be forgotten.
        not_after: Time,
        /// Of a certificate that was never recorded: its issuer, which alone it is refused for. A node of 0.1.0 does
        /// not know this and refuses the serial number of every issuer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        issuer: Option<CaId>,
    },
    /// A principal was suspended or deleted: refuse it until then, when its last certificate has expired.
    PrincipalDenied {
        principal: PrincipalId,
        /// When the refusal may be forgotten.
        until: Time,
    },
    /// A suspension was lifted.
    PrincipalAllowed { principal: PrincipalId },
    /// Roles changed: certificates carry old ones; these hold instead. Always the latest word: every later change
    /// has an entry of its own.
    PrincipalRoles {
        principal: PrincipalId,
        /// The roles from now on.
        roles: Vec<Role>,
        /// When every certificate that carries older ones has expired.
        until: Time,
    },
    /// The tenant's status, settings or CAs changed: read them again.
    TenantChanged,
    /// What a later version announces, or what is damaged: it may take a right away, so the tenant is refused here for
    /// as long as it matters ([`crate::trust::Trust::apply`]). Kept as it was read.
    #[serde(untagged)]
    Unknown(serde_json::Map<String, serde_json::Value>),
}

impl Change {
    /// Whose decisions it may turn, by itself: those of a tenant whose records must be read again turn with these.
    pub(super) fn affects(&self, tenant: &TenantId) -> Option<Affected> {
        match self {
            Self::CertificateRevoked { serial, .. } => Some(Affected::Certificate(tenant.clone(), *serial)),
            Self::PrincipalDenied { principal, .. }
            | Self::PrincipalAllowed { principal }
            | Self::PrincipalRoles { principal, .. } => Some(Affected::Principal(tenant.clone(), principal.clone())),
            Self::TenantChanged => None,
            Self::Unknown(_) => Some(Affected::Tenant(tenant.clone())),
        }
    }
}

/// What turns no decision of a node, so that one of an earlier release, which does not know it, refuses nobody for it:
/// unlike [`Change`], what a later release tells so may be passed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "notice", rename_all = "snake_case")]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub enum Notice {
    /// A device's message secrets are others, or are gone. Whoever keeps them asks again.
    MessageSecretChanged { principal: PrincipalId },
    /// What a later version tells. Kept as it was read.
    #[serde(untagged)]
    Unknown(serde_json::Map<String, serde_json::Value>),
}

impl Notice {
    pub(super) fn affects(&self, tenant: &TenantId) -> Option<Affected> {
        match self {
            Self::MessageSecretChanged { principal } => {
                Some(Affected::MessageSecret(tenant.clone(), principal.clone()))
            }
            Self::Unknown(_) => None,
        }
    }
}

/// One entry of the feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct ChangeEntry {
    /// Feed shard.
    pub shard: u32,
    /// Place in the shard, from 1, without gaps.
    pub sequence: u64,
    /// Whose change.
    pub tenant: TenantId,
    pub at: Time,
    /// When it can no longer matter; [`LEAST_LIFE`] after `at` or later.
    pub until: Time,
    /// What changed, in order.
    pub changes: Vec<Change>,
    /// What changed besides. A node of an earlier release does not know of these, and goes on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<Notice>,
}

impl ChangeEntry {
    fn partition(shard: u32) -> String {
        format!("shard#{shard}")
    }

    fn sort(sequence: u64) -> String {
        format!("{sequence:020}")
    }

    /// Sequence number and tenant of the entry at `key`, for one whose body cannot be read. `None`: not an entry's key.
    /// Its tenant is `None` where that cannot be read either.
    pub fn place(key: &Key) -> Option<(u64, Option<TenantId>)> {
        let (sequence, tenant) = match key.sort.split_once('#') {
            Some((sequence, tenant)) => (sequence, tenant.parse().ok()),
            None => (key.sort.as_str(), None),
        };
        Some((sequence.parse().ok()?, tenant))
    }

    /// The entries of `shard`, the last first.
    pub fn newest_first(shard: u32) -> Query {
        Query::table(Table::Changes, Self::partition(shard)).descending().limit(10)
    }

    /// The entries of `shard` after `sequence`, in order.
    pub fn after(shard: u32, sequence: u64) -> Query {
        let (first, last) = (Self::sort(sequence.saturating_add(1)), Self::sort(u64::MAX));
        Query::table(Table::Changes, Self::partition(shard)).range(SortRange::Between(first, last)).limit(1000)
    }

    /// The entries of `shard` with these numbers, in order.
    pub fn within(shard: u32, numbers: &RangeInclusive<u64>) -> Query {
        // `$` is the character after the `#` that parts a number from its tenant.
        let (first, last) = (Self::sort(*numbers.start()), format!("{}$", Self::sort(*numbers.end())));
        Query::table(Table::Changes, Self::partition(shard)).range(SortRange::Between(first, last)).limit(1000)
    }

    /// The sequence number of the entry at which a page ended.
    pub fn number_at(place: &Cursor) -> Option<u64> {
        place.sort.split('#').next()?.parse().ok()
    }
}

impl Entity for ChangeEntry {
    fn key(&self) -> Key {
        let sort = format!("{}#{}", Self::sort(self.sequence), self.tenant);
        Key::new(Table::Changes, Self::partition(self.shard), &sort)
    }
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
    fn expires_at(&self) -> Option<Time> {
        Some(self.until)
    }
}

/// The last sequence number of a feed shard. Kept apart from the entries, which expire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeHead {
    /// The system tenant.
    pub tenant: TenantId,
    /// Feed shard.
    pub shard: u32,
    /// Sequence number of the last entry.
    pub last: u64,
}

impl ChangeHead {
    /// The feed shard of `tenant`.
    pub fn shard_of(tenant: &TenantId) -> u32 {
        shard_of(tenant.as_str(), FEED_SHARDS)
    }

    /// Key of the head of `shard`.
    pub fn key_of(shard: u32) -> Key {
        Key::new(Table::Changes, format!("head#{shard}"), "head")
    }
}

impl Entity for ChangeHead {
    fn key(&self) -> Key {
        Self::key_of(self.shard)
    }
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
}
