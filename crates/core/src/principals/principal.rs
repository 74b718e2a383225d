//! Principals: who or what holds certificates.

use serde::{Deserialize, Serialize};

use crate::{
    CaId, Lifetime, PrincipalId, PrincipalType, Role, RuleId, Serial, TenantId, Time,
    certificates::{Certificate, renewal::MAX_GRACE},
    store::layout::{Entity, Index, IndexEntry, Key, Table},
    tenants::MAX_LIFETIME,
};

/// Whether a principal may act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrincipalStatus {
    /// May act.
    Active,
    /// Refused until activated again.
    Suspended,
    /// Refused for good; the record keeps the id from being taken while certificates may live.
    Deleted,
}

/// One unexpired certificate of a principal; the principal's record lists them so that the limit on their
/// number is checked in the same transaction that issues.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct HeldCertificate {
    /// The CA that signed it.
    pub issuer: CaId,
    pub serial: Serial,
    /// Its end of validity.
    pub not_after: Time,
    /// The first certificate of its instance, see [`crate::certificates::Lineage`]; `None`: this one.
    #[serde(default)]
    pub instance: Option<Serial>,
}

impl HeldCertificate {
    /// The first certificate of its instance.
    pub fn instance(&self) -> Serial {
        self.instance.unwrap_or(self.serial)
    }
}

/// A principal of one tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct Principal {
    pub tenant: TenantId,
    /// Unique in the tenant.
    pub id: PrincipalId,
    /// What it is; never changes.
    pub principal_type: PrincipalType,
    /// Whether it may act.
    pub status: PrincipalStatus,
    /// For people, at most 128 characters.
    #[serde(default)]
    pub display_name: String,
    /// Roles, sorted, no duplicates.
    #[serde(default)]
    pub roles: Vec<Role>,
    /// Groups, sorted, no duplicates; for policies.
    #[serde(default)]
    pub groups: Vec<Role>,
    /// Rises with every change of status, roles or groups.
    pub generation: u64,
    /// Unexpired, unrevoked certificates; those that were renewed are in `superseded`.
    #[serde(default)]
    pub certificates: Vec<HeldCertificate>,
    /// Renewed ones that still authenticate until they expire: their connections need not end. They do not count as
    /// held.
    #[serde(default)]
    pub superseded: Vec<HeldCertificate>,
    /// When it was created: which life of its id this is, see [`Self::is_holder_of`].
    pub created_at: Time,
    /// When it last changed.
    pub updated_at: Time,
    /// How often one of its keys was found in other hands. What it handed out before does not count any more.
    #[serde(default)]
    pub compromises: u32,
    /// The first certificates of the instances that were ended for it: none of their members is renewed any more. The
    /// last 64; most of their members were revoked with them.
    #[serde(default)]
    pub ended_instances: Vec<Serial>,
    /// The enrollment rule that made it, if one did.
    #[serde(default)]
    pub enrolled_by: Option<RuleId>,
    /// For a deleted one: when the id becomes free.
    #[serde(default)]
    pub free_at: Option<Time>,
}

/// Most ended instances that a principal's record names.
const MAX_ENDED: usize = 64;
/// How far the clocks of two nodes may be apart where a record does not name its holder's life. Lives of one id are
/// months apart.
const SKEW: Lifetime = Lifetime::days(1);

impl Principal {
    /// Whether it has certificates that are on its lists.
    pub fn holds_any(&self) -> bool {
        !(self.certificates.is_empty() && self.superseded.is_empty())
    }

    /// Whether `certificate` was made for this life of the id: an id may be taken again after a deletion.
    pub fn is_holder_of(&self, certificate: &Certificate) -> bool {
        let same_life = match certificate.incarnation {
            Some(created_at) => created_at == self.created_at,
            None => certificate.serial.made_at().plus(SKEW) >= self.created_at,
        };
        same_life && certificate.tenant == self.tenant && certificate.principal == self.id
    }

    /// One of its keys is in other hands: that instance ends.
    pub fn end_instance(&mut self, instance: Serial) {
        self.compromises = self.compromises.saturating_add(1);
        if !self.ended_instances.contains(&instance) {
            self.ended_instances.push(instance);
        }
        let too_many = self.ended_instances.len().saturating_sub(MAX_ENDED);
        self.ended_instances.drain(..too_many);
    }

    /// When every certificate that it may hold has expired, whatever its tenant's lifetimes were. Never earlier than an
    /// end of validity on record, also if the clock was set back since.
    pub fn outlived_at(&self, now: Time) -> Time {
        let longest = now.max(self.updated_at).plus(MAX_LIFETIME);
        self.certificates.iter().chain(&self.superseded).map(|held| held.not_after).fold(longest, Time::max)
    }

    /// When nothing of it can be renewed any more either, so that another may take its id.
    pub fn forgotten_at(&self, now: Time) -> Time {
        self.outlived_at(now).plus(MAX_GRACE)
    }

    /// Key of the principal `id` of `tenant`.
    pub fn key_of(tenant: &TenantId, id: &PrincipalId) -> Key {
        Key::new(Table::Principals, format!("{tenant}#{id}"), "principal")
    }

    /// Index partition of listing shard `shard` of `tenant`.
    pub fn listing(tenant: &TenantId, shard: u32) -> String {
        format!("{tenant}#{shard}")
    }

    /// Drops certificates that have expired at `now` from the lists.
    pub fn forget_expired(&mut self, now: Time) {
        self.certificates.retain(|held| held.not_after > now);
        self.superseded.retain(|held| held.not_after > now);
    }

    /// Drops one certificate from the lists. Returns whether it was on one.
    pub fn forget(&mut self, serial: &Serial) -> bool {
        let before = self.certificates.len().saturating_add(self.superseded.len());
        self.certificates.retain(|held| &held.serial != serial);
        self.superseded.retain(|held| &held.serial != serial);
        self.certificates.len().saturating_add(self.superseded.len()) < before
    }
}

impl Entity for Principal {
    fn key(&self) -> Key {
        Self::key_of(&self.tenant, &self.id)
    }
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
    fn principal(&self) -> Option<&PrincipalId> {
        Some(&self.id)
    }
    fn indexes(&self) -> Vec<IndexEntry> {
        let shard = crate::store::layout::shard_of(self.id.as_str(), crate::store::layout::LISTING_SHARDS);
        vec![IndexEntry::new(Index::Listing, Self::listing(&self.tenant, shard), self.id.as_str())]
    }
    fn expires_at(&self) -> Option<Time> {
        self.free_at
    }
}
