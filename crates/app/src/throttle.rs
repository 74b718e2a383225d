//! What callers could fill store and log with: refused enrollments, and orders that change nothing.
//! Who was refused too often waits, and the audit log gets no more refusals than it can hold.
//!
//! A node counts for itself. A source that is refused again and again loses its turn. When a tenant is refused too
//! often, from wherever, sources that have just been refused lose theirs; others still get one try, so that nobody can
//! keep a tenant's own callers out by guessing.

use std::{
    collections::HashMap,
    hash::Hash,
    net::IpAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use signet_core::{Error, Lifetime, TenantId, Time, cidr::source_of};

use crate::Call;

/// Names that are counted at once; beyond it, those with a whole budget are forgotten, and then all.
const MOST: usize = 50_000;
/// How far refusals of calls that were under way together may run ahead of a budget, in minutes of it. They are paid
/// back by waiting, so that many at once are no way around the rate.
const MOST_AHEAD: i64 = 10;

/// Orders a minute of one actor that change nothing. Each is an event and an entry of the feed, for the feed may have
/// lost it (a restore by halves); and as urgent as if it did.
const REPEATS_A_MINUTE: u32 = 600;

/// Polls a minute of one tenant's receivers that read the feed itself, which every node follows: up to 16 pages each.
const FEED_READS_A_MINUTE: u32 = 30;

/// Keys for tokens a minute that one tenant's admins make. KMS makes one RSA key a second for the whole account
/// (quota `GenerateDataKeyPair (RSA_2048)`).
const TOKEN_KEYS_A_MINUTE: u32 = 12;

/// How many refusals a minute are borne. A whole minute's worth may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusalLimits {
    /// Of one source address (IPv6: /64).
    pub per_source: u32,
    /// Of one tenant.
    pub per_tenant: u32,
    /// Written to one tenant's audit log for one reason; the others are counted.
    pub recorded: u32,
}

impl Default for RefusalLimits {
    fn default() -> Self {
        Self { per_source: 30, per_tenant: 120, recorded: 600 }
    }
}

#[derive(Debug)]
pub(crate) struct Throttle {
    sources: Buckets<IpAddr>,
    tenants: Buckets<TenantId>,
    records: Buckets<(TenantId, &'static str)>,
    repeats: Buckets<String>,
    token_keys: Buckets<TenantId>,
    feed_reads: Buckets<TenantId>,
}

impl Throttle {
    pub(crate) fn new(limits: RefusalLimits) -> Self {
        let RefusalLimits { per_source, per_tenant, recorded } = limits;
        let (sources, tenants, records) = (Buckets::new(per_source), Buckets::new(per_tenant), Buckets::new(recorded));
        let (repeats, token_keys) = (Buckets::new(REPEATS_A_MINUTE), Buckets::new(TOKEN_KEYS_A_MINUTE));
        let feed_reads = Buckets::new(FEED_READS_A_MINUTE);
        Self { sources, tenants, records, repeats, token_keys, feed_reads }
    }

    /// Whether a caller may try.
    pub(crate) fn admits(&self, tenant: &TenantId, source: Option<IpAddr>, now: Time) -> bool {
        // Without an address it comes from this process.
        let Some(source) = source.map(source_of) else { return true };
        let left = self.sources.left(&source, now);
        let suspect = left < self.sources.size();
        left > 0 && (!suspect || self.tenants.left(tenant, now) > 0)
    }

    /// Counts a refusal, before anybody can hang up on it.
    pub(crate) fn failed(&self, tenant: &TenantId, source: Option<IpAddr>, now: Time) {
        if let Some(source) = source.map(source_of) {
            self.sources.charge(source, now);
        }
        self.tenants.charge(tenant.clone(), now);
    }

    /// Counts a proof of a source for which nobody vouched, because who could was away. Not its tenant's doing.
    pub(crate) fn unvouched(&self, source: Option<IpAddr>, now: Time) {
        if let Some(source) = source.map(source_of) {
            self.sources.take(source, now);
        }
    }

