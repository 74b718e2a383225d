//! How many calls a second somebody may make: what keeps a certificate alive, and what takes one away, does not wait
//! for the others.

use std::num::NonZeroU32;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter, middleware::StateInformationMiddleware};

use crate::authorization::Lane;

/// Calls at once after a quiet time, in seconds of the rate.
const BURST_SECONDS: NonZeroU32 = NonZeroU32::MIN.saturating_add(9);
/// The least burst: the heaviest single call must fit.
const LEAST_BURST: NonZeroU32 = NonZeroU32::MIN.saturating_add(15);
/// Renewals have this part of the rate for themselves; beyond it they go with all others.
const RENEWALS_PART: u32 = 10;
/// Suspending and revoking may go so many times as fast: ten thousand certificates may have to go at once.
const URGENT_TIMES: NonZeroU32 = NonZeroU32::MIN.saturating_add(9);

/// A principal's rates, or a tenant's.
pub(super) struct Rates {
    ordinary: Bucket,
    renewals: Bucket,
    urgent: Bucket,
}

struct Bucket {
    tokens: DefaultDirectRateLimiter<StateInformationMiddleware>,
    per_second: NonZeroU32,
    burst: NonZeroU32,
}

impl Rates {
    pub(super) fn new(per_second: NonZeroU32) -> Self {
        let renewals = NonZeroU32::new(per_second.get() / RENEWALS_PART).unwrap_or(NonZeroU32::MIN);
        Self {
            ordinary: Bucket::new(per_second),
            renewals: Bucket::new(renewals),
            urgent: Bucket::new(per_second.saturating_mul(URGENT_TIMES)),
        }
    }

    /// Counts a call of this weight, or says how many a second there may be.
    pub(super) fn spend(&self, weight: NonZeroU32, lane: Lane) -> Result<(), u32> {
        let bucket = match lane {
            Lane::Renewal if self.renewals.spend(weight) => return Ok(()),
            Lane::Renewal | Lane::Ordinary => &self.ordinary,
            Lane::Urgent => &self.urgent,
        };
        if bucket.spend(weight) { Ok(()) } else { Err(bucket.per_second.get()) }
    }

    /// Whether nothing is missing. To ask takes one of each.
    pub(super) fn are_whole(&self) -> bool {
        [&self.ordinary, &self.renewals, &self.urgent].iter().all(|bucket| bucket.is_whole())
    }
}

impl Bucket {
    fn new(per_second: NonZeroU32) -> Self {
        let burst = per_second.saturating_mul(BURST_SECONDS).max(LEAST_BURST);
        let tokens = RateLimiter::direct(Quota::per_second(per_second).allow_burst(burst)).with_middleware();
        Self { tokens, per_second, burst }
    }

    fn is_whole(&self) -> bool {
        self.tokens.check().is_ok_and(|left| left.remaining_burst_capacity() >= self.burst.get().saturating_sub(1))
    }

    fn spend(&self, weight: NonZeroU32) -> bool {
        matches!(self.tokens.check_n(weight), Ok(Ok(_)))
    }
}
