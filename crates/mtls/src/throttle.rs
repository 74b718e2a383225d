//! A token bucket per source address.

use std::{net::IpAddr, num::NonZeroU32};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use signet_core::cidr::source_of;

/// How often one source may connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Connections a second in the long run.
    pub per_second: NonZeroU32,
    /// Connections at once after a quiet time.
    pub burst: NonZeroU32,
}

/// Sources that are remembered at most; above it, those with full buckets are forgotten early.
const MAX_SOURCES: usize = 100_000;

pub(crate) struct Throttle(DefaultKeyedRateLimiter<IpAddr>);

impl Throttle {
    pub(crate) fn new(rate: Rate) -> Self {
        Self(RateLimiter::keyed(Quota::per_second(rate.per_second).allow_burst(rate.burst)))
    }

    /// Takes a token of the address; false if there is none.
    pub(crate) fn admit(&self, address: IpAddr) -> bool {
        self.0.check_key(&source_of(address)).is_ok()
    }

    /// Forgets sources whose buckets are full again. Call it on a timer.
    pub(crate) fn forget_idle(&self) {
        self.0.retain_recent();
        self.0.shrink_to_fit();
    }

    pub(crate) fn is_crowded(&self) -> bool {
        self.0.len() > MAX_SOURCES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn throttle(per_second: u32, burst: u32) -> Throttle {
        Throttle::new(Rate { per_second: per_second.try_into().unwrap(), burst: burst.try_into().unwrap() })
    }

    #[test]
    fn each_source_has_its_own_bucket() {
        let throttle = throttle(1, 3);
        let (one, other) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        assert!((0..3).all(|_| throttle.admit(one)) && !throttle.admit(one));
        assert!(throttle.admit(other));
        assert!(!throttle.admit("::ffff:192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn an_ipv6_network_is_one_source() {
        let throttle = throttle(1, 1);
        assert!(throttle.admit("2001:db8::1".parse().unwrap()));
        assert!(!throttle.admit("2001:db8::ffff:1".parse().unwrap()));
        assert!(throttle.admit("2001:db8:0:1::1".parse().unwrap()));
    }

    #[test]
    fn idle_sources_are_forgotten() {
        let throttle = throttle(1_000_000, 1);
        assert!((0..1000u32).all(|n| throttle.admit(std::net::Ipv4Addr::from_bits(n).into())));
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while !throttle.0.is_empty() && std::time::Instant::now() < deadline {
            throttle.forget_idle();
        }
        assert!(throttle.0.is_empty());
    }
}
