//! What callers without a certificate may use of a node: a share of its places, and so many calls a second from one
//! address, since each may cost a read, a signature and an audit event.

use std::{
    collections::HashMap,
    net::IpAddr,
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use signet_core::cidr::source_of;
use tonic::Status;

use crate::{config::Limits, errors};

/// Calls at once after a quiet time, in seconds of the rate: fleets behind one address enroll together.
const BURST_SECONDS: NonZeroU32 = NonZeroU32::MIN.saturating_add(9);

/// One source may have this part of the places.
const SOURCES_PART: usize = 8;

/// See the module's words.
pub(crate) struct Strangers {
    places: Arc<Places>,
    rate: DefaultKeyedRateLimiter<IpAddr>,
}

#[derive(Debug)]
struct Places {
    most: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_source: HashMap<IpAddr, usize>,
}

/// A stranger's call, counted until it is dropped.
#[derive(Debug)]
pub(crate) struct StrangersPlace {
    places: Arc<Places>,
    source: IpAddr,
}

impl Strangers {
    pub(crate) fn new(limits: &Limits) -> Self {
        let rate = NonZeroU32::new(limits.anonymous_calls_per_second_per_address).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(rate).allow_burst(rate.saturating_mul(BURST_SECONDS));
        let places = Places { most: (limits.max_concurrent_requests / 4).max(1), taken: Mutex::default() };
        Self { places: Arc::new(places), rate: RateLimiter::keyed(quota) }
    }

    /// A place for a stranger's call.
    pub(crate) fn place(&self, address: IpAddr) -> Result<StrangersPlace, Status> {
        let source = source_of(address);
        if self.rate.check_key(&source).is_err() {
            return Err(errors::busy("too many calls without a certificate from this address", "TOO_MANY_CALLS"));
        }
        let mut taken = self.places.taken();
        let of_source = taken.by_source.get(&source).copied().unwrap_or(0);
        if of_source >= (self.places.most / SOURCES_PART).max(1) {
            let what = "too many calls without a certificate are under way from this address; wait for them";
            return Err(errors::busy(what, "TOO_MANY_CALLS"));
        }
        if taken.all >= self.places.most {
            return Err(errors::node_busy());
        }
        taken.all = taken.all.saturating_add(1);
        taken.by_source.insert(source, of_source.saturating_add(1));
        Ok(StrangersPlace { places: Arc::clone(&self.places), source })
    }

    /// Forgets addresses whose buckets are full again; call it on a timer.
    pub(crate) fn forget_idle(&self) {
        self.rate.retain_recent();
        self.rate.shrink_to_fit();
    }
}

impl Places {
    /// A poisoned lock means that another thread panicked between two additions; the worst is a lost place.
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for StrangersPlace {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all = taken.all.saturating_sub(1);
        match taken.by_source.get_mut(&self.source) {
            Some(of_source) if *of_source > 1 => *of_source -= 1,
            _ => drop(taken.by_source.remove(&self.source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_addresses_leave_places_for_the_others() {
        let sample = include_str!("../signet.sample.toml");
        let limits = crate::Config::from_toml(sample, std::path::Path::new("/")).unwrap().limits;
        let strangers = Strangers::new(&limits);
        let address = |last: u8| IpAddr::from([192, 0, 2, last]);
        let mut held = Vec::new();
        for greedy in 1..=3 {
            held.extend((0..100).filter_map(|_| strangers.place(address(greedy)).ok()));
        }
        assert_eq!(held.len(), 3 * 32);
        let other = strangers.place(address(4));
        assert!(other.is_ok());
        held.clear();
        drop(other);
        let taken = strangers.places.taken();
        assert!(taken.all == 0 && taken.by_source.is_empty());
    }
}
