//! The changes feed as a node reads it: all that is trusted at start, then every change as it comes.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    fmt,
    ops::Range,
    sync::Arc,
    time::Duration,
};

use futures::{
    StreamExt,
    future::{join_all, try_join_all},
    stream,
};
use signet_core::{
    ClockWatch, Error, Lifetime, TenantId, Time, Uptime,
    ca::Ca,
    change::{ChangeEntry, FEED_SHARDS},
    scope::{EnvironmentScope, Listed},
    store::{Body, Entity, Query, Segment, Store, StoreError, Table, Unreadable},
    tenant::Tenant,
    trust::Trust,
};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::App;

/// How often the feed is read when nothing wakes the reader.
const POLL_EVERY: Duration = Duration::from_millis(250);
/// How long a transaction may be under way: a query may see one part of it and not yet the other (DynamoDB isolates
/// reads of single items only), so that for as long an entry may turn up behind later ones.
const UNDER_WAY_MILLIS: u64 = 1000;
/// The same in numbers: a shard's transactions follow each other, each by the number of the one before.
const UNDER_WAY_NUMBERS: u64 = 1000;
/// How often a tenant whose record cannot be read is read again: mending it by hand announces nothing.
const REREAD_EVERY: Lifetime = Lifetime::seconds(10);
/// In how many parts the table of tenants is read at once, by a node that starts.
const SEGMENTS: u32 = 4;
/// Who has not heard for so long reads everything again: what only running nodes must hear is gone after twice that.
pub(crate) const LOST_AFTER: Lifetime = Lifetime::days(1);
/// A change that may still be under way, by clocks that differ.
const JUST_NOW: Lifetime = Lifetime::hours(1);
/// As many tenants as a node that loads reads one by one until their changes are over; more wait until it reads all again.
const FEW: usize = 100;
/// How many tenants are read at once.
const CONCURRENT_READS: usize = 16;

/// Keeps one node's [`Trust`] up to date. Only reads; any number of nodes may follow one store.
pub struct Follower {
    app: Arc<App>,
    trust: Arc<Trust>,
    shards: [Shard; FEED_SHARDS as usize],
    /// Tenants whose records must be read again before the node may say that it has heard, and when their last change was
    /// seen: for as long as that may be under way, a read may still show them as they were.
    outdated: BTreeMap<TenantId, Uptime>,
    /// Tenants whose record cannot be read; they are refused until it can.
    unreadable: BTreeSet<TenantId>,
    reread_at: Option<Time>,
    loaded: bool,
    /// The part of the table of tenants that is read once more, and from when on: as for `outdated`.
    again: Option<(u32, Uptime)>,
    clock: Option<ClockWatch>,
    epochs: watch::Sender<u64>,
}

/// Tenants whose records must be read again, and when they changed by their writer's clock.
type Outdated = BTreeMap<TenantId, Time>;

/// How far one shard of the feed was read. What is missing between two numbers has expired, or turns up later.
#[derive(Debug, Default)]
struct Shard {
    number: u32,
    /// Up to this sequence number nothing can turn up any more.
    settled: u64,
    /// What was applied beyond it, by sort key, with its sequence number and when it was first seen.
    recent: BTreeMap<String, (u64, Uptime)>,
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").field("shards", &self.shards).field("loaded", &self.loaded).finish_non_exhaustive()
    }
}

impl Follower {
    /// Knows nothing yet: the first [`Self::poll`] loads.
    pub fn new(app: Arc<App>, trust: Arc<Trust>) -> Self {
        let epochs = watch::Sender::new(trust.epoch());
        let shards = std::array::from_fn(|i| Shard { number: u32::try_from(i).unwrap_or(0), ..Shard::default() });
        let (outdated, unreadable, reread_at, again, clock) = Default::default();
        Self { app, trust, shards, outdated, unreadable, reread_at, loaded: false, again, clock, epochs }
    }

    /// Tells [`Trust::epoch`] after each change: open sessions must then be looked at again.
    pub fn epochs(&self) -> watch::Receiver<u64> {
        self.epochs.subscribe()
    }

