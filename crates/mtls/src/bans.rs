//! Sources whose handshakes fail again and again are closed at once for a while, before TLS costs anything.
//!
//! What counts are certificates that no CA of their tenant signed, certificates that are missing where one is needed,
//! and TLS that is wrong; not what this node refuses for want of room, and not a certificate that may not act any more.
//! A source that a principal came from a while ago is not banned: others are behind the same address.

use std::{
    net::IpAddr,
    num::NonZeroUsize,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use lru::LruCache;
use signet_core::{Cidr, cidr::source_of};
use tokio::time::Instant;

/// Sources of each kind that are remembered; beyond it the oldest are forgotten.
const MAX_SOURCES: NonZeroUsize = NonZeroUsize::new(65_536).unwrap();
/// For how long a principal's connection speaks for its source: longer than a connection lives, so that whoever stays
/// connected is never banned with its neighbours.
const VOUCHED: Duration = Duration::from_secs(2 * 3600);

/// When sources are banned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BanSettings {
    /// So many failed handshakes of one source; 0: nobody is banned.
    pub failures: u32,
    /// Within this time.
    pub window: Duration,
    /// How long a ban lasts.
    pub duration: Duration,
    /// Networks that are never banned, besides those of balancers.
    pub exempt: Vec<Cidr>,
}

impl Default for BanSettings {
    fn default() -> Self {
        let (window, duration) = (Duration::from_secs(60), Duration::from_secs(600));
        Self { failures: 30, window, duration, exempt: Vec::new() }
    }
}

/// A source's failures.
struct Failed {
    count: u32,
    /// The first of them.
    since: Instant,
}

struct Sources {
    failed: LruCache<IpAddr, Failed>,
    banned: LruCache<IpAddr, Instant>,
    vouched: LruCache<IpAddr, Instant>,
}

/// See the module's words.
pub(crate) struct Bans {
    settings: BanSettings,
    sources: Mutex<Sources>,
}

impl Bans {
    /// `proxies` are exempt: an address of theirs is a balancer that did not say for whom it speaks.
    pub(crate) fn new(mut settings: BanSettings, proxies: &[Cidr]) -> Self {
        settings.exempt.extend(proxies);
        let (failed, banned, vouched) =
            (LruCache::new(MAX_SOURCES), LruCache::new(MAX_SOURCES), LruCache::new(MAX_SOURCES));
        Self { settings, sources: Mutex::new(Sources { failed, banned, vouched }) }
    }

    /// Whether the address is banned at `now`.
    pub(crate) fn is_banned(&self, address: IpAddr, now: Instant) -> bool {
        let source = source_of(address);
        let sources = &mut self.sources();
        let Some(until) = sources.banned.peek(&source).copied() else { return false };
        if now >= until {
            sources.banned.pop(&source);
        }
        now < until
    }

    /// A handshake of the address failed; whether that bans its source, which [`source_of`] names.
    pub(crate) fn count(&self, address: IpAddr, now: Instant) -> bool {
        let BanSettings { failures, window, duration, exempt } = &self.settings;
        if *failures == 0 || exempt.iter().any(|network| network.contains(address)) {
            return false;
        }
        let source = source_of(address);
        let sources = &mut self.sources();
        if sources.vouched.peek(&source).is_some_and(|at| now.saturating_duration_since(*at) < VOUCHED) {
            return false;
        }
        let failed = sources.failed.get_or_insert_mut(source, || Failed { count: 0, since: now });
        if now.saturating_duration_since(failed.since) > *window {
            *failed = Failed { count: 0, since: now };
        }
        failed.count = failed.count.saturating_add(1);
        if failed.count < *failures {
            return false;
        }
        sources.failed.pop(&source);
        // A connection that was open when the ban began changes nothing of it.
        sources.banned.put(source, now + *duration).is_none_or(|until| now >= until)
    }

    /// A principal came in from the address.
    pub(crate) fn vouch(&self, address: IpAddr, now: Instant) {
        if self.settings.failures > 0 {
            let source = source_of(address);
            let sources = &mut self.sources();
            sources.vouched.put(source, now);
            sources.failed.pop(&source);
        }
    }

