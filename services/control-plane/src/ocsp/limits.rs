//! How many certificates strangers have looked up. A CA may have half of it and a source a quarter: neither
//! takes all.

use std::{net::IpAddr, num::NonZeroU32, time::Duration};

use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};
use signet_core::{CaId, cidr::source_of};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

/// Look-ups a second, and as many at once after a quiet time as in ten seconds: a server's clients come back together.
const PER_SECOND: NonZeroU32 = NonZeroU32::MIN.saturating_add(399);
const OF_CA: NonZeroU32 = NonZeroU32::MIN.saturating_add(199);
const OF_SOURCE: NonZeroU32 = NonZeroU32::MIN.saturating_add(99);
const BURST_SECONDS: NonZeroU32 = NonZeroU32::MIN.saturating_add(9);
/// Reads of the store at once.
const AT_ONCE: usize = 16;
/// How long one waits for its turn.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// See the module's words.
pub(super) struct Limits {
    all: DefaultDirectRateLimiter,
    of_source: DefaultKeyedRateLimiter<IpAddr>,
    of_ca: DefaultKeyedRateLimiter<CaId>,
    turns: Semaphore,
}

/// More were asked for than are looked up.
#[derive(Debug)]
pub(super) struct TooMany;

impl Limits {
    pub(super) fn new() -> Self {
        let quota = |rate: NonZeroU32| Quota::per_second(rate).allow_burst(rate.saturating_mul(BURST_SECONDS));
        Self {
            all: RateLimiter::direct(quota(PER_SECOND)),
            of_source: RateLimiter::keyed(quota(OF_SOURCE)),
            of_ca: RateLimiter::keyed(quota(OF_CA)),
            turns: Semaphore::new(AT_ONCE),
        }
    }

    /// Counts a look-up. What a share has no room for does not count for all.
    pub(super) fn admit(&self, ca: &CaId, source: IpAddr) -> Result<(), TooMany> {
        let admitted = self.of_source.check_key(&source_of(source)).is_ok()
            && self.of_ca.check_key(ca).is_ok()
            && self.all.check().is_ok();
        if admitted { Ok(()) } else { Err(TooMany) }
    }

    /// Held during a read.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        timeout(LONGEST_WAIT, self.turns.acquire()).await.ok()?.ok()
    }

    pub(super) fn forget_idle(&self) {
        self.of_source.retain_recent();
        self.of_source.shrink_to_fit();
        self.of_ca.retain_recent();
        self.of_ca.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_a_source_nor_a_ca_takes_all_look_ups() {
        let limits = Limits::new();
        let (one, other): (CaId, CaId) = ("acme.1".parse().unwrap(), "globex.1".parse().unwrap());
        let share = OF_SOURCE.get() * BURST_SECONDS.get();
        // As many again would take ten seconds to come back.
        let taken = |ca: &CaId, last: u8| {
            let source = IpAddr::from([192, 0, 2, last]);
            (0..2 * share).filter(|_| limits.admit(ca, source).is_ok()).count() * 2 / share as usize
        };
        assert_eq!(taken(&one, 1), 2, "a source has its share");
        assert_eq!(taken(&other, 1), 0, "and no more, of whichever CA");
        assert_eq!(taken(&one, 2), 2, "another source has its own");
        assert_eq!(taken(&one, 3), 0, "the CA has had its share");
        assert_eq!(taken(&other, 4), 2, "another CA has its own");
    }
}