    /// Catches up with everything that was committed before `now`; the first time it loads all refusals and tenants.
    /// After an error the trust is as far as it came, and goes stale by itself if that lasts; the next poll goes on.
    /// A record that cannot be read is no error: its tenant alone is refused.
    pub async fn poll(&mut self, now: Time) -> Result<(), Error> {
        let result = self.catch_up(now).await;
        self.tell();
        result
    }

    fn tell(&self) {
        let epoch = self.trust.epoch();
        self.epochs.send_if_modified(|told| std::mem::replace(told, epoch) != epoch);
    }

    /// Polls until `shutdown`: every 250 ms, and at once after a commit of this process. `clock` is the edge's.
    pub async fn run(mut self, clock: impl Fn() -> Time + Send + Sync, shutdown: CancellationToken) {
        let app = Arc::clone(&self.app);
        let mut ticks = interval(POLL_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            let turn = async {
                tokio::select! {
                    _ = ticks.tick() => {}
                    () = app.committed.notified() => {}
                }
                self.poll(clock()).await
            };
            let result = tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                result = turn => result,
            };
            if result.is_err() != failing {
                failing = result.is_err();
                match result {
                    Err(error) => {
                        tracing::warn!(?error, "the changes feed cannot be read; going on with what is known")
                    }
                    Ok(()) => tracing::info!("the changes feed is read again"),
                }
            }
        }
    }

    async fn catch_up(&mut self, now: Time) -> Result<(), Error> {
        let asked_at = self.trust.uptime();
        let clock = self.clock.get_or_insert(ClockWatch::new(now, asked_at));
        let was_set_back = clock.was_set_back(now, asked_at);
        let was_away =
            self.trust.staleness_millis().is_some_and(|silence| silence > LOST_AFTER.millis().unsigned_abs());
        if was_set_back || was_away {
            tracing::warn!(
                was_set_back,
                was_away,
                "what this node knows may not hold any more; reading everything again"
            );
            self.loaded = false;
            self.shards.iter_mut().for_each(Shard::start_over);
        }
        let may_forget = clock.is_even(asked_at);
        let (store, trust) = (&*self.app.store, &*self.trust);
        let shards = self.shards.iter_mut().map(|shard| shard.follow(store, trust, now));
        let mut failed = None;
        for (outdated, result) in join_all(shards).await {
            // What changed long ago is read with all others, by a node that loads.
            let changed = outdated.into_iter().filter(|(_, at)| self.loaded || at.plus(JUST_NOW) > now);
            self.outdated.extend(changed.map(|(id, _)| (id, self.trust.uptime())));
            failed = failed.or(result.err());
        }
        // Sessions that are now refused need not wait for the tenants' records.
        self.tell();
        if let Some(error) = failed {
            return Err(error);
        }
        if !self.loaded {
            // Refusals came first, so that at no time a tenant is known and its refusals are not.
            self.load_tenants(0..SEGMENTS, asked_at, now).await?;
            if self.outdated.len() > FEW {
                self.outdated.clear();
            }
            self.again = Some((0, self.trust.uptime()));
            // By a clock that is behind, this node would write into what is sealed.
            self.app.learn_sealed(now).await?;
            self.loaded = true;
        }
        if let Some((part, from)) = self.again
            && is_over(from, asked_at)
        {
            self.load_tenants(part..part.saturating_add(1), asked_at, now).await?;
            self.again = Some((part.saturating_add(1), from)).filter(|(next, _)| *next < SEGMENTS);
        }
        if self.reread_at.is_none_or(|at| now >= at) {
            self.outdated.extend(self.unreadable.iter().map(|id| (id.clone(), asked_at)));
            self.reread_at = Some(now.plus(REREAD_EVERY));
        }
        self.reload_outdated(asked_at, now).await?;
        self.trust.heard(asked_at);
        if may_forget {
            self.trust.forget_some(now);
        }
        Ok(())
    }

    /// The tenants in these parts of the table, since one request each takes long where there are thousands.
    async fn load_tenants(&mut self, parts: Range<u32>, asked_at: Uptime, now: Time) -> Result<(), Error> {
        let app = Arc::clone(&self.app);
        let store = &*app.store;
        let parts = parts.map(|number| async move {
            let query = Query::segment(Table::Tenants, Segment { number, of: SEGMENTS });
            read_all(store, query, now).await
        });
        let mut all = BTreeMap::<TenantId, TenantRecords>::new();
        for part in try_join_all(parts).await? {
            all.extend(part);
        }
        for (id, found) in all {
            self.know(&id, found);
            self.is_read(&id, asked_at);
        }
        Ok(())
    }

    /// The tenant was read after `asked_at`.
    fn is_read(&mut self, id: &TenantId, asked_at: Uptime) {
        if self.outdated.get(id).is_some_and(|since| is_over(*since, asked_at)) {
            self.outdated.remove(id);
        }
    }

    /// Takes over what is known of a tenant.
    fn know(&mut self, id: &TenantId, found: TenantRecords) {
        match found {
            TenantRecords { tenant: Some(tenant), cas, .. } => {
                self.trust.set_tenant(&tenant, &cas);
                if self.unreadable.remove(id) {
                    tracing::info!(tenant.id = %id, "the tenant can be read again and is refused no longer");
                }
            }
            TenantRecords { is_unreadable: true, .. } => {
                self.trust.deny_unreadable(id);
                if self.unreadable.insert(id.clone()) {
                    tracing::error!(tenant.id = %id, "the tenant cannot be read; all of it is refused");
                }
            }
            _ => tracing::warn!(tenant.id = %id, "there is no record of the tenant"),
        }
    }

    async fn reload_outdated(&mut self, asked_at: Uptime, now: Time) -> Result<(), Error> {
        let app = Arc::clone(&self.app);
        let store = &*app.store;
        let reads = self.outdated.clone().into_keys().map(|id| async move {
            let found = read_tenant(store, &id, now).await;
            (id, found)
        });
        let mut reads = stream::iter(reads).buffer_unordered(CONCURRENT_READS);
        while let Some((id, found)) = reads.next().await {
            self.know(&id, found?);
            self.is_read(&id, asked_at);
        }
        Ok(())
    }
}

