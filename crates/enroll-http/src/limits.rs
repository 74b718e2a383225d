//! How often one source may call. What is refused is counted by the application itself.

use std::{
    net::IpAddr,
    num::NonZeroU32,
    sync::atomic::{AtomicU32, Ordering},
};

use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};
use signet_core::cidr::source_of;

use crate::Problem;

/// A quiet source may do this many seconds' worth at once: fleets behind one address enroll together.
const BURST_SECONDS: NonZeroU32 = NonZeroU32::MIN.saturating_add(9);
/// After so many calls the buckets that are full again are forgotten.
const TIDY_EVERY: u32 = 1024;

/// Token buckets of this process, by source. Those of the Lambda are per instance; API Gateway's throttle and the
/// function's reserved concurrency bound their sum.
pub(crate) struct Limits {
    calls: DefaultKeyedRateLimiter<IpAddr>,
    counted: AtomicU32,
    clock: DefaultClock,
}

impl Limits {
    pub(crate) fn new(per_second: NonZeroU32) -> Self {
        let quota = Quota::per_second(per_second).allow_burst(per_second.saturating_mul(BURST_SECONDS));
        Self { calls: RateLimiter::keyed(quota), counted: AtomicU32::new(0), clock: DefaultClock::default() }
    }

    /// Counts a call of a source; an error if it has used up its share.
    pub(crate) fn call(&self, address: IpAddr) -> Result<(), Problem> {
        if self.counted.fetch_add(1, Ordering::Relaxed).is_multiple_of(TIDY_EVERY) {
            self.calls.retain_recent();
        }
        self.calls.check_key(&source_of(address)).map_err(|until| {
            Problem::too_many("too many calls from this address", until.wait_time_from(self.clock.now()))
        })
    }
}
