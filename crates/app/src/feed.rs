//! The changes feed as a node reads it: all that is trusted at start, then every change as it comes.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use futures::{StreamExt, future::join_all, stream};
use signet_core::{
    Error, Lifetime, TenantId, Time,
    ca::Ca,
    change::{ChangeEntry, ChangeHead, FEED_SHARDS},
    scope::{EnvironmentScope, Listed},
    store::{Body, Index, LISTING_SHARDS, Query, Store, Table, Unreadable},
    tenant::Tenant,
    trust::Trust,
};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::{App, paging};

/// How often the feed is read when nothing wakes the reader.
const POLL_EVERY: Duration = Duration::from_millis(250);
/// When entries are missing before one that is there, and how often they are looked for again.
const REREAD_AFTER: Duration = Duration::from_millis(20);
const MOST_REREADS: u32 = 10;
/// How often a tenant whose record cannot be read is read again: mending it by hand announces nothing.
const REREAD_EVERY: Lifetime = Lifetime::seconds(10);
/// How many tenants are read at once.
const CONCURRENT_READS: usize = 16;

/// Keeps one node's [`Trust`] up to date. Only reads; any number of nodes may follow one store.
pub struct Follower {
    app: Arc<App>,
    trust: Arc<Trust>,
    shards: [Shard; FEED_SHARDS as usize],
    /// Tenants whose records must be read again before the node may say that it has heard.
    outdated: BTreeSet<TenantId>,
    /// Tenants whose record cannot be read; they are refused until it can.
    unreadable: BTreeSet<TenantId>,
    reread_at: Option<Time>,
    loaded: bool,
    epochs: watch::Sender<u64>,
}

/// How far one shard of the feed was read.
#[derive(Clone, Copy, Debug, Default)]
struct Shard {
    number: u32,
    /// Sequence number of the last entry applied.
    applied: u64,
    /// The head as it was read before a query: entries up to here that the query leaves out have expired. Beyond it, a
    /// missing number may be a commit that the query has just not seen.
    head: u64,
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
        let (outdated, unreadable, reread_at) = (BTreeSet::new(), BTreeSet::new(), None);
        Self { app, trust, shards, outdated, unreadable, reread_at, loaded: false, epochs }
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
        let (store, trust) = (&*self.app.store, &*self.trust);
        let shards = self.shards.iter_mut().map(|shard| shard.follow(store, trust, !self.loaded, now));
        let mut failed = None;
        for (outdated, result) in join_all(shards).await {
            self.outdated.extend(outdated);
            failed = failed.or(result.err());
        }
        // Sessions that are now refused need not wait for the tenants' records.
        self.tell();
        if let Some(error) = failed {
            return Err(error);
        }
        if !self.loaded {
            // Refusals came first, so that at no time a tenant is known and its refusals are not.
            let listed = self.listed_tenants(now).await?;
            self.outdated.extend(listed);
            self.loaded = true;
        }
        if self.reread_at.is_none_or(|at| now >= at) {
            self.outdated.extend(self.unreadable.iter().cloned());
            self.reread_at = Some(now.plus(REREAD_EVERY));
        }
        self.reload_outdated(now).await?;
        self.trust.heard(asked_at);
        self.trust.forget_some(now);
        Ok(())
    }

    /// All tenants that the index knows. One so new that it does not is found by its feed entry.
    async fn listed_tenants(&self, now: Time) -> Result<Vec<TenantId>, Error> {
        let store = &*self.app.store;
        let query = |shard| Query::index(Table::Tenants, Index::Listing, Tenant::listing(shard));
        let read = |query| async move { EnvironmentScope::housekeeping().page::<Tenant>(store, &query, now).await };
        let (tenants, unreadable) = paging::all(LISTING_SHARDS, query, read).await?;
        let nameless = unreadable.iter().filter_map(|tenant| Tenant::id_in(&tenant.key));
        Ok(tenants.into_iter().map(|tenant| tenant.id).chain(nameless).collect())
    }

    async fn reload_outdated(&mut self, now: Time) -> Result<(), Error> {
        let store = &*self.app.store;
        let reads = self.outdated.clone().into_iter().map(|id| async move {
            let found = read_tenant(store, &id, now).await;
            (id, found)
        });
        let mut reads = stream::iter(reads).buffer_unordered(CONCURRENT_READS);
        while let Some((id, found)) = reads.next().await {
            match found? {
                TenantRecords::Known(tenant, cas) => {
                    self.trust.set_tenant(&tenant, &cas);
                    if self.unreadable.remove(&id) {
                        tracing::info!(tenant.id = %id, "the tenant can be read again and is refused no longer");
                    }
                }
                TenantRecords::Unreadable => {
                    self.trust.deny_unreadable(&id);
                    if self.unreadable.insert(id.clone()) {
                        tracing::error!(tenant.id = %id, "the tenant cannot be read; all of it is refused");
                    }
                }
                TenantRecords::Absent => tracing::warn!(tenant.id = %id, "the feed names a tenant that has no record"),
            }
            self.outdated.remove(&id);
        }
        Ok(())
    }
}