impl Shard {
    /// Applies what is new. Returns the tenants whose records must be read again, also after an error.
    async fn follow(&mut self, store: &dyn Store, trust: &Trust, now: Time) -> (Outdated, Result<(), Error>) {
        let mut outdated = Outdated::new();
        let result = self.apply_all(store, trust, now, &mut outdated).await;
        (outdated, result)
    }

    async fn apply_all(
        &mut self,
        store: &dyn Store,
        trust: &Trust,
        now: Time,
        outdated: &mut Outdated,
    ) -> Result<(), Error> {
        let (asked_at, query) = (trust.uptime(), ChangeEntry::after(self.number, self.settled));
        let mut place = None;
        loop {
            let page =
                EnvironmentScope::housekeeping().page::<ChangeEntry>(store, &query.clone().after(place), now).await?;
            // Not when it was asked: the answer may have taken longer than what was under way.
            let seen_at = trust.uptime();
            place = page.next.clone();
            for (sequence, sort, entry) in in_order(page) {
                if let Entry::Vacant(unknown) = self.recent.entry(sort) {
                    unknown.insert((sequence, seen_at));
                    let at = entry.as_ref().map_or(now, |entry| entry.at);
                    outdated.extend(self.apply(trust, entry).map(|id| (id, at)));
                    self.settle(sequence.saturating_sub(UNDER_WAY_NUMBERS));
                }
            }
            if place.is_none() {
                break;
            }
        }
        let settled =
            self.recent.values().filter(|(_, at)| is_over(*at, asked_at)).map(|(sequence, _)| *sequence).max();
        settled.into_iter().for_each(|sequence| self.settle(sequence));
        Ok(())
    }

