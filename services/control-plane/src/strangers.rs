//! What callers without a certificate may use of a node: a share of its places, and so many calls a second from one
//! address, since each may cost a read, a signature and an audit event.

use std::{net::IpAddr, num::NonZeroU32, sync::Arc};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use signet_core::cidr::source_of;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use crate::{config::Limits, errors};

/// Calls at once after a quiet time, in seconds of the rate: fleets behind one address enroll together.
const BURST_SECONDS: NonZeroU32 = NonZeroU32::MIN.saturating_add(9);

/// See the module's words.
pub(crate) struct Strangers {
    places: Arc<Semaphore>,
    rate: DefaultKeyedRateLimiter<IpAddr>,
}

impl Strangers {
    pub(crate) fn new(limits: &Limits) -> Self {
        let rate = NonZeroU32::new(limits.anonymous_calls_per_second_per_address).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(rate).allow_burst(rate.saturating_mul(BURST_SECONDS));
        let places = Arc::new(Semaphore::new((limits.max_concurrent_requests / 4).max(1)));
        Self { places, rate: RateLimiter::keyed(quota) }
    }

    /// A place for a stranger's call.
    pub(crate) fn place(&self, address: IpAddr) -> Result<OwnedSemaphorePermit, Status> {
        if self.rate.check_key(&source_of(address)).is_err() {
            return Err(errors::busy("too many calls without a certificate from this address", "TOO_MANY_CALLS"));
        }
        Arc::clone(&self.places).try_acquire_owned().map_err(|_| errors::node_busy())
    }

    /// Forgets addresses whose buckets are full again; call it on a timer.
    pub(crate) fn forget_idle(&self) {
        self.rate.retain_recent();
        self.rate.shrink_to_fit();
    }
}
