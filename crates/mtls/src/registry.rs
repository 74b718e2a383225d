//! All open connections of a node, so that those which lost their right to be open end at once.
//!
//! A session is registered *before* its check. A revocation then either comes before the check, which refuses, or
//! after the registration, where the next sweep finds it.

use std::{
    collections::HashMap,
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use signet_core::{
    Clock, Entropy, Identity, Lifetime, Time,
    authorities::signer::random,
    trust::{Refusal, Trust},
};
use tokio::{
    sync::watch,
    task::yield_now,
    time::{Instant, MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::{
    session::{Authorize, Ended, Session},
    switch::Switch,
    unread::Unread,
};

/// How long connections may last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ages {
    /// Longest life of a connection, whoever holds it. Let the HTTP server send GOAWAY before (tonic:
    /// `max_connection_age`); this is the end of those that do not heed it.
    pub max_age: Lifetime,
    /// Up to this much is added, drawn per connection, so that a fleet does not come back as one.
    pub jitter: Lifetime,
    /// Life of a connection without a certificate: long enough to enroll.
    pub anonymous: Lifetime,
    /// Time for streams to say why they end before the connection is cut; part of the second that a revocation may
    /// take.
    pub notice: Duration,
    /// Time to take an answer; who lets one wait for longer is cut.
    pub answer: Duration,
    /// The same without a certificate: to keep what a stranger asked for costs places that other strangers wait for.
    pub anonymous_answer: Duration,
}

impl Default for Ages {
    fn default() -> Self {
        Self {
            max_age: Lifetime::hours(1),
            jitter: Lifetime::minutes(10),
            anonymous: Lifetime::minutes(1),
            notice: Duration::from_millis(100),
            answer: Duration::from_secs(30),
            anonymous_answer: Duration::from_secs(2),
        }
    }
}

/// How often ages and expiries are looked at, and the epoch in case a notification was lost.
const TICK: Duration = Duration::from_secs(1);
/// Connections that are looked at in one go: a quarter of a millisecond.
const SWEEP_PART: usize = 256;

/// See the module's words. One per node, shared by all its listeners.
pub struct Registry<A> {
    trust: Arc<Trust>,
    clock: Clock,
    entropy: Arc<dyn Entropy>,
    grant: Authorize<A>,
    ages: Ages,
    open: Mutex<HashMap<u64, Arc<Entry<A>>>>,
    next: AtomicU64,
    was_stale: AtomicBool,
}

struct Entry<A> {
    remote: SocketAddr,
    session: Option<Arc<Session<A>>>,
    ends_at: Time,
    ended: OnceLock<Ended>,
    switch: Arc<Switch>,
    unread: Arc<Unread>,
}

/// A connection's place in the registry, given up when dropped.
pub(crate) struct Registration<A> {
    registry: Arc<Registry<A>>,
    id: u64,
    entry: Arc<Entry<A>>,
}

impl<A: Send + Sync + 'static> Registry<A> {
    /// An empty registry.
    pub fn new(
        trust: Arc<Trust>,
        clock: Clock,
        entropy: Arc<dyn Entropy>,
        grant: Authorize<A>,
        ages: Ages,
    ) -> Arc<Self> {
        let (open, next, was_stale) = Default::default();
        Arc::new(Self { trust, clock, entropy, grant, ages, open, next, was_stale })
    }

    /// What sessions are checked against.
    pub fn trust(&self) -> &Arc<Trust> {
        &self.trust
    }

    /// The clock that sessions are checked by.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Number of open connections.
    pub fn len(&self) -> usize {
        self.entries().len()
    }

    /// Whether no connection is open.
    pub fn is_empty(&self) -> bool {
        self.entries().is_empty()
    }

    /// Enters a connection and, if it has an identity, checks it after that.
    pub(crate) fn register(
        self: &Arc<Self>,
        remote: SocketAddr,
        identity: Option<Arc<Identity>>,
    ) -> Result<Registration<A>, Refusal> {
        let now = (self.clock)();
        let session = identity.map(|identity| Arc::new(Session::new(identity, Arc::clone(&self.grant))));
        let ends_at = now.plus(if session.is_some() { self.draw_age() } else { self.ages.anonymous });
        let (ended, switch, unread) = Default::default();
        let entry = Arc::new(Entry { remote, session, ends_at, ended, switch, unread });
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.entries().insert(id, Arc::clone(&entry));
        let registration = Registration { registry: Arc::clone(self), id, entry };
        match registration.entry.session.as_ref().map(|session| session.check(&self.trust, now)) {
            // A stale node answers every call with the reason: better than a connection that just fails.
            None | Some(Ok(_) | Err(Refusal::Stale)) => Ok(registration),
            Some(Err(refusal)) => Err(refusal),
        }
    }

    /// Looks at every open connection and ends those that are too old or no longer admitted, and lets calls run in
    /// between. Returns how many it ended. Their sessions end at once, the connections after [`Ages::notice`].
    pub async fn sweep(&self, now: Time) -> usize {
        self.sweep_at(now, Instant::now()).await
    }

    /// `instant`: `now` on the clock that silence is measured by.
    async fn sweep_at(&self, now: Time, instant: Instant) -> usize {
        let (open, became_stale) = (self.open(), self.becomes_stale());
        let mut ended = 0_usize;
        for part in open.chunks(SWEEP_PART) {
            let verdict = |entry: &Entry<A>| match entry.verdict(&self.trust, now, (&self.ages, instant))? {
                // Those who came after the node became stale were told so in each call.
                Ended::Refused(Refusal::Stale) if !became_stale => None,
                ended => Some(ended),
            };
            ended = ended.saturating_add(self.end(part, verdict));
            yield_now().await;
        }
        ended
    }

    /// Whether it is now, and was not at the last sweep.
    fn becomes_stale(&self) -> bool {
        let stale = self.trust.refuses_all();
        let was_stale = self.was_stale.swap(stale, Ordering::AcqRel);
        stale && !was_stale
    }

    fn open(&self) -> Vec<Arc<Entry<A>>> {
        self.entries().values().cloned().collect()
    }

    /// Ends all connections, for the end of a graceful shutdown. Returns how many it ended.
    pub fn drain(&self) -> usize {
        self.end(&self.open(), |_| Some(Ended::Drained))
    }

    fn end(&self, open: &[Arc<Entry<A>>], verdict: impl Fn(&Entry<A>) -> Option<Ended>) -> usize {
        let alive = open.iter().filter(|entry| entry.ended.get().is_none());
        let ended = alive.filter(|entry| verdict(entry).is_some_and(|reason| entry.end(reason)));
        let ended: Vec<_> = ended.cloned().collect();
        let (count, notice) = (ended.len(), self.ages.notice);
        if count > 0 {
            tokio::spawn(async move {
                sleep(notice).await;
                ended.iter().for_each(|entry| entry.switch.cut());
            });
        }
        count
    }

    /// Sweeps whenever `epoch` is notified and each second, until `shutdown`. Spawn it once.
    pub async fn run(self: Arc<Self>, mut epoch: watch::Receiver<u64>, shutdown: CancellationToken) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut feed_alive = true;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                changed = epoch.changed(), if feed_alive => feed_alive = changed.is_ok(),
                _ = tick.tick() => {}
            }
            let ended = self.sweep((self.clock)()).await;
            if ended > 0 {
                tracing::info!(connections.ended = ended, "connections ended");
            }
        }
    }

    fn draw_age(&self) -> Lifetime {
        let range = u64::from(self.ages.jitter.as_seconds()).saturating_add(1);
        let drawn = u64::from_be_bytes(random(&*self.entropy)).checked_rem(range).unwrap_or(0);
        let jitter = u32::try_from(drawn).unwrap_or(0);
        Lifetime::seconds(self.ages.max_age.as_seconds().saturating_add(jitter))
    }
}

