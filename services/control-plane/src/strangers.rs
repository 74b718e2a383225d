//! What callers without a certificate may use of a node: a share of its places, and so many calls a second from one
//! address, since each may cost a read, a signature and an audit event.
//!
//! A source that has its share waits for its own calls. When all places are taken, the network that has the most of
//! them loses its oldest call: nobody keeps strangers out by owning many addresses and reading no answer.

use std::{net::IpAddr, num::NonZeroU32, sync::Arc};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use signet_core::cidr::source_of;
use signet_mtls::{Budget, Crowd, Place};
use tonic::Status;

use crate::{config::Limits, errors};

/// Calls at once after a quiet time, in seconds of the rate: fleets behind one address enroll together.
const BURST_SECONDS: NonZeroU32 = NonZeroU32::MIN.saturating_add(9);

/// One source may have this part of the places.
const SOURCES_PART: usize = 8;

/// See the module's words.
pub(crate) struct AnonymousLimits {
    places: Arc<Budget>,
    rate: DefaultKeyedRateLimiter<IpAddr>,
}

impl AnonymousLimits {
    pub(crate) fn new(limits: &Limits) -> Self {
        let rate = NonZeroU32::new(limits.anonymous_calls_per_second_per_address).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(rate).allow_burst(rate.saturating_mul(BURST_SECONDS));
        let most = limits.max_concurrent_requests / 4;
        Self { places: Budget::new(most, most / SOURCES_PART), rate: RateLimiter::keyed(quota) }
    }

    /// A place for a stranger's call, until it is dropped or evicted.
    pub(crate) fn place(&self, address: IpAddr) -> Result<Place, Status> {
        if self.rate.check_key(&source_of(address)).is_err() {
            return Err(errors::busy("too many calls without a certificate from this address", "TOO_MANY_CALLS"));
        }
        self.places.try_take(address).map_err(|crowd| match crowd {
            Crowd::Source => {
                let what = "too many concurrent calls without a certificate from this address; wait for them";
                errors::busy(what, "TOO_MANY_CALLS")
            }
            Crowd::All => errors::strangers_full(),
        })
    }

    /// Forgets addresses whose buckets are full again; call it on a timer.
    pub(crate) fn forget_idle(&self) {
        self.rate.retain_recent();
        self.rate.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn strangers() -> AnonymousLimits {
        let sample = include_str!("../signet.sample.toml");
        AnonymousLimits::new(&crate::Config::from_toml(sample, std::path::Path::new("/")).unwrap().limits)
    }

    fn is_evicted(place: &Place) -> bool {
        place.evicted().now_or_never().is_some()
    }

    #[test]
    fn a_few_addresses_leave_places_for_the_others() {
        let strangers = strangers();
        let address = |last: u8| IpAddr::from([192, 0, 2, last]);
        let mut held = Vec::new();
        for greedy in 1..=3 {
            held.extend((0..100).filter_map(|_| strangers.place(address(greedy)).ok()));
        }
        assert_eq!(held.len(), 3 * 32);
        assert!(strangers.place(address(4)).is_ok() && !held.iter().any(is_evicted));
        drop(held);
        assert!(strangers.places.is_empty());
    }

    #[test]
    fn who_owns_many_addresses_and_fills_all_places_makes_room_for_others() {
        let strangers = strangers();
        let of_a_48 = |n: u16| IpAddr::from([0x2001, 0xdb8, 1, n, 0, 0, 0, 1]);
        let held: Vec<_> = (0..8).flat_map(|n| (0..32).map(move |_| of_a_48(n))).map(|a| strangers.place(a)).collect();
        let held: Vec<_> = held.into_iter().map(Result::unwrap).collect();
        assert!(strangers.place(of_a_48(9)).is_err());
        let others = [1, 2, 3].map(|last| strangers.place(IpAddr::from([192, 0, 2, last])).unwrap());
        assert!(held[..3].iter().all(is_evicted) && !held[3..].iter().any(is_evicted));
        assert!(!others.iter().any(is_evicted));
    }
}