impl Shard {
    /// Applies what is new. Returns the tenants whose records must be read again, also after an error.
    async fn follow(
        &mut self,
        store: &dyn Store,
        trust: &Trust,
        from_head: bool,
        now: Time,
    ) -> (BTreeSet<TenantId>, Result<(), Error>) {
        let mut outdated = BTreeSet::new();
        let result = self.apply_all(store, trust, from_head, now, &mut outdated).await;
        (outdated, result)
    }

    async fn apply_all(
        &mut self,
        store: &dyn Store,
        trust: &Trust,
        from_head: bool,
        now: Time,
        outdated: &mut BTreeSet<TenantId>,
    ) -> Result<(), Error> {
        let scope = EnvironmentScope::housekeeping();
        if from_head {
            self.read_head(store, now).await?;
        }
        let (mut from, mut place, mut rereads) = (self.applied, None, 0);
        loop {
            let query = ChangeEntry::after(self.number, from).after(place);
            let page = scope.page::<ChangeEntry>(store, &query, now).await?;
            let next = page.next.clone();
            let mut gap = None;
            for (sequence, entry) in in_order(page) {
                gap = (sequence > self.head && sequence != self.applied.saturating_add(1)).then_some(sequence);
                if gap.is_some() {
                    break;
                }
                outdated.extend(self.apply(trust, entry));
                self.applied = sequence;
            }
            place = next;
            if let Some(sequence) = gap {
                self.read_head(store, now).await?;
                if self.head < sequence {
                    // What is missing turns up in a moment, and the head with it; else the head was put back.
                    rereads += 1;
                    tokio::time::sleep(REREAD_AFTER).await;
                }
                if rereads > MOST_REREADS {
                    tracing::warn!(shard = self.number, head = self.head, sequence, "the feed's head was put back");
                    self.head = sequence;
                }
                (from, place) = (self.applied, None);
            } else if place.is_none() {
                break;
            }
        }
        self.applied = self.applied.max(self.head);
        Ok(())
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

    async fn read_head(&mut self, store: &dyn Store, now: Time) -> Result<(), Error> {
        let key = ChangeHead::key_of(self.number);
        let head = EnvironmentScope::housekeeping().get::<ChangeHead>(store, &key, now).await?;
        self.head = head.map_or(0, |head| head.value.last);
        Ok(())
    }
}

/// The entries of a page by their number, those that cannot be read too.
fn in_order(page: Listed<ChangeEntry>) -> Vec<(u64, Result<ChangeEntry, Unreadable>)> {
    let readable = page.records.into_iter().map(|found| (found.value.sequence, Ok(found.value)));
    let unreadable = page.unreadable.into_iter().filter_map(|entry| {
        let (sequence, _) = ChangeEntry::place(&entry.key)?;
        Some((sequence, Err(entry)))
    });
    let mut entries: Vec<_> = readable.chain(unreadable).collect();
    entries.sort_by_key(|(sequence, _)| *sequence);
    entries
}

/// A tenant as its records say.
pub(crate) enum TenantRecords {
    /// Its record, and those CAs that can be read: what another one signed is not trusted.
    Known(Box<Tenant>, Vec<Ca>),
    /// Its own record cannot be read.
    Unreadable,
    /// It has none.
    Absent,
}

/// A tenant and its CAs, strongly consistent, in one read.
pub(crate) async fn read_tenant(store: &dyn Store, id: &TenantId, now: Time) -> Result<TenantRecords, Error> {
    let (mut tenant, mut cas, mut after) = (TenantRecords::Absent, Vec::new(), None);
    loop {
        let page = store.query(&Query::table(Table::Tenants, id.as_str()).limit(1000).after(after), now).await?;
        for record in page.records {
            match record.value {
                Body::Tenant(found) => tenant = TenantRecords::Known(Box::new(found), Vec::new()),
                Body::Ca(found) => cas.push(found),
                _ => {}
            }
        }
        if page.unreadable.iter().any(|record| Tenant::id_in(&record.key).is_some()) {
            tenant = TenantRecords::Unreadable;
        }
        after = page.next;
        if after.is_none() {
            return Ok(match tenant {
                TenantRecords::Known(tenant, _) => TenantRecords::Known(tenant, cas),
                other => other,
            });
        }
    }
}