impl<A> Registry<A> {
    /// A poisoned lock means that another thread panicked between two map operations; the map is whole.
    fn entries(&self) -> MutexGuard<'_, HashMap<u64, Arc<Entry<A>>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<A: Send + Sync + 'static> Entry<A> {
    fn verdict(&self, trust: &Trust, now: Time, (ages, instant): (&Ages, Instant)) -> Option<Ended> {
        if let Some(Err(refusal)) = self.session.as_ref().map(|session| session.check(trust, now)) {
            return Some(Ended::Refused(refusal));
        }
        let answer = if self.session.is_some() { ages.answer } else { ages.anonymous_answer };
        match () {
            () if now >= self.ends_at => Some(Ended::MaxAge),
            () if self.unread.is_overdue(answer, instant) => Some(Ended::AnswerUnread),
            () => None,
        }
    }

    /// Returns whether it had not ended before.
    fn end(&self, reason: Ended) -> bool {
        let first = self.ended.set(reason).is_ok();
        if let Some(session) = &self.session {
            session.end(reason);
        }
        first
    }
}

impl<A> Registration<A> {
    pub(crate) fn session(&self) -> Option<&Arc<Session<A>>> {
        self.entry.session.as_ref()
    }

    pub(crate) fn remote(&self) -> SocketAddr {
        self.entry.remote
    }

