//! The changes feed as a node reads it: all that is trusted at start, then every change as it comes.

mod gaps;
mod shard;
mod tenants;

use std::{fmt, sync::Arc, time::Duration};

use futures::future::{join_all, try_join_all};
use gaps::age;
use shard::Shard;
use signet_core::{
    ClockWatch, Error, Time, Uptime,
    trust::{Trust, change::FEED_SHARDS},
};
use tenants::Tenants;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{App, audit::sealing, call::LOST_AFTER};

/// How often the feed is read when nothing wakes the reader.
const POLL_EVERY: Duration = Duration::from_millis(250);
/// Least time between the beginnings of a poll and of one for a commit of this process: commits may come thousands a
/// second.
const OWN_POLLS_APART: Duration = Duration::from_millis(50);
/// How often it is looked whether the feed was put back, in milliseconds.
const LOOK_BACK_EVERY_MILLIS: u64 = 10_000;
/// Longest rest between attempts to load; the first is as long as between polls, the others twice the one before.
const LONGEST_REST: Duration = Duration::from_secs(4);

/// Keeps one node's [`Trust`] up to date. Only reads; any number of nodes may follow one store.
pub struct Follower {
    app: Arc<App>,
    trust: Arc<Trust>,
    shards: [Shard; FEED_SHARDS as usize],
    tenants: Tenants,
    loaded: bool,
    /// When it began to load.
    began: Option<Uptime>,
    clock: Option<ClockWatch>,
    /// When it last looked whether the feed was put back.
    looked_back_at: Option<Uptime>,
    epochs: watch::Sender<u64>,
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
        let shards = std::array::from_fn(|i| Shard::new(u32::try_from(i).unwrap_or(0)));
        let (tenants, loaded, began, clock, looked_back_at) = Default::default();
        Self { app, trust, shards, tenants, loaded, began, clock, looked_back_at, epochs }
    }

    /// Tells [`Trust::epoch`] after each change: open sessions must then be looked at again.
    pub fn epochs(&self) -> watch::Receiver<u64> {
        self.epochs.subscribe()
    }

    /// Catches up with everything that was committed before `now`; the first time it loads all refusals and tenants.
    /// After an error the trust is as far as it came, and goes stale by itself if that lasts; the next poll goes on. A
    /// record that cannot be read is no error: its tenant alone is refused. What a query does not see yet of a
    /// transaction is asked for again for ten minutes.
    pub async fn poll(&mut self, now: Time) -> Result<(), Error> {
        let result = self.catch_up(now).await;
        self.tell();
        result
    }

    fn tell(&self) {
        let epoch = self.trust.epoch();
        self.epochs.send_if_modified(|told| std::mem::replace(told, epoch) != epoch);
    }

    /// Polls until `shutdown`: every 250 ms, and within 50 ms of a commit of this process; while it cannot load, less
    /// and less often. `clock` is the edge's.
    pub async fn run(mut self, clock: impl Fn() -> Time + Send + Sync, shutdown: CancellationToken) {
        let app = Arc::clone(&self.app);
        let mut ticks = interval(POLL_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut began, mut failures) = (Instant::now(), 0_u32);
        loop {
            let turn = async {
                match self.rest(failures) {
                    Some(rest) => sleep(rest).await,
                    // The tick first: no commit keeps it waiting.
                    None => tokio::select! {
                        biased;
                        _ = ticks.tick() => {}
                        () = own_commit(&app.committed, began) => {}
                    },
                }
                began = Instant::now();
                self.poll(clock()).await
            };
            let result = tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                result = turn => result,
            };
            match result {
                Err(ref error) if failures == 0 => {
                    tracing::warn!(?error, "the changes feed cannot be read; continuing with the last known state");
                }
                Ok(()) if failures > 0 => tracing::info!("the changes feed can be read again"),
                _ => {}
            }
            failures = if result.is_err() { failures.saturating_add(1) } else { 0 };
        }
    }

    /// How long to leave a store alone from which this node could not load. `None`: as long as between polls.
    fn rest(&self, failures: u32) -> Option<Duration> {
        let doubled = 2_u32.saturating_pow(failures.checked_sub(1)?);
        (!self.loaded).then(|| POLL_EVERY.saturating_mul(doubled).min(LONGEST_REST))
    }

    async fn catch_up(&mut self, now: Time) -> Result<(), Error> {
        let asked_at = self.trust.uptime();
        let clock = self.clock.get_or_insert(ClockWatch::new(now, asked_at));
        let was_set_back = clock.was_set_back(now, asked_at);
        let silence = age(*self.began.get_or_insert(asked_at), asked_at);
        let silence = self.trust.staleness_millis().map_or(silence, |stale| stale.min(silence));
        let was_away = silence > LOST_AFTER.millis().unsigned_abs();
        let may_forget = clock.is_even(asked_at);
        let gone = self.look_back(asked_at, now).await?;
        if was_set_back || was_away || gone > 0 {
            tracing::warn!(was_set_back, was_away, gone, "local state may be outdated; reloading everything");
            (self.loaded, self.began) = (false, Some(asked_at));
            self.shards.iter_mut().for_each(Shard::start_over);
            self.tenants.start_over();
        }
        self.follow_shards(now).await?;
        let app = Arc::clone(&self.app);
        let (store, trust) = (&*app.store, &*self.trust);
        if !self.loaded {
            // Refusals came first, so that at no time a tenant is known and its refusals are not.
            self.tenants.load(store, trust, now).await?;
            // By a clock that is behind, this node would write into what is sealed.
            sealing::learn_sealed(&app, now).await?;
            self.loaded = true;
        }
        self.tenants.catch_up(store, trust, asked_at, now).await?;
        trust.heard(asked_at);
        if may_forget {
            trust.forget_some(now);
        }
        Ok(())
    }

    /// Looks from time to time whether the store still has what was read of the feed. Returns how many entries are
    /// gone: the store was put back under this node, which then must read everything again to hear of anything.
    async fn look_back(&mut self, asked_at: Uptime, now: Time) -> Result<u64, Error> {
        if age(*self.looked_back_at.get_or_insert(asked_at), asked_at) < LOOK_BACK_EVERY_MILLIS {
            return Ok(0);
        }
        let store = &*self.app.store;
        let looks = try_join_all(self.shards.iter_mut().map(|shard| shard.look_back(store, now))).await?;
        self.looked_back_at = Some(asked_at);
        let gone = looks.into_iter().fold(0, u64::saturating_add);
        if gone > 0 {
            self.app.misses(gone);
            self.trust.renumber();
            tracing::error!(gone, "the changes feed was rolled back: entries that this node has read are gone");
        }
        Ok(gone)
    }

    /// An error only after every shard had its turn.
    async fn follow_shards(&mut self, now: Time) -> Result<(), Error> {
        let (store, trust) = (&*self.app.store, &*self.trust);
        let shards = self.shards.iter_mut().map(|shard| shard.follow(store, trust, now));
        let mut failed = None;
        for (followed, result) in join_all(shards).await {
            self.tenants.changed(followed.changed, trust.uptime());
            self.app.misses(followed.missing);
            for (tenant, changes) in &followed.revoked {
                self.app.revocations.note(tenant, changes.iter(), false);
            }
            failed = failed.or(result.err());
        }
        // Sessions that are now refused need not wait for the tenants' records.
        self.tell();
        failed.map_or(Ok(()), Err)
    }
}

/// This process has committed something, and the poll that began at `began` is a while ago.
async fn own_commit(committed: &Notify, began: Instant) {
    committed.notified().await;
    sleep_until(began + OWN_POLLS_APART).await;
}
