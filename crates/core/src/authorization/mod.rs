//! Authorization by principal type. Pure tables: built once, looked up per call without allocation. `model` has what
//! tenants add.

mod checks;
pub(crate) mod denial;
pub mod model;
mod permissions;

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    Identity, PrincipalId, PrincipalType, Role, TenantId,
    store::scope::{EnvironmentScope, TenantScope},
};

pub use denial::Denial;
pub use permissions::PERMISSIONS;
use permissions::TENANT_ADMINISTRATION;

/// How far a permission reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// The caller's own record only.
    Itself,
    /// The caller's tenant.
    OwnTenant,
    /// Every tenant, and the tenants themselves.
    AnyTenant,
}

const SELF_SERVICE: &[&str] = &[
    "certificates.renew",
    "certificates.get",
    "certificates.list",
    "principals.get",
    "identity.read",
    "authorization.check",
    "access_tokens.create",
    "svids.create",
    "message_secrets.get",
    "message_secrets.rotate",
    "broker_tokens.create",
];
const READ: &[&str] = &[
    "tenants.get",
    "principals.get",
    "principals.list",
    "certificates.get",
    "certificates.list",
    "tokens.list",
    "rules.list",
    "rules.test",
    "trust.read",
    "cas.list",
    "audit.read",
    "authorization.get",
    "authorization.check",
    "access_tokens.introspect",
    "token_keys.get",
    "message_secrets.get",
    "message_secrets.list",
];
const OPERATE: &[&str] = &[
    "principals.suspend",
    "principals.activate",
    "renewals.steer",
    "certificates.revoke",
    "tokens.create",
    "tokens.revoke",
    "message_secrets.rotate",
    "message_secrets.delete",
];
const SERVE: &[&str] = &[
    "principals.get",
    "principals.list",
    "authorization.check",
    "access_tokens.exchange",
    "access_tokens.introspect",
    "security_events.poll",
    "messages.verify",
];
/// A permission's number in a [`Policy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PermissionId(u16);

/// Which principal type and role may do what.
#[derive(Clone, Debug)]
pub struct Policy {
    names: BTreeMap<&'static str, PermissionId>,
}

impl Default for Policy {
    fn default() -> Self {
        Self::new()
    }
}

/// What one caller may do: an array over all permissions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grants(Box<[Option<Reach>]>);

impl Grants {
    /// How far the caller's right to `permission` reaches; `None`: it has no such right.
    pub fn reach(&self, permission: PermissionId) -> Option<Reach> {
        self.0.get(usize::from(permission.0)).copied().flatten()
    }
}

impl Policy {
    /// The built-in policy.
    pub fn new() -> Self {
        let numbers = (0..).map(PermissionId);
        Self { names: PERMISSIONS.iter().copied().zip(numbers).collect() }
    }

    /// The number of the permission called `name`.
    pub fn permission(&self, name: &str) -> Option<PermissionId> {
        self.names.get(name).copied()
    }

    /// All permissions by name.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.names.keys().copied()
    }

    /// What a principal of this tenant, type and roles may do. As one page: `tests/it/permissions.golden`.
    pub fn grants(&self, tenant: &TenantId, principal_type: PrincipalType, roles: &[Role]) -> Grants {
        let mut table = vec![None; self.names.len()];
        let mut give = |names: &[&str], reach: Reach| {
            for id in names.iter().filter_map(|name| self.permission(name)) {
                if let Some(cell) = table.get_mut(usize::from(id.0)) {
                    *cell = (*cell).max(Some(reach));
                }
            }
        };
        give(SELF_SERVICE, Reach::Itself);
        give(&["trust.read"], Reach::OwnTenant);
        match principal_type {
            PrincipalType::Admin if tenant.is_system() => give(PERMISSIONS, Reach::AnyTenant),
            PrincipalType::Admin => {
                let own: Vec<&str> =
                    PERMISSIONS.iter().copied().filter(|p| !TENANT_ADMINISTRATION.contains(p)).collect();
                give(&own, Reach::OwnTenant);
            }
            PrincipalType::User => {
                let has = |name: &str| roles.iter().any(|role| role.as_str() == name);
                if has("operator") || has("viewer") {
                    give(READ, Reach::OwnTenant);
                }
                if has("operator") {
                    give(OPERATE, Reach::OwnTenant);
                }
            }
            PrincipalType::Service => {
                give(SERVE, Reach::OwnTenant);
            }
            PrincipalType::Worker | PrincipalType::Device => {}
        }
        Grants(table.into())
    }

    /// Adds what a model grants, in the caller's own tenant.
    pub fn add<'a>(&self, grants: &mut Grants, granted: impl IntoIterator<Item = &'a str>) {
        for id in granted.into_iter().filter_map(|name| self.permission(name)) {
            if let Some(cell) = grants.0.get_mut(usize::from(id.0)) {
                *cell = (*cell).max(Some(Reach::OwnTenant));
            }
        }
    }
}

