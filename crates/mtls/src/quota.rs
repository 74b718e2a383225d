//! Who may hold how many of a node's connections: nobody takes them from the others, and the operator always gets in.
//!
//! A tenant may hold as many as it leaves free: half if it is alone, a third each of two, and so on. However many take
//! what they can get, as much as the last of them has is left for the next.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use signet_core::{Identity, PrincipalId, TenantId};

/// A principal may hold this part of the node's connections.
const PRINCIPALS_PART: usize = 8;
/// This one is kept for tenant `system`, whose admins must get in to suspend whoever fills the rest.
const OPERATORS_PART: usize = 16;

/// Whose share is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// One principal's.
    Principal,
    /// One tenant's.
    Tenant,
    /// Everybody's.
    Node,
}

impl Share {
    /// UPPER_SNAKE_CASE, for audit events, metrics and the GOAWAY that the client gets.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Principal => "TOO_MANY_CONNECTIONS_OF_PRINCIPAL",
            Self::Tenant => "TOO_MANY_CONNECTIONS_OF_TENANT",
            Self::Node => "TOO_MANY_CONNECTIONS",
        }
    }
}

/// See the module's words. Asked once per connection.
#[derive(Debug)]
pub(crate) struct Quota {
    all: usize,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    tenants: HashMap<TenantId, OfTenant>,
}

#[derive(Debug, Default)]
struct OfTenant {
    all: usize,
    principals: HashMap<PrincipalId, usize>,
}

/// A connection that counts until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted {
    quota: Arc<Quota>,
    identity: Option<Arc<Identity>>,
}

impl Quota {
    /// For `max_connections` altogether.
    pub(crate) fn new(max_connections: usize) -> Arc<Self> {
        Arc::new(Self { all: max_connections, counts: Mutex::default() })
    }

    /// Counts one more connection of `identity`, or of a stranger.
    pub(crate) fn count(self: &Arc<Self>, identity: Option<&Arc<Identity>>) -> Result<Counted, Share> {
        let mut counts = self.counts();
        let of_system = identity.is_some_and(|identity| identity.tenant.is_system());
        let open_to_it = if of_system { self.all } else { self.all.saturating_sub(self.all / OPERATORS_PART) };
        if counts.all >= open_to_it {
            return Err(Share::Node);
        }
        if let Some(identity) = identity {
            let free = open_to_it.saturating_sub(counts.all);
            let of_tenant = if of_system { usize::MAX } else { free };
            counts.add(identity, (self.all / PRINCIPALS_PART).max(1), of_tenant)?;
        }
        counts.all = counts.all.saturating_add(1);
        Ok(Counted { quota: Arc::clone(self), identity: identity.cloned() })
    }

    /// A poisoned lock means that another thread panicked between two additions; the worst is a lost place.
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn add(&mut self, identity: &Identity, of_principal: usize, of_tenant: usize) -> Result<(), Share> {
        let tenant = self.tenants.entry(identity.tenant.clone()).or_default();
        let held = tenant.principals.get(&identity.principal).copied().unwrap_or(0);
        if held >= of_principal {
            return Err(Share::Principal);
        }
        if tenant.all >= of_tenant {
            return Err(Share::Tenant);
        }
        tenant.principals.insert(identity.principal.clone(), held.saturating_add(1));
        tenant.all = tenant.all.saturating_add(1);
        Ok(())
    }

    fn subtract(&mut self, identity: &Identity) {
        let Some(tenant) = self.tenants.get_mut(&identity.tenant) else { return };
        tenant.all = tenant.all.saturating_sub(1);
        if let Some(held) = tenant.principals.get_mut(&identity.principal) {
            *held = held.saturating_sub(1);
            if *held == 0 {
                tenant.principals.remove(&identity.principal);
            }
        }
        if tenant.all == 0 {
            self.tenants.remove(&identity.tenant);
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.quota.counts();
        counts.all = counts.all.saturating_sub(1);
        if let Some(identity) = &self.identity {
            counts.subtract(identity);
        }
    }
}

#[cfg(test)]
mod tests {
    use signet_core::{PrincipalType, Serial, Time};

    use super::*;

    fn identity(tenant: &str, principal: &str) -> Arc<Identity> {
        Arc::new(Identity {
            tenant: tenant.parse().unwrap(),
            principal_type: PrincipalType::Worker,
            principal: principal.parse().unwrap(),
            roles: [].into(),
            serial: Serial::new(Time::from_unix_seconds(1), [0; 10]),
            issuer: "acme.1".parse().unwrap(),
            not_before: Time::from_unix_seconds(1),
            not_after: Time::from_unix_seconds(2),
            spki_sha256: [0; 32],
            certificate_sha256: [0; 32],
        })
    }

    /// Opens as many as it gets; and why not more.
    fn fill(quota: &Arc<Quota>, identity: Option<&Arc<Identity>>) -> (Vec<Counted>, Share) {
        let mut open = Vec::new();
        loop {
            match quota.count(identity) {
                Ok(counted) => open.push(counted),
                Err(share) => return (open, share),
            }
        }
    }

    #[test]
    fn neither_a_principal_nor_a_tenant_nor_all_of_them_take_the_rest() {
        let quota = Quota::new(160);
        let mut open = Vec::new();
        for (principal, gets, why) in [
            ("w-1", 20, Share::Principal),
            ("w-2", 20, Share::Principal),
            ("w-3", 20, Share::Principal),
            ("w-4", 15, Share::Tenant),
        ] {
            let (of_one, share) = fill(&quota, Some(&identity("acme", principal)));
            assert_eq!((of_one.len(), share), (gets, why), "{principal}");
            open.extend(of_one);
        }
        let (strangers, share) = fill(&quota, None);
        assert_eq!((strangers.len(), share), (75, Share::Node));
        assert_eq!(quota.count(Some(&identity("globex", "w-1"))).unwrap_err(), Share::Node);
        let (operators, share) = fill(&quota, Some(&identity("system", "root")));
        assert_eq!((operators.len(), share), (10, Share::Node));
        drop((open, strangers, operators));
        assert!(quota.counts().all == 0 && quota.counts().tenants.is_empty());
    }

    #[test]
    fn tenants_that_take_all_they_can_get_leave_as_much_to_the_next() {
        let quota = Quota::new(160);
        let mut open = Vec::new();
        let mut got = Vec::new();
        for tenant in ["acme", "globex", "initech", "hooli"] {
            let before = open.len();
            for principal in 0..20 {
                open.extend(fill(&quota, Some(&identity(tenant, &format!("w-{principal}")))).0);
            }
            got.push(open.len() - before);
        }
        assert_eq!(got, [75, 38, 19, 9]);
        // Who has more than is left waits for the others; a newcomer does not.
        assert_eq!(quota.count(Some(&identity("acme", "new"))).unwrap_err(), Share::Tenant);
        assert!(quota.count(Some(&identity("umbrella", "w-1"))).is_ok());
    }

    #[test]
    fn a_small_node_takes_everybody_once() {
        let quota = Quota::new(2);
        let one = quota.count(Some(&identity("acme", "w-1"))).unwrap();
        assert_eq!(quota.count(Some(&identity("acme", "w-1"))).unwrap_err(), Share::Principal);
        assert!(quota.count(Some(&identity("globex", "w-1"))).is_ok());
        drop(one);
        assert!(quota.count(Some(&identity("acme", "w-1"))).is_ok());
    }
}
