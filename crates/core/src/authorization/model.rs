//! What an environment and its tenants add to the built-in permissions, for their own services: permissions, roles,
//! groups, grants and policies, versioned as one.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    Lifetime, PrincipalType, Role, TenantId, Time,
    store::layout::{Entity, Key, Query, SortRange, Table},
};

/// Most permissions, roles, groups or grants of a model.
pub const MAX_ENTRIES: usize = 200;
/// Most permissions of one grant.
pub const MAX_GRANTED: usize = 100;
/// How long earlier versions are kept, for [a way back](AuthorizationVersion).
const KEPT: Lifetime = Lifetime::days(400);
/// The roles that the built-in permissions know; no tenant describes them anew.
pub const BUILT_IN_ROLES: [&str; 2] = ["operator", "viewer"];

/// Those of Signet's permissions that a tenant may grant: what reads, and what refuses or hurries. All others make an
/// admin of whoever has them, or hand on rights (a join token is one).
pub const GRANTABLE: &[&str] = &[
    "audit.read",
    "authorization.check",
    "authorization.get",
    "cas.list",
    "certificates.get",
    "certificates.list",
    "certificates.revoke",
    "message_secrets.fetch",
    "message_secrets.get",
    "message_secrets.list",
    "principals.get",
    "principals.list",
    "principals.suspend",
    "renewals.steer",
    "rules.list",
    "rules.test",
    "tenants.get",
    "tokens.list",
    "tokens.revoke",
    "trust.read",
];

/// The types whose calls need one of [`GRANTABLE`], as the RPCs say: it is of no use to others. None for what is not
/// granted.
pub fn grantable_to(permission: &str) -> &'static [PrincipalType] {
    use PrincipalType::{Admin, Device, Service, User};
    match permission {
        "authorization.check" | "certificates.get" | "certificates.list" | "principals.get" | "trust.read" => {
            &PrincipalType::ALL
        }
        "principals.list" => &[Admin, User, Service],
        "message_secrets.fetch" => &[Service],
        "message_secrets.get" => &[Admin, User, Device],
        other if GRANTABLE.contains(&other) => &[Admin, User],
        _ => &[],
    }
}

/// Whom a grant is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grantee {
    /// All principals of a type.
    Type(PrincipalType),
    /// Whoever has a role.
    Role(Role),
    /// Whoever is in a group.
    Group(Role),
}

/// Permissions for somebody, for good or for a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// For whom.
    pub to: Grantee,
    /// Which, at least one; Signet's own or the model's.
    pub permissions: BTreeSet<String>,
    /// From when on it holds no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Time>,
}

impl Grant {
    /// Whether it holds at `now`.
    pub fn holds(&self, now: Time) -> bool {
        self.not_after.is_none_or(|end| now < end)
    }

    /// Whether it is for a principal of this type, roles and groups.
    pub fn is_for(&self, principal_type: PrincipalType, roles: &[Role], groups: &[Role]) -> bool {
        match &self.to {
            Grantee::Type(of) => *of == principal_type,
            Grantee::Role(role) => roles.contains(role),
            Grantee::Group(group) => groups.contains(group),
        }
    }
}

/// What a tenant says. The environment's holds in all tenants; its `policies` are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// Permissions of the tenant's services, by name (`WHAT:VERB`), each with a line for people.
    #[serde(default)]
    pub permissions: BTreeMap<String, String>,
    /// Roles beside [`BUILT_IN_ROLES`], each with a line for people.
    #[serde(default)]
    pub roles: BTreeMap<Role, String>,
    /// Groups, each with a line for people.
    #[serde(default)]
    pub groups: BTreeMap<Role, String>,
    /// Who may do what.
    #[serde(default)]
    pub grants: Vec<Grant>,
    /// Cedar.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub policies: String,
}

impl Rules {
    /// Whether they say nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Whether a solver showed that a version keeps the invariants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proved {
    /// There are no policies: nothing but grants, which are checked when they are set.
    #[default]
    NotNeeded,
    /// It did.
    Proved,
    /// There was no solver.
    NotProved,
    /// It showed that they do not, and an admin insisted.
    Refuted,
}

/// A tenant's rules in one of their versions: the one that holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorizationModel {
    /// Whose.
    pub tenant: TenantId,
    /// From 1; every change raises it by one.
    pub version: u32,
    /// What they say.
    pub rules: Rules,
    /// Why it was changed; for people.
    #[serde(default)]
    pub note: String,
    /// What a solver said.
    #[serde(default)]
    pub proved: Proved,
    /// Who set it.
    pub set_by: String,
    /// When.
    pub set_at: Time,
}

impl AuthorizationModel {
    /// Sort key in the tenant's partition.
    const SORT: &'static str = "authorization";

    /// Key of the tenant's model.
    pub fn key_of(tenant: &TenantId) -> Key {
        Key::new(Table::Tenants, tenant.as_str(), Self::SORT)
    }

    /// The tenant's model, readable or not.
    pub fn of(tenant: &TenantId) -> Query {
        Query::table(Table::Tenants, tenant.as_str()).range(SortRange::Prefix(Self::SORT.to_owned()))
    }

    /// The tenant whose model is at `key`, for one that cannot be read.
    pub fn tenant_in(key: &Key) -> Option<TenantId> {
        (key.sort == Self::SORT).then(|| key.partition.parse().ok()).flatten()
    }
}

impl Entity for AuthorizationModel {
    fn key(&self) -> Key {
        Self::key_of(&self.tenant)
    }
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
}

/// A version as it was set; not where nodes read all tenants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AuthorizationVersion(pub AuthorizationModel);

impl AuthorizationVersion {
    /// All versions of a tenant, the oldest first.
    pub fn all_of(tenant: &TenantId) -> Query {
        Query::table(Table::Principals, Self::partition(tenant))
    }

    /// Those after a version, the oldest first.
    pub fn after(tenant: &TenantId, version: u32) -> Query {
        let sort = |version: u32| format!("{version:010}");
        Self::all_of(tenant).range(SortRange::Between(sort(version.saturating_add(1)), sort(u32::MAX)))
    }

    fn partition(tenant: &TenantId) -> String {
        format!("{tenant}#authorization#versions")
    }

    /// Key of one.
    pub fn key_of(tenant: &TenantId, version: u32) -> Key {
        Key::new(Table::Principals, Self::partition(tenant), &format!("{version:010}"))
    }
}

impl Entity for AuthorizationVersion {
    fn key(&self) -> Key {
        Self::key_of(&self.0.tenant, self.0.version)
    }
    fn tenant(&self) -> &TenantId {
        &self.0.tenant
    }
    fn expires_at(&self) -> Option<Time> {
        Some(self.0.set_at.plus(KEPT))
    }
}