    /// Whether a refusal is written to the audit log: `Some` with how many for this reason were not since the last.
    pub(crate) fn may_record(&self, tenant: &TenantId, reason: &'static str, now: Time) -> Option<u64> {
        self.records.take((tenant.clone(), reason), now)
    }

    /// Counts an order that changes nothing and is announced all the same, or revokes what was never recorded, or says
    /// that its actor gave too many. `is_charged`: whether this call was counted, which it is once however often it is
    /// tried.
    pub(crate) fn repeated(&self, call: &Call, is_charged: &AtomicBool) -> Result<(), Error> {
        if is_charged.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let message = format!(
            "the limit is {REPEATS_A_MINUTE} calls a minute that change nothing or revoke what was never recorded; wait a \
             moment, then continue"
        );
        let taken = self.repeats.take(call.actor.key(), call.now);
        taken.map(drop).ok_or(Error::Exhausted {
            reason: "REPEATED_TOO_OFTEN",
            message,
            retry_after: Some(Lifetime::seconds(1)),
        })
    }
    /// Counts a poll that reads the feed for a tenant's receiver.
    pub(crate) fn feed_read(&self, tenant: &TenantId, now: Time) -> Result<(), Error> {
        let message = format!(
            "receivers that were away, or do not acknowledge old events, may poll {FEED_READS_A_MINUTE} times a minute \
             in a tenant; acknowledge what was told, wait, then retry"
        );
        self.feed_reads.take(tenant.clone(), now).map(drop).ok_or(Error::Exhausted {
            reason: "TOO_MANY_OLD_EVENTS",
            message,
            retry_after: Some(Lifetime::seconds(60 / FEED_READS_A_MINUTE)),
        })
    }

    /// Counts a key that a tenant's admin has made.
    pub(crate) fn token_key_made(&self, tenant: &TenantId, now: Time) -> Result<(), Error> {
        let message =
            format!("a tenant may have {TOKEN_KEYS_A_MINUTE} keys for tokens made in a minute; wait, then retry");
        self.token_keys.take(tenant.clone(), now).map(drop).ok_or(Error::Exhausted {
            reason: "TOO_MANY_TOKEN_KEYS",
            message,
            retry_after: Some(Lifetime::seconds(60 / TOKEN_KEYS_A_MINUTE)),
        })
    }
}

/// Token buckets by name, refilled by the minute.
#[derive(Debug)]
struct Buckets<K> {
    per_minute: u32,
    buckets: Mutex<HashMap<K, Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Thousandths of a refusal.
    left: i64,
    at: Time,
    /// Asked for and not given since the last that was.
    missed: u64,
}

impl<K: Eq + Hash> Buckets<K> {
    fn new(per_minute: u32) -> Self {
        Self { per_minute, buckets: Mutex::default() }
    }

    fn size(&self) -> i64 {
        i64::from(self.per_minute)
    }

    /// How many are left of `name`'s.
    fn left(&self, name: &K, now: Time) -> i64 {
        let buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.get(name).map_or(self.size(), |bucket| self.refilled(bucket, now).div_euclid(1000))
    }

    /// Takes one. `Some`: how many were not given before it; `None`: there is none left.
    fn take(&self, name: K, now: Time) -> Option<u64> {
        self.with(name, now, |bucket| {
            if bucket.left < 1000 {
                bucket.missed = bucket.missed.saturating_add(1);
                return None;
            }
            bucket.left = bucket.left.saturating_sub(1000);
            Some(std::mem::take(&mut bucket.missed))
        })
    }

    /// Takes one though there may be none left.
    fn charge(&self, name: K, now: Time) {
        let least = self.size().saturating_mul(-1000 * MOST_AHEAD);
        self.with(name, now, |bucket| bucket.left = bucket.left.saturating_sub(1000).max(least));
    }

    fn with<T>(&self, name: K, now: Time, then: impl FnOnce(&mut Bucket) -> T) -> T {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MOST {
            self.forget(&mut buckets, now);
        }
        let full = Bucket { left: self.size().saturating_mul(1000), at: now, missed: 0 };
        let bucket = buckets.entry(name).or_insert(full);
        *bucket = Bucket { left: self.refilled(bucket, now), at: now.max(bucket.at), missed: bucket.missed };
        then(bucket)
    }