    pub(crate) fn unread(&self) -> &Arc<Unread> {
        &self.entry.unread
    }

    pub(crate) fn switch(&self) -> &Arc<Switch> {
        &self.entry.switch
    }

    pub(crate) fn ended(&self) -> Ended {
        self.entry.ended.get().copied().unwrap_or(Ended::Closed)
    }
}

impl<A> Drop for Registration<A> {
    fn drop(&mut self) {
        self.registry.entries().remove(&self.id);
    }
}

impl<A> fmt::Debug for Registry<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("open", &self.entries().len()).field("ages", &self.ages).finish()
    }
}

#[cfg(test)]
mod tests {
    use signet_core::{PrincipalType, Serial, trust::WhenStale};
    use signet_testkit::{fixtures, pki::Pki};

    use super::*;

    #[derive(Debug)]
    struct Zeros;

    impl Entropy for Zeros {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(0);
        }
    }

    #[tokio::test]
    async fn who_does_not_take_an_answer_is_cut() {
        let now = Time::from_unix_millis(1_800_000_000_000);
        let trust = Arc::new(Trust::new(Lifetime::hours(1), WhenStale::Refuse, crate::system_uptime));
        trust.heard(crate::system_uptime());
        let clock: Clock = Arc::new(move || now);
        let grant: Authorize<()> = Arc::new(|_, _| ());
        let ca = Pki::new(now).tenant_ca("acme", 1).ca;
        trust.set_tenant(&fixtures::tenant(&ca.tenant), std::slice::from_ref(&ca));
        let worker = Arc::new(Identity {
            tenant: ca.tenant.clone(),
            principal_type: PrincipalType::Worker,
            principal: "w-1".parse().unwrap(),
            roles: [].into(),
            serial: Serial::new(now, [0; 10]),
            issuer: ca.id.clone(),
            not_before: now,
            not_after: now.plus(Lifetime::hours(1)),
            spki_sha256: [0; 32],
            certificate_sha256: [0; 32],
        });
        let Ages { answer, anonymous_answer, .. } = Ages::default();
        for (identity, limit) in [(Some(worker), answer), (None, anonymous_answer)] {
            let registry = Registry::new(
                Arc::clone(&trust),
                Arc::clone(&clock),
                Arc::new(Zeros),
                Arc::clone(&grant),
                Ages::default(),
            );
            let open = || registry.register("192.0.2.1:443".parse().unwrap(), identity.clone()).unwrap();
            let (idle, quick, slow) = (open(), open(), open());
            let (read, unread) = (quick.unread().begin(), slow.unread().begin());
            let begun = Instant::now();
            // A later answer that is taken does not save an older one.
            drop(slow.unread().begin());
            drop(read);
            assert_eq!(registry.sweep_at(now, begun + limit / 2).await, 0);
            assert_eq!(registry.sweep_at(now, begun + limit + Duration::from_millis(1)).await, 1);
            let ended = (slow.ended(), quick.ended(), idle.ended());
            assert_eq!(ended, (Ended::AnswerUnread, Ended::Closed, Ended::Closed));
            drop(unread);
        }
    }
}
