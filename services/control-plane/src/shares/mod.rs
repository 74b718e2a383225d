//! Shares: what one principal and one tenant may take of a node, so that nobody takes it from the others.
//!
//! Each budget (concurrent calls, open streams, bytes that wait to be read) has a limit for all callers. A principal
//! gets an eighth of it, and a tenant as much as it leaves free: half if it is alone, a third each of two, so that
//! there is always something left for the next. Operations that suspend and revoke go an eighth beyond the limits,
//! renewals a few places, and the operator a quarter beyond the node's. Besides, a principal and a tenant have rates.
//!
//! A connection finds its account once; a call then only adds to numbers and waits for nothing.

mod account;
mod budget;
mod failures;
mod rates;

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use account::TenantShare;
use budget::{NodeLimits, Taken};
use rates::Rates;
use signet_core::{PrincipalId, TenantId, Uptime};

use crate::config::Limits;

pub(crate) use account::{Account, Place, TooMany};
pub(crate) use budget::{Budget, Full, Whose};

/// Bytes of answers that wait to be read, on all connections; those up to [`SMALL_ANSWER`] are not counted.
const UNREAD_BYTES: usize = 128 << 20;
/// Larger answers need room among the unread bytes; the others are covered by their call's place.
pub(crate) const SMALL_ANSWER: usize = 64 << 10;
/// Refusals of known callers that wait at once, on all connections.
const WAITING_REFUSALS: usize = 8192;

/// Principals of one tenant without a connection whose failures are kept.
const FAILING: usize = 1024;

/// All accounts of a node.
pub(crate) struct Shares {
    node: Arc<Taken>,
    limits: NodeLimits,
    principal_rate: NonZeroU32,
    tenant_rate: NonZeroU32,
    tenants: Mutex<HashMap<TenantId, Tenant>>,
    strangers: Arc<Account>,
}

struct Tenant {
    share: Arc<TenantShare>,
    accounts: HashMap<PrincipalId, Arc<Account>>,
}

impl Shares {
    pub(crate) fn new(limits: &Limits) -> Self {
        let node = Arc::new(Taken::default());
        let rate = |per_second| NonZeroU32::new(per_second).unwrap_or(NonZeroU32::MIN);
        let (principal_rate, tenant_rate) =
            (rate(limits.calls_per_second_per_principal), rate(limits.calls_per_second_per_tenant));
        let limits = NodeLimits {
            calls: limits.max_concurrent_requests,
            streams: limits.max_streams,
            unread: UNREAD_BYTES,
            refusals: WAITING_REFUSALS,
        };
        let strangers = Account::new(&node, limits, None, principal_rate, false);
        Self { node, limits, principal_rate, tenant_rate, tenants: Mutex::default(), strangers: Arc::new(strangers) }
    }

    /// The account of a principal: the same for all its connections. Not for the path of a call.
    pub(crate) fn account(&self, tenant: &TenantId, principal: &PrincipalId) -> Arc<Account> {
        let mut tenants = self.tenants();
        let Tenant { share, accounts } = tenants.entry(tenant.clone()).or_insert_with(|| {
            let share = TenantShare { taken: Taken::default(), rates: Rates::new(self.tenant_rate) };
            Tenant { share: Arc::new(share), accounts: HashMap::new() }
        });
        let account = accounts.entry(principal.clone()).or_insert_with(|| {
            let (share, rate) = (Some(Arc::clone(share)), self.principal_rate);
            Arc::new(Account::new(&self.node, self.limits, share, rate, tenant.is_system()))
        });
        Arc::clone(account)
    }

    /// The one account of all who have no certificate.
    pub(crate) fn strangers(&self) -> &Arc<Account> {
        &self.strangers
    }

    /// Forgets principals without a connection whose rates are whole again and whose failures matter no more; call it
    /// on a timer.
    pub(crate) fn forget_idle(&self, now: Uptime) {
        self.tenants().retain(|_, tenant| {
            let mut failing = 0;
            tenant.accounts.retain(|_, account| {
                let is_used = Arc::strong_count(account) > 1 || !account.rates.are_whole();
                failing += usize::from(!is_used && account.failures.matters(now));
                is_used || (failing <= FAILING && account.failures.matters(now))
            });
            !tenant.accounts.is_empty() || !tenant.share.rates.are_whole()
        });
    }

    /// A poisoned lock means that another thread panicked between two map operations; the map is whole.
    fn tenants(&self) -> MutexGuard<'_, HashMap<TenantId, Tenant>> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
pub(crate) mod tests;