/// Who may call at all, before any permission is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallerTypes(u8);

impl CallerTypes {
    const ANONYMOUS: u8 = 1 << 7;

    /// Adds a type.
    #[must_use]
    pub const fn with(self, principal_type: PrincipalType) -> Self {
        Self(self.0 | (1 << principal_type as u8))
    }

    /// Adds callers without a certificate.
    #[must_use]
    pub const fn with_anonymous(self) -> Self {
        Self(self.0 | Self::ANONYMOUS)
    }

    /// Whether the type may call.
    pub const fn admits(self, principal_type: PrincipalType) -> bool {
        self.0 & (1 << principal_type as u8) != 0
    }

    /// Whether a caller without a certificate may call.
    pub const fn admits_anonymous(self) -> bool {
        self.0 & Self::ANONYMOUS != 0
    }

    /// Whether nobody may call.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// One RPC's rule, as its .proto declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The operation: the RPC's name.
    pub operation: Arc<str>,
    /// What it needs.
    pub permission: PermissionId,
    /// Who may call.
    pub callers: CallerTypes,
}

/// A call that passed the table: identity, and how far its right reaches.
#[derive(Clone, Debug)]
pub struct Permit {
    identity: Arc<Identity>,
    reach: Reach,
}

/// First step, per call: may this caller use the operation at all? Array look-ups only.
pub fn permit(identity: &Arc<Identity>, grants: &Grants, rule: &Rule) -> Result<Permit, Denial> {
    if !rule.callers.admits(identity.principal_type) {
        return Err(Denial::CallerType);
    }
    let reach = grants.reach(rule.permission).ok_or(Denial::Permission)?;
    Ok(Permit { identity: Arc::clone(identity), reach })
}

impl Permit {
    /// The caller.
    pub fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// How far it reaches.
    pub fn reach(&self) -> Reach {
        self.reach
    }

    /// Second step: the right to act in `tenant`, on `principal` if the resource is one's.
    pub fn tenant(&self, tenant: &TenantId, principal: Option<&PrincipalId>) -> Result<TenantScope, Denial> {
        if self.reach != Reach::AnyTenant && tenant != &self.identity.tenant {
            return Err(Denial::ForeignTenant);
        }
        if self.reach != Reach::Itself {
            return Ok(TenantScope::granted(tenant.clone(), None));
        }
        let own = &self.identity.principal;
        match principal {
            Some(other) if other != own => Err(Denial::NotItself),
            _ => Ok(TenantScope::granted(tenant.clone(), Some(own.clone()))),
        }
    }

    /// Second step of a question about a tenant's principals, which even who reaches itself only may ask about those
    /// whom it meets: the caller of this sees to it that it is one of them.
    pub fn to_check(&self, tenant: &TenantId) -> Result<TenantScope, Denial> {
        self.tenant(tenant, None).map(|_| TenantScope::granted(tenant.clone(), None))
    }

    /// Second step for operations on tenants themselves.
    pub fn environment(&self) -> Result<EnvironmentScope, Denial> {
        if self.reach == Reach::AnyTenant { Ok(EnvironmentScope::granted()) } else { Err(Denial::Permission) }
    }

    /// Whether the caller may hand out or take away the rights of a principal of this type and roles: nobody below
    /// admin touches admins, or principals with roles, or grants either.
    pub fn may_manage(&self, principal_type: PrincipalType, roles: &[Role]) -> Result<(), Denial> {
        let plain = principal_type != PrincipalType::Admin && roles.is_empty();
        if plain || self.identity.principal_type == PrincipalType::Admin { Ok(()) } else { Err(Denial::Permission) }
    }
}
