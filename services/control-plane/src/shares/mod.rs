//! Shares: what one principal and one tenant may take of a node, so that nobody takes it from the others.
//!
//! Each budget (concurrent calls, open streams, bytes that wait to be read) has a limit for all callers. A principal
//! gets an eighth of it, and a tenant as much as it leaves free: half if it is alone, a third each of two, so that
//! there is always something left for the next. Operations that suspend and revoke go an eighth beyond the limits,
//! renewals a few places, and the operator a quarter beyond the node's. Besides, a principal and a tenant have rates.
//!
//! A connection finds its account once; a call then only adds to numbers and waits for nothing.

mod budget;
mod rates;

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use budget::{NodeLimits, Standing, Taken};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use rates::Rates;
use signet_core::{PrincipalId, TenantId};

use crate::{authorization::Lane, config::Limits};

pub(crate) use budget::{Budget, Full, Place, Whose};
/// Bytes of answers that wait to be read, on all connections; those up to [`SMALL_ANSWER`] are not counted.
const UNREAD_BYTES: usize = 128 << 20;
/// Larger answers need room among the unread bytes; the others are covered by their call's place.
pub(crate) const SMALL_ANSWER: usize = 64 << 10;
/// Refusals of known callers that wait at once, on all connections.
const WAITING_REFUSALS: usize = 8192;
/// Refused calls of one principal that get a log line of their own, in a second.
const LINES_PER_SECOND: NonZeroU32 = NonZeroU32::MIN;
/// The same after a quiet time.
const LINES_AT_ONCE: NonZeroU32 = NonZeroU32::MIN.saturating_add(9);

/// A rate that was spent, and by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMany {
    pub(crate) whose: Whose,
    pub(crate) per_second: u32,
}

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

/// What a tenant's principals take together.
struct TenantShare {
    taken: Taken,
    rates: Rates,
}

/// What one principal takes, on all its connections.
pub(crate) struct Account {
    node: Arc<Taken>,
    limits: NodeLimits,
    /// `None`: strangers, who are of no tenant.
    tenant: Option<Arc<TenantShare>>,
    own: Taken,
    rates: Rates,
    lines: DefaultDirectRateLimiter,
    /// Refused calls without a log line since the last that had one.
    left_out: AtomicU64,
    operator: bool,
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

    /// Forgets principals without a connection whose rates are whole again; call it on a timer.
    pub(crate) fn forget_idle(&self) {
        self.tenants().retain(|_, tenant| {
            tenant.accounts.retain(|_, account| Arc::strong_count(account) > 1 || !account.rates.are_whole());
            !tenant.accounts.is_empty() || !tenant.share.rates.are_whole()
        });
    }

    /// A poisoned lock means that another thread panicked between two map operations; the map is whole.
    fn tenants(&self) -> MutexGuard<'_, HashMap<TenantId, Tenant>> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Account {
    fn new(
        node: &Arc<Taken>,
        limits: NodeLimits,
        tenant: Option<Arc<TenantShare>>,
        rate: NonZeroU32,
        operator: bool,
    ) -> Self {
        Self {
            node: Arc::clone(node),
            limits,
            tenant,
            own: Taken::default(),
            rates: Rates::new(rate),
            lines: RateLimiter::direct(Quota::per_second(LINES_PER_SECOND).allow_burst(LINES_AT_ONCE)),
            left_out: AtomicU64::new(0),
            operator,
        }
    }

    /// Counts a call of this weight against the rates. The operator has none.
    pub(crate) fn spend(&self, weight: NonZeroU32, lane: Lane) -> Result<(), TooMany> {
        if self.operator {
            return Ok(());
        }
        let too_many = |whose| move |per_second| TooMany { whose, per_second };
        self.rates.spend(weight, lane).map_err(too_many(Whose::Principal))?;
        let tenant = self.tenant.as_ref().map_or(Ok(()), |tenant| tenant.rates.spend(weight, lane));
        tenant.map_err(too_many(Whose::Tenant))
    }

    /// Takes `amount` of a budget, until the place is dropped.
    pub(crate) fn take(self: &Arc<Self>, budget: Budget, amount: usize, lane: Lane) -> Result<Place, Full> {
        let standing = Standing { operator: self.operator, lane };
        let levels = [
            (Whose::Principal, Some(&self.own)),
            (Whose::Tenant, self.tenant.as_ref().map(|tenant| &tenant.taken)),
            (Whose::Node, Some(&*self.node)),
        ];
        for (taken, (whose, counters)) in levels.iter().enumerate() {
            let Some(counters) = counters else { continue };
            let limit = self.limits.limit(*whose, budget, standing, &self.node);
            if !counters.add(budget, amount, limit) {
                let before = levels.iter().take(taken).filter_map(|(_, counters)| *counters);
                before.for_each(|counters| counters.subtract(budget, amount));
                return Err(Full { whose: *whose, budget, limit });
            }
        }
        Ok(Place::new(Arc::clone(self), budget, amount))
    }

    fn give_back(&self, budget: Budget, amount: usize) {
        self.own.subtract(budget, amount);
        if let Some(tenant) = &self.tenant {
            tenant.taken.subtract(budget, amount);
        }
        self.node.subtract(budget, amount);
    }

    /// Whether a refused call gets a log line, and if so how many before it got none.
    pub(crate) fn line(&self) -> Option<u64> {
        if self.lines.check().is_ok() {
            return Some(self.left_out.swap(0, Ordering::Relaxed));
        }
        self.left_out.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
pub(crate) mod tests;
