//! What one principal has taken, and the places that it took.

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use super::{
    budget::{Budget, Full, NodeLimits, Standing, Taken, Whose},
    failures::FailureCount,
    rates::Rates,
};
use crate::authorization::Lane;

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

/// What a tenant's principals take together.
pub(super) struct TenantShare {
    pub(super) taken: Taken,
    pub(super) rates: Rates,
}

/// What one principal takes, on all its connections.
pub(crate) struct Account {
    node: Arc<Taken>,
    limits: NodeLimits,
    /// `None`: strangers, who are of no tenant.
    tenant: Option<Arc<TenantShare>>,
    own: Taken,
    pub(super) rates: Rates,
    lines: DefaultDirectRateLimiter,
    /// Refused calls without a log line since the last that had one.
    left_out: AtomicU64,
    /// Its refused calls, after it has proved its key.
    pub(crate) failures: FailureCount,
    operator: bool,
}

impl Account {
    pub(super) fn new(
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
            failures: FailureCount::default(),
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

/// A part of a budget, given back when dropped.
pub(crate) struct Place {
    account: Arc<Account>,
    budget: Budget,
    amount: usize,
}

impl Place {
    pub(super) const fn new(account: Arc<Account>, budget: Budget, amount: usize) -> Self {
        Self { account, budget, amount }
    }

    /// Takes room for an answer's bytes beside the call's place.
    pub(crate) fn unread(&self, bytes: usize) -> Result<Self, Full> {
        self.account.take(Budget::Unread, bytes, Lane::Ordinary)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.account.give_back(self.budget, self.amount);
    }
}