    #[cfg(test)]
    fn len(&self, now: Instant) -> usize {
        self.sources().banned.iter().filter(|(_, until)| now < **until).count()
    }

    /// A poisoned lock means that another thread panicked between two operations on the maps; they are whole.
    fn sources(&self) -> MutexGuard<'_, Sources> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    fn bans(exempt: &[&str]) -> Bans {
        let exempt = exempt.iter().map(|network| network.parse().unwrap()).collect();
        Bans::new(BanSettings { failures: 3, exempt, ..BanSettings::default() }, &[])
    }

    fn fail(bans: &Bans, address: &str, at: &[Instant]) -> Vec<bool> {
        at.iter().map(|now| bans.count(address.parse().unwrap(), *now)).collect()
    }

    fn is_banned(bans: &Bans, address: &str, now: Instant) -> bool {
        bans.is_banned(address.parse().unwrap(), now)
    }

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_source_is_banned_at_its_limit_and_for_the_time_of_a_ban() {
        let (bans, now) = (bans(&[]), Instant::now());
        assert_eq!(fail(&bans, "192.0.2.1", &[now, now]), [false, false]);
        assert!(!is_banned(&bans, "192.0.2.1", now));
        assert_eq!(fail(&bans, "192.0.2.1", &[after(now, 60)]), [true]);
        assert!(is_banned(&bans, "192.0.2.1", now) && is_banned(&bans, "::ffff:192.0.2.1", after(now, 659)));
        assert!(!is_banned(&bans, "192.0.2.2", now), "its neighbour is not");
        assert_eq!((bans.len(now), bans.len(after(now, 660))), (1, 0));
        assert!(!is_banned(&bans, "192.0.2.1", after(now, 660)));
        assert_eq!(fail(&bans, "192.0.2.1", &[after(now, 660)]), [false], "it counts anew");
    }

    #[test]
    fn failures_count_within_the_window_only_and_a_ban_is_told_once() {
        let (bans, now) = (bans(&[]), Instant::now());
        let slowly: Vec<_> = (0..100).map(|turn| after(now, turn * 61)).collect();
        assert!(fail(&bans, "192.0.2.1", &slowly).iter().all(|banned| !banned));
        let told = fail(&bans, "192.0.2.2", &[now; 9]).into_iter().filter(|told| *told).count();
        assert_eq!(told, 1);
    }

    #[test]
    fn an_ipv6_network_is_one_source() {
        let (bans, now) = (bans(&[]), Instant::now());
        for host in ["2001:db8::1", "2001:db8::2", "2001:db8::3"] {
            fail(&bans, host, &[now]);
        }
        assert!(is_banned(&bans, "2001:db8::4", now) && !is_banned(&bans, "2001:db8:0:1::4", now));
    }

    #[test]
    fn exempt_networks_and_sources_that_principals_come_from_are_not_banned() {
        let (bans, now) = (bans(&["10.0.0.0/8"]), Instant::now());
        assert_eq!(fail(&bans, "10.1.2.3", &[now; 9]), [false; 9]);
        bans.vouch("192.0.2.1".parse().unwrap(), now);
        assert_eq!(fail(&bans, "192.0.2.1", &[after(now, 3599); 9]), [false; 9]);
        assert!(fail(&bans, "192.0.2.1", &[after(now, 7200); 9]).contains(&true), "but not for ever");
        let off = Bans::new(BanSettings { failures: 0, ..BanSettings::default() }, &[]);
        assert_eq!(fail(&off, "192.0.2.1", &[now; 9]), [false; 9]);
    }

    #[test]
    fn who_owns_many_addresses_fills_no_memory() {
        let (bans, now) = (bans(&[]), Instant::now());
        let most = u32::try_from(MAX_SOURCES.get()).unwrap();
        for number in 0..most + 1000 {
            for _ in 0..3 {
                bans.count(Ipv4Addr::from_bits(number).into(), now);
            }
            bans.count(Ipv6Addr::from_bits(u128::from(number) << 64).into(), now);
        }
        let sources = bans.sources();
        assert_eq!((sources.banned.len(), sources.failed.len()), (MAX_SOURCES.get(), MAX_SOURCES.get()));
    }
}
