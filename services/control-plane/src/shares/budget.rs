//! Budgets, the counters of those who take from them, and the places that they took.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use super::Account;
use crate::authorization::Lane;

/// What a holder has beyond its share so that it can keep its certificate while calls of its own hang.
const RENEWALS: usize = 16;
/// The least share of a principal, and on a small node of a tenant: the heaviest single call must fit.
const LEAST: usize = 16;

/// What there is a limited amount of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Budget {
    /// Places of concurrent calls, from their head to the end of their answer.
    Calls,
    /// Places of open streams.
    Streams,
    /// Bytes of answers that wait to be read.
    Unread,
    /// Refusals that wait before they are sent.
    Refusals,
}

/// Whose limit it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    Principal,
    Tenant,
    Node,
}

/// How far into a budget a caller may go: ordinarily to the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// A quarter beyond it: the system tenant.
    pub(super) operator: bool,
    /// Operations that suspend and revoke go an eighth beyond it, renewals a few places.
    pub(super) lane: Lane,
}

/// A budget that had no more for this caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full {
    pub(crate) whose: Whose,
    pub(crate) budget: Budget,
    pub(crate) limit: usize,
}

/// Something for each budget.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Each<T> {
    pub(super) calls: T,
    pub(super) streams: T,
    pub(super) unread: T,
    pub(super) refusals: T,
}

/// The node's limits.
pub(super) type NodeLimits = Each<usize>;
/// What somebody has taken.
pub(super) type Taken = Each<AtomicUsize>;

impl<T> Each<T> {
    const fn of(&self, budget: Budget) -> &T {
        match budget {
            Budget::Calls => &self.calls,
            Budget::Streams => &self.streams,
            Budget::Unread => &self.unread,
            Budget::Refusals => &self.refusals,
        }
    }
}

impl NodeLimits {
    /// The limit of one of the three who count, where all together have `taken`. What is urgent goes further at each of
    /// them: it also finds room where its principal or tenant has used up its share.
    pub(super) fn limit(&self, whose: Whose, budget: Budget, standing: Standing, taken: &Taken) -> usize {
        let node = *self.of(budget);
        let beyond = match standing.lane {
            Lane::Urgent => node / 8,
            Lane::Renewal => RENEWALS,
            Lane::Ordinary => 0,
        };
        match whose {
            Whose::Principal => (node / 8).max(LEAST).saturating_add(beyond),
            // All that is the operator's is the node's.
            _ if standing.operator => node.saturating_add((node / 4).max(LEAST)).saturating_add(beyond),
            Whose::Tenant if standing.lane == Lane::Urgent => (node / 2).max(LEAST).saturating_add(beyond),
            Whose::Tenant => {
                let free = node.saturating_sub(taken.of(budget).load(Ordering::Acquire));
                let least = if node / 8 < LEAST { LEAST } else { 0 };
                // Where nothing is free it is the node that has no more, and says so.
                if free == 0 { usize::MAX } else { free.max(least).saturating_add(beyond) }
            }
            Whose::Node => node.saturating_add(beyond),
        }
    }
}

impl Taken {
    /// Adds unless the sum would be above `limit`.
    pub(super) fn add(&self, budget: Budget, amount: usize, limit: usize) -> bool {
        let fits = |taken: usize| taken.checked_add(amount).filter(|sum| *sum <= limit);
        self.of(budget).fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).is_ok()
    }

    pub(super) fn subtract(&self, budget: Budget, amount: usize) {
        self.of(budget).fetch_sub(amount, Ordering::AcqRel);
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