    /// Nothing up to this number will turn up any more.
    fn settle(&mut self, sequence: u64) {
        if sequence <= self.settled {
            return;
        }
        self.settled = sequence;
        while let Some(first) = self.recent.first_entry()
            && first.get().0 <= sequence
        {
            first.remove();
        }
    }

    fn start_over(&mut self) {
        *self = Self { number: self.number, ..Self::default() };
    }

    /// Returns the tenant whose records must be read again.
    fn apply(&self, trust: &Trust, entry: Result<ChangeEntry, Unreadable>) -> Option<TenantId> {
        match entry {
            Ok(entry) => trust.apply(&entry).then_some(entry.tenant),
            Err(unreadable) => {
                let tenant = ChangeEntry::place(&unreadable.key).and_then(|(_, tenant)| tenant);
                let until = unreadable.expires_at.unwrap_or(Time::MAX);
                trust.deny_unknown_change(self.number, tenant.as_ref(), until);
                let whose = tenant.as_ref().map_or("all of the shard", TenantId::as_str);
                tracing::error!(tenant.id = whose, change = %unreadable.key, "a change cannot be read; its tenant is refused");
                tenant
            }
        }
    }
}

/// Whether a transaction, a part of which was seen by a question asked at `since`, is all there at `now`.
const fn is_over(since: Uptime, now: Uptime) -> bool {
    now.as_millis().saturating_sub(since.as_millis()) >= UNDER_WAY_MILLIS
}

/// The entries of a page with their sequence numbers and sort keys, those that cannot be read too.
fn in_order(page: Listed<ChangeEntry>) -> Vec<(u64, String, Result<ChangeEntry, Unreadable>)> {
    let readable = page.records.into_iter().map(|found| {
        let entry = found.value;
        (entry.sequence, entry.key().sort, Ok(entry))
    });
    let unreadable = page.unreadable.into_iter().filter_map(|entry| {
        let (sequence, _) = ChangeEntry::place(&entry.key)?;
        Some((sequence, entry.key.sort.clone(), Err(entry)))
    });
    let mut entries: Vec<_> = readable.chain(unreadable).collect();
    entries.sort_by(|a, b| a.1.cmp(&b.1));
    entries
}

/// A tenant as its records say.
#[derive(Default)]
pub(crate) struct TenantRecords {
    /// Its own record; `None`: it has none, or one that cannot be read.
    pub(crate) tenant: Option<Box<Tenant>>,
    /// Its own record cannot be read.
    pub(crate) is_unreadable: bool,
    /// Those of its CAs that can be read: what another one signed is not trusted.
    pub(crate) cas: Vec<Ca>,
}

/// A tenant and its CAs, strongly consistent, in one read.
pub(crate) async fn read_tenant(store: &dyn Store, id: &TenantId, now: Time) -> Result<TenantRecords, Error> {
    let query = Query::table(Table::Tenants, id.as_str()).limit(1000);
    Ok(read_all(store, query, now).await?.remove(id).unwrap_or_default())
}

/// The tenants in the pages of `query`.
async fn read_all(
    store: &dyn Store,
    mut query: Query,
    now: Time,
) -> Result<BTreeMap<TenantId, TenantRecords>, StoreError> {
    let mut all = BTreeMap::<TenantId, TenantRecords>::new();
    loop {
        let page = store.query(&query, now).await?;
        for record in page.records {
            match record.value {
                Body::Tenant(tenant) => {
                    let id = tenant.id.clone();
                    all.entry(id).or_default().tenant = Some(Box::new(tenant));
                }
                Body::Ca(ca) => all.entry(ca.tenant.clone()).or_default().cas.push(ca),
                _ => {}
            }
        }
        for id in page.unreadable.iter().filter_map(|record| Tenant::id_in(&record.key)) {
            all.entry(id).or_default().is_unreadable = true;
        }
        query.after = page.next;
        if query.after.is_none() {
            return Ok(all);
        }
    }
}
