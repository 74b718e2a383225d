//! One shard of the feed as a node reads it: what is new, and what turns up late.

use std::collections::BTreeSet;

use signet_core::{
    Error, Lifetime, TenantId, Time, Uptime,
    store::{
        Store, StoreError, Unreadable,
        scope::{Books, Listed},
    },
    trust::{
        Trust,
        change::{Change, ChangeEntry, ChangeHead, LEAST_LIFE},
    },
};

use crate::trust::feed::gaps::{Gaps, age};

/// Most queries for gaps that a poll makes in each of the four shards.
const GAP_QUERIES: usize = 2;
/// What was used after a poll that is so recent, in milliseconds, has not expired: clocks differ, and it is looked for
/// longer.
const RECENT_POLL_MILLIS: u64 = 300_000;
/// The same of what was used after an entry that is so young.
const YOUNG: Lifetime = Lifetime::minutes(10);
/// As many numbers before a young entry may be late with it, for all that a node that starts can tell: those of one
/// transaction.
const MAY_BE_LATE: u64 = 100;

/// How far one shard of the feed was read, and what was missing on the way.
///
/// A number that is missing below one that is there is a gap if its entry cannot have expired: a poll that is recent
/// did not see it either, or it follows a young entry. Where neither is known, at the first poll and after a long
/// outage, those right before an entry that is younger than [`LEAST_LIFE`] are asked for, too, but not counted when
/// they are given up. All else has expired and costs nothing.
#[derive(Debug, Default)]
pub(super) struct Shard {
    number: u32,
    /// The highest sequence number that was seen; every lower one was applied, is a gap, or has expired.
    highest: u64,
    /// When that entry was made, by its writer's clock.
    made_at: Option<Time>,
    gaps: Gaps,
    /// When the last poll that read to the end began.
    read_at: Option<Uptime>,
    /// The last entry that was seen.
    newest: Option<Mark>,
    /// The same when it was last looked whether the feed still is what was read.
    mark: Option<Mark>,
}

/// An entry by which a feed is known again: one that was put back has another with this number, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mark {
    number: u64,
    /// `None`: it cannot be read.
    entry: Option<ChangeEntry>,
}

/// What came of a poll.
#[derive(Debug, Default)]
pub(super) struct Followed {
    /// Tenants whose records must be read again, also after an error.
    pub(super) changed: BTreeSet<TenantId>,
    /// What was revoked a moment ago.
    pub(super) revoked: Vec<(TenantId, Vec<Change>)>,
    /// How many entries were given up that should be there.
    pub(super) missing: u64,
}

/// An entry's number, and the entry if it can be read.
type Numbered = (u64, Result<ChangeEntry, Unreadable>);

impl Shard {
    pub(super) fn new(number: u32) -> Self {
        Self { number, ..Self::default() }
    }

    /// Applies what is new, and what turned up late.
    pub(super) async fn follow(
        &mut self,
        store: &dyn Store,
        trust: &Trust,
        now: Time,
    ) -> (Followed, Result<(), Error>) {
        let mut followed = Followed::default();
        let result = self.follow_into(store, trust, now, &mut followed).await;
        followed.missing = self.gaps.take_given_up();
        let settled = self.gaps.first().map_or(self.highest, |missing| missing.saturating_sub(1));
        trust.settle(self.number, settled);
        if followed.missing > 0 {
            tracing::error!(shard = self.number, missing = followed.missing, "changes are missing from the feed");
        }
        (followed, result)
    }

    async fn follow_into(
        &mut self,
        store: &dyn Store,
        trust: &Trust,
        now: Time,
        followed: &mut Followed,
    ) -> Result<(), Error> {
        let (began, mut query) = (trust.uptime(), ChangeEntry::after(self.number, self.highest));
        loop {
            // Not when the answer came: what turned up meanwhile would be asked for later than it could be.
            let asked_at = trust.uptime();
            let page = Books.page::<ChangeEntry>(store, &query, now).await?;
            query.after.clone_from(&page.next);
            let entries = in_order(page);
            if let Some((number, entry)) = entries.last() {
                self.newest = Some(Mark { number: *number, entry: entry.as_ref().ok().cloned() });
            }
            for (number, entry) in entries {
                self.note(number, entry.as_ref().ok(), asked_at, now);
                self.apply(trust, entry, now, followed);
            }
            if query.after.is_none() {
                break;
            }
        }
        self.read_at = Some(began);
        for _ in 0..GAP_QUERIES {
            let asked_at = trust.uptime();
            let Some(numbers) = self.gaps.due(asked_at) else { break };
            let query = ChangeEntry::within(self.number, &numbers);
            let page = Books.page::<ChangeEntry>(store, &query, now).await?;
            let end = page.next.as_ref().and_then(ChangeEntry::number_at).filter(|end| numbers.contains(end));
            for (number, entry) in in_order(page) {
                if self.gaps.fill(number) {
                    self.apply(trust, entry, now, followed);
                }
            }
            self.gaps.asked(&(*numbers.start()..=end.unwrap_or(*numbers.end())), asked_at);
        }
        Ok(())
    }

