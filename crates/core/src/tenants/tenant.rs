//! Tenants of an environment.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    Lifetime, PrincipalType, TenantId, Time,
    certificates::renewal::Steering,
    store::layout::{Entity, Index, IndexEntry, Key, LISTING_SHARDS, Table, shard_of},
    tenants::{Deletion, FailureLimit, Purge, quota::Quotas},
};

/// Whether a tenant's principals may act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TenantStatus {
    /// They may.
    Active,
    /// All of them are refused, and nothing is issued.
    Suspended,
}

/// Whose key signs a tenant's certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// The tenant's own CA key: the default.
    Dedicated,
    /// The environment's shared CA; isolation then rests on what we sign.
    Shared,
}

/// How the subject of a principal's certificate differs from `O=<tenant>, CN=<principal id>`, for programs that read
/// names rather than the identity in the URI.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubjectForm {
    /// An OU: a fleet, as gateways expect it; 1 to [`MAX_UNIT`] characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organizational_unit: Option<String>,
    /// `CN=<tenant>/<principal id>`, for brokers that take one attribute for the user's name. Not of
    /// [workloads](PrincipalType::is_workload), whose CN stands beside a DNS name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tenant_in_common_name: bool,
}

/// Most characters of an OU (RFC 5280 appendix A.1, ub-organizational-unit-name).
pub const MAX_UNIT: usize = 64;

/// A customer of the environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    /// Unique in the environment.
    pub id: TenantId,
    /// For people, at most 128 characters.
    #[serde(default)]
    pub display_name: String,
    /// Whether its principals may act.
    pub status: TenantStatus,
    /// Whose key signs for it; never changes.
    pub isolation: Isolation,
    /// Lifetimes that differ from [`default_lifetime`], each between [`MIN_LIFETIME`] and [`MAX_LIFETIME`].
    #[serde(default)]
    pub lifetimes: BTreeMap<PrincipalType, Lifetime>,
    /// Subjects that differ from the plain form.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub subjects: BTreeMap<PrincipalType, SubjectForm>,
    /// How many unexpired certificates one principal may hold at once.
    pub max_certificates: u32,
    /// How long after expiry a certificate may be renewed out of band, at most
    /// [`crate::certificates::renewal::MAX_GRACE`].
    #[serde(default)]
    pub renewal_grace: Lifetime,
    /// Where an operator steers renewals to, if anywhere.
    #[serde(default)]
    pub renewal_steering: Option<Steering>,
    /// How much of what it may have, where its operator set something else than the defaults.
    #[serde(default, skip_serializing_if = "Quotas::is_unset")]
    pub quotas: Quotas,
    /// When a principal is suspended by itself, where its operator set something else than the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_limit: Option<FailureLimit>,
    /// That it was deleted, if it was. It is suspended then, also for nodes that do not know of deletions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion: Option<Deletion>,
    /// When it was created.
    pub created_at: Time,
    /// When it last changed.
    pub updated_at: Time,
}

/// Default number of unexpired certificates a principal may hold.
pub const DEFAULT_MAX_CERTIFICATES: u32 = 3;
/// Shortest lifetime a tenant may set: below it, clock skew would eat the certificate.
pub const MIN_LIFETIME: Lifetime = Lifetime::seconds(60);
/// Longest lifetime a tenant may set.
pub const MAX_LIFETIME: Lifetime = Lifetime::days(90);

/// A leaf's lifetime where the tenant sets none.
pub const fn default_lifetime(principal_type: PrincipalType) -> Lifetime {
    match principal_type {
        PrincipalType::Worker | PrincipalType::Service | PrincipalType::Device => Lifetime::hours(24),
        PrincipalType::User | PrincipalType::Admin => Lifetime::hours(12),
    }
}

impl Tenant {
    /// Sort key of the tenant's own record in its partition.
    pub const SORT: &'static str = "tenant";

    /// Key of the tenant `id`.
    pub fn key_of(id: &TenantId) -> Key {
        Key::new(Table::Tenants, id.as_str(), Self::SORT)
    }

    /// The tenant whose record is at `key`, for one that cannot be read.
    pub fn id_in(key: &Key) -> Option<TenantId> {
        (key.sort == Self::SORT).then(|| key.partition.parse().ok()).flatten()
    }

    /// Index partition of listing shard `shard`.
    pub fn listing(shard: u32) -> String {
        format!("tenants#{shard}")
    }

    /// Whether its principals may act: neither suspended nor deleted.
    pub fn is_active(&self) -> bool {
        self.status == TenantStatus::Active && !self.is_deleted()
    }

    /// Whether it was deleted, purged or not.
    pub const fn is_deleted(&self) -> bool {
        self.deletion.is_some()
    }

    /// How far its purge is, if it has begun.
    pub fn purge(&self) -> Option<&Purge> {
        self.deletion.as_ref()?.purge.as_ref()
    }

    /// Whether its purge is over, so that nothing is left but its id.
    pub fn is_purged(&self) -> bool {
        self.purge().is_some_and(|purge| purge.done_at.is_some())
    }

    /// Whether its purge should begin or go on at `now`. The operator's own tenant has none, whatever its record says.
    pub fn is_purge_due(&self, now: Time) -> bool {
        let is_due = |deletion: &Deletion| deletion.purge.is_some() || deletion.purge_at <= now;
        self.deletion.as_ref().is_some_and(is_due) && !self.is_purged() && !self.id.is_system()
    }

    /// What is kept of it for good, once all else was removed.
    #[must_use]
    pub fn tombstone(&self, deletion: Deletion) -> Self {
        Self {
            display_name: String::new(),
            lifetimes: Default::default(),
            subjects: Default::default(),
            renewal_grace: Lifetime::default(),
            renewal_steering: None,
            quotas: Default::default(),
            failure_limit: None,
            deletion: Some(deletion),
            ..self.clone()
        }
    }

    /// The lifetime of this tenant's certificates for `principal_type`.
    pub fn lifetime(&self, principal_type: PrincipalType) -> Lifetime {
        self.lifetimes.get(&principal_type).copied().unwrap_or(default_lifetime(principal_type))
    }
}

impl Entity for Tenant {
    fn key(&self) -> Key {
        Self::key_of(&self.id)
    }
    fn tenant(&self) -> &TenantId {
        &self.id
    }
    fn indexes(&self) -> Vec<IndexEntry> {
        if self.is_purged() {
            // Nobody has anything to do with it any more.
            return Vec::new();
        }
        let shard = shard_of(self.id.as_str(), LISTING_SHARDS);
        vec![IndexEntry::new(Index::Listing, Self::listing(shard), self.id.as_str())]
    }
}