    fn refilled(&self, bucket: &Bucket, now: Time) -> i64 {
        let millis = now.unix_millis().saturating_sub(bucket.at.unix_millis()).max(0);
        let gained = millis.saturating_mul(self.size()).div_euclid(60);
        bucket.left.saturating_add(gained).min(self.size().saturating_mul(1000))
    }

    fn forget(&self, buckets: &mut HashMap<K, Bucket>, now: Time) {
        buckets.retain(|_, bucket| self.refilled(bucket, now) < self.size().saturating_mul(1000));
        if buckets.len() >= MOST {
            buckets.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_unix_seconds(1_800_000_000);

    fn throttle() -> Throttle {
        Throttle::new(RefusalLimits { per_source: 3, per_tenant: 5, recorded: 2 })
    }

    fn from(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    fn after(seconds: i64) -> Time {
        Time::from_unix_seconds(NOW.unix_seconds() + seconds)
    }

    #[test]
    fn a_source_that_guesses_waits_and_is_admitted_again() {
        let (throttle, acme) = (throttle(), "acme".parse().unwrap());
        for _ in 0..3 {
            assert!(throttle.admits(&acme, from(1), NOW));
            throttle.failed(&acme, from(1), NOW);
        }
        assert!(!throttle.admits(&acme, from(1), NOW) && !throttle.admits(&"globex".parse().unwrap(), from(1), NOW));
        assert!(throttle.admits(&acme, from(2), NOW), "another source");
        assert!(throttle.admits(&acme, from(1), after(20)), "a third of a minute gives one of three back");
    }

    #[test]
    fn when_a_tenant_is_guessed_at_from_everywhere_each_source_gets_one_try() {
        let (throttle, acme): (_, TenantId) = (throttle(), "acme".parse().unwrap());
        for source in 1..=5 {
            throttle.failed(&acme, from(source), NOW);
        }
        assert!((1..=5).all(|source| !throttle.admits(&acme, from(source), NOW)));
        assert!(throttle.admits(&acme, from(6), NOW) && throttle.admits(&"globex".parse().unwrap(), from(1), NOW));
    }

    /// Calls that were let in together, before any of them was refused.
    #[test]
    fn many_guesses_at_once_are_paid_back_by_waiting() {
        let (throttle, acme) = (throttle(), "acme".parse().unwrap());
        for _ in 0..9 {
            throttle.failed(&acme, from(1), NOW);
        }
        assert!(!throttle.admits(&acme, from(1), after(120)), "six more than three a minute");
        assert!(throttle.admits(&acme, from(1), after(140)));
        for _ in 0..1000 {
            throttle.failed(&acme, from(1), NOW);
        }
        assert!(throttle.admits(&acme, from(1), after(11 * 60)), "but not for ever");
    }

    #[test]
    fn what_changes_nothing_is_done_so_often_and_then_so_fast() {
        let throttle = throttle();
        let order = |name, now| throttle.repeated(&Call::process(name, now), &AtomicBool::new(false));
        assert!((0..REPEATS_A_MINUTE).all(|_| order("one", NOW).is_ok()));
        assert_eq!(order("one", NOW).unwrap_err().reason(), "REPEATED_TOO_OFTEN");
        assert!(order("another", NOW).is_ok());
        let (again, charged) = (Call::process("a third", NOW), AtomicBool::new(false));
        assert!((0..=REPEATS_A_MINUTE).all(|_| throttle.repeated(&again, &charged).is_ok()), "one call is one order");
        assert!(order("one", after(1)).is_ok());
    }

    #[test]
    fn what_is_not_recorded_is_counted() {
        let (throttle, acme) = (throttle(), "acme".parse().unwrap());
        let record = |now| throttle.may_record(&acme, "TOKEN_EXPIRED", now);
        assert_eq!([record(NOW), record(NOW), record(NOW), record(NOW)], [Some(0), Some(0), None, None]);
        assert_eq!(throttle.may_record(&acme, "TOKEN_REVOKED", NOW), Some(0), "another reason");
        assert_eq!((record(after(30)), record(after(30))), (Some(2), None));
    }
}