    /// Looks whether the feed still is what was read: a restore takes it back, and what is written after has numbers
    /// that were read before. Returns how many entries are gone at least. What it looks for was seen when it last
    /// looked, so that it must be there; a head that alone was put back means nothing, since writers go on behind the
    /// last entry.
    pub(super) async fn look_back(&mut self, store: &dyn Store, now: Time) -> Result<u64, Error> {
        let gone = match &self.mark {
            Some(mark) => self.gone_since(mark, store, now).await?,
            None => 0,
        };
        self.mark.clone_from(&self.newest);
        Ok(gone)
    }

    async fn gone_since(&self, mark: &Mark, store: &dyn Store, now: Time) -> Result<u64, Error> {
        let numbers = mark.number..=mark.number;
        let found = in_order(Books.page::<ChangeEntry>(store, &ChangeEntry::within(self.number, &numbers), now).await?);
        let is_another = match (found.into_iter().next(), &mark.entry) {
            // What cannot be read now or could not then may be the same.
            (Some((_, Err(_))), _) | (Some(_), None) => return Ok(0),
            (Some((_, Ok(entry))), Some(known)) if entry == *known => return Ok(0),
            (Some(_), Some(_)) => true,
            // By a clock that is ahead of this node's it may have expired, and be deleted.
            (None, known) => known.as_ref().is_some_and(|known| known.until > now.plus(LEAST_LIFE)),
        };
        let head = match Books.get::<ChangeHead>(store, &ChangeHead::key_of(self.number), now).await {
            Ok(head) => head.map_or(0, |head| head.value.last),
            // Who writes next writes it anew.
            Err(StoreError::Corrupt { .. }) => mark.number,
            Err(error) => return Err(error.into()),
        };
        Ok(mark.number.saturating_sub(head).max(u64::from(is_another)))
    }

    /// The entry with this number is there; those between it and the highest before may be late.
    fn note(&mut self, number: u64, entry: Option<&ChangeEntry>, asked_at: Uptime, now: Time) {
        let (first, made_at) = (self.highest.saturating_add(1), entry.map(|entry| entry.at));
        if number > first {
            let is_recent = self.read_at.is_some_and(|at| age(at, asked_at) < RECENT_POLL_MILLIS);
            let is_certain = is_recent || self.made_at.is_some_and(|at| at.plus(YOUNG) > now);
            let last = number.saturating_sub(1);
            if is_certain {
                self.gaps.open(&(first..=last), asked_at, true);
            } else if made_at.is_none_or(|at| at.plus(LEAST_LIFE) > now) {
                let first = first.max(number.saturating_sub(MAY_BE_LATE));
                self.gaps.open(&(first..=last), asked_at, false);
            }
        }
        self.highest = self.highest.max(number);
        self.made_at = made_at.or(self.made_at);
    }

    pub(super) fn start_over(&mut self) {
        *self = Self::new(self.number);
    }

    fn apply(&self, trust: &Trust, entry: Result<ChangeEntry, Unreadable>, now: Time, followed: &mut Followed) {
        match entry {
            Ok(entry) => {
                // What changed before is read with all others, by a node that loads.
                let matters = self.read_at.is_some() || entry.at.plus(LEAST_LIFE) > now;
                let must_read = trust.apply(&entry) && matters;
                // The lists' renewal takes care of what is older.
                if entry.at.plus(YOUNG) > now {
                    followed.revoked.push((entry.tenant.clone(), entry.changes));
                }
                if must_read {
                    followed.changed.insert(entry.tenant);
                }
            }
            Err(unreadable) => {
                let tenant = ChangeEntry::place(&unreadable.key).and_then(|(_, tenant)| tenant);
                let until = unreadable.expires_at.unwrap_or(Time::MAX);
                trust.deny_unknown_change(self.number, tenant.as_ref(), until);
                let whose = tenant.as_ref().map_or("all of the shard", TenantId::as_str);
                tracing::error!(tenant.id = whose, change = %unreadable.key, "a change cannot be read; its tenant is refused");
                followed.changed.extend(tenant);
            }
        }
    }
}

/// The entries of a page, those that cannot be read too.
fn in_order(page: Listed<ChangeEntry>) -> Vec<Numbered> {
    let readable = page.records.into_iter().map(|found| (found.value.sequence, Ok(found.value)));
    let unreadable = page.unreadable.into_iter().filter_map(|entry| {
        let (sequence, _) = ChangeEntry::place(&entry.key)?;
        Some((sequence, Err(entry)))
    });
    let mut entries: Vec<Numbered> = readable.chain(unreadable).collect();
    entries.sort_by_key(|(number, _)| *number);
    entries
}
