//! Turns at somebody who may be slow. All of them are for everybody; nobody holds so many that others get none.

use std::{
    collections::HashMap,
    hash::Hash,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use signet_core::{TenantId, cidr::source_of, enrollment::attestation::Challenge};

/// Calls at once, all together. More callers than that are asked to come back.
const AT_ONCE: usize = 64;
/// Of one host, where there are several: one that does not answer leaves the others theirs.
const PER_HOST: usize = AT_ONCE / 2;
/// Of one tenant.
const PER_TENANT: usize = AT_ONCE / 2;
/// Of one source address (IPv6: /64): a fleet behind one address enrolls together.
const PER_SOURCE: usize = AT_ONCE / 4;

/// The turns that are taken now.
#[derive(Debug)]
pub(crate) struct Shares {
    per_host: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    hosts: HashMap<String, usize>,
    tenants: HashMap<TenantId, usize>,
    sources: HashMap<IpAddr, usize>,
}

/// One turn; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    shares: &'a Shares,
    host: String,
    tenant: TenantId,
    source: Option<IpAddr>,
}

impl Shares {
    /// For one host, or for several.
    pub(crate) fn new(hosts: usize) -> Self {
        Self { per_host: if hosts == 1 { AT_ONCE } else { PER_HOST }, taken: Mutex::default() }
    }

    /// A turn at `host` for whoever the challenge is about; `None` if their share is taken.
    pub(crate) fn take(&self, host: &str, challenge: &Challenge<'_>) -> Option<Turn<'_>> {
        let (tenant, source) = (challenge.tenant, challenge.caller.map(source_of));
        let mut taken = self.lock();
        let held_by_source = source.map_or(0, |source| count(&taken.sources, &source));
        let fits = taken.all < AT_ONCE
            && count(&taken.hosts, host) < self.per_host
            && count(&taken.tenants, tenant) < PER_TENANT
            && held_by_source < PER_SOURCE;
        if !fits {
            return None;
        }
        taken.all += 1;
        *taken.hosts.entry(host.to_owned()).or_default() += 1;
        *taken.tenants.entry(tenant.clone()).or_default() += 1;
        if let Some(source) = source {
            *taken.sources.entry(source).or_default() += 1;
        }
        Some(Turn { shares: self, host: host.to_owned(), tenant: tenant.clone(), source })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut taken = self.shares.lock();
        taken.all = taken.all.saturating_sub(1);
        give_back(&mut taken.hosts, self.host.as_str());
        give_back(&mut taken.tenants, &self.tenant);
        if let Some(source) = &self.source {
            give_back(&mut taken.sources, source);
        }
    }
}

fn count<K: Eq + Hash + std::borrow::Borrow<Q>, Q: Eq + Hash + ?Sized>(held: &HashMap<K, usize>, name: &Q) -> usize {
    held.get(name).copied().unwrap_or(0)
}

/// Names that hold nothing are forgotten, so that the maps are never larger than what is taken.
fn give_back<K: Eq + Hash + std::borrow::Borrow<Q>, Q: Eq + Hash + ?Sized>(held: &mut HashMap<K, usize>, name: &Q) {
    let left = held.get_mut(name).map(|held| {
        *held = held.saturating_sub(1);
        *held
    });
    if left == Some(0) {
        held.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use signet_core::Time;

    use super::*;

    fn challenge(tenant: &TenantId, last: u8) -> Challenge<'_> {
        let (server_id, key_sha256, now) = ("test.example.com", "", Time::from_unix_seconds(0));
        Challenge { server_id, tenant, key_sha256, sources: &[], caller: Some(IpAddr::from([192, 0, 2, last])), now }
    }

    #[test]
    fn one_source_one_tenant_and_one_host_leave_turns_to_others_and_give_back_theirs() {
        let (acme, globex): (TenantId, TenantId) = ("acme".parse().unwrap(), "globex".parse().unwrap());
        let shares = Shares::new(3);
        let take = |host: &str, tenant, last| shares.take(host, &challenge(tenant, last));
        let mut held: Vec<_> = std::iter::from_fn(|| take("a", &acme, 1)).collect();
        assert_eq!(held.len(), PER_SOURCE);
        held.extend((2..200).filter_map(|last| take("a", &acme, last)));
        assert_eq!(held.len(), PER_TENANT);
        assert!(take("b", &acme, 200).is_none() && take("a", &globex, 200).is_none(), "the tenant's, and the host's");
        held.extend((2..200).filter_map(|last| take("b", &globex, last)));
        assert!(held.len() == AT_ONCE && take("c", &"initech".parse().unwrap(), 201).is_none());
        held.clear();
        let taken = shares.lock();
        assert!(taken.all == 0 && taken.hosts.is_empty() && taken.tenants.is_empty() && taken.sources.is_empty());
    }
}
