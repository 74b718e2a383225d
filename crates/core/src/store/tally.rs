//! The parts of one count, and the writes that change it.

use crate::{
    Lifetime, TenantId, Time,
    store::{Unreadable, commit::Write, layout::Entity, stored::Versioned},
    tenants::quota::{Quota, QuotaCount, RECOUNT_AFTER},
};

/// How long one is believed that was lowered: the index that everything was counted by may have lagged.
const LOWERED_AFTER: Lifetime = Lifetime::days(1);

/// All parts of one count, as they were read.
#[derive(Clone, Debug)]
pub struct Tally {
    tenant: TenantId,
    quota: Quota,
    parts: Vec<Versioned<QuotaCount>>,
    /// Parts that count nothing, and are written anew.
    unreadable: Vec<Unreadable>,
}

impl Tally {
    /// Of the parts that [`QuotaCount::all_of`] finds.
    pub fn new(tenant: TenantId, quota: Quota, parts: Vec<Versioned<QuotaCount>>, unreadable: Vec<Unreadable>) -> Self {
        Self { tenant, quota, parts, unreadable }
    }

    /// How many there are.
    pub fn used(&self) -> u64 {
        u64::try_from(self.sum(|_| true)).unwrap_or(0)
    }

    fn sum(&self, which: impl Fn(&QuotaCount) -> bool) -> i64 {
        let parts = self.parts.iter().map(|part| &part.value).filter(|part| which(part));
        parts.fold(0, |sum, part| sum.saturating_add(part.number))
    }

    /// Counts `by` more in the part `shard`, below [`Quota::shards`]; `until`: when they stop to count by themselves.
    pub fn add(&self, by: i64, until: Option<Time>, shard: u32) -> Write {
        let until = until.map(|until| self.end_of_bucket(until));
        self.write(until, shard, |part| part.number = part.number.saturating_add(by))
    }

    /// What was counted one by one: `live` that do not stop to count by themselves. Others that were made or ended
    /// during the count, or that the index did not show yet, may be in it or not; the next one mends that.
    pub fn recounted(&self, live: u64, now: Time) -> Write {
        let off = i64::try_from(live).unwrap_or(i64::MAX).saturating_sub(self.sum(|part| part.until.is_none()));
        let as_of = if off < 0 { now.minus(RECOUNT_AFTER).plus(LOWERED_AFTER) } else { now };
        self.write(None, 0, |part| {
            part.number = part.number.saturating_add(off);
            part.counted_at = Some(as_of);
        })
    }

    fn end_of_bucket(&self, until: Time) -> Time {
        let length = self.quota.bucket().millis();
        Time::from_unix_millis(until.unix_millis().saturating_add(length - 1).div_euclid(length).saturating_mul(length))
    }

    fn write(&self, until: Option<Time>, shard: u32, change: impl FnOnce(&mut QuotaCount)) -> Write {
        let known = self.parts.iter().find(|part| part.value.until == until && part.value.shard == shard);
        match known {
            Some(Versioned { value, version }) => {
                let mut part = value.clone();
                change(&mut part);
                Write::replace(part, version.clone())
            }
            None => {
                let (tenant, quota) = (self.tenant.clone(), self.quota);
                let mut part = QuotaCount { tenant, quota, shard, until, number: 0, counted_at: None };
                change(&mut part);
                let unreadable = self.unreadable.iter().find(|unreadable| unreadable.key == part.key());
                match unreadable.and_then(|unreadable| unreadable.version.clone()) {
                    Some(version) => Write::replace(part, version),
                    None => Write::create(part),
                }
            }
        }
    }
}
