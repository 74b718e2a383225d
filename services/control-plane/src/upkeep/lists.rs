//! Puts onto the revocation lists what was revoked a moment ago.
//!
//! The node that revokes renews the list at once. The others hear of the revocation by the feed and look for the new
//! list; where none comes, one of them makes it. At most one list of a CA is made in a second, a long one more rarely.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt, stream};
use signet_app::{
    Chore, Revocation,
    authorities::{lists, revoked},
};
use signet_core::{
    CaId, Entropy, Error, Lifetime, Time,
    authorities::{RevocationList, signer::random},
    trust::Anchor,
};
use signet_x509::{IssuerCert, crl::RevokedEntry};
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::lists::Lists;

/// How often it is looked whether another node has made a list that is waited for.
const LOOK_SOON: Duration = Duration::from_millis(100);
/// How long that node is waited for, and as much again at random.
const TAKE_OVER_AFTER: Duration = Duration::from_secs(2);
/// After a failure.
const RETRY: Duration = Duration::from_secs(5);
/// After that the revocation is left to the list's renewal, which goes by the index.
const GIVE_UP_AFTER: Duration = Duration::from_secs(600);
/// Least time between two lists of a CA, for so many entries (50 kB): every list is written whole and kept for days.
const APART: Lifetime = Lifetime::seconds(1);
const ENTRIES: u64 = 1200;
/// Reads, and CAs looked after, at once.
const AT_ONCE: usize = 16;

/// Puts what was revoked onto the lists.
pub(crate) struct Keeper {
    lists: Arc<Lists>,
    entropy: Arc<dyn Entropy>,
    /// Whose CA is not known yet, after a failure.
    unresolved: Vec<Revocation>,
    waiting: HashMap<CaId, Waiting>,
    /// Whose list is looked after now.
    working: HashSet<CaId>,
}

/// Revocations that may not stand on a CA's list yet.
struct Waiting {
    entries: Vec<RevokedEntry>,
    since: Instant,
    /// From then on this node makes the list.
    take_over_at: Instant,
    look_at: Instant,
    /// Until then no list is made, since one was made just now.
    pause_until: Instant,
}

impl Keeper {
    pub(crate) fn new(lists: Arc<Lists>, entropy: Arc<dyn Entropy>) -> Self {
        Self { lists, entropy, unresolved: Vec::new(), waiting: HashMap::new(), working: HashSet::new() }
    }

    /// Works until `stop`. Each CA's list is looked after by itself: a long one keeps no other waiting.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let app = Arc::clone(&self.lists.app);
        let mut working = JoinSet::new();
        loop {
            let noted = app.revocations().take();
            self.resolve(noted).await;
            self.begin(&mut working);
            let retry = (!self.unresolved.is_empty()).then(|| Instant::now() + RETRY);
            let idle = self.waiting.iter().filter(|(ca, _)| !self.working.contains(*ca));
            let next = idle.map(|(_, waiting)| waiting.look_at).chain(retry).min();
            let next = async {
                match next {
                    Some(next) => tokio::time::sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = app.revocations().noted() => {}
                Some(done) = working.join_next() => match done {
                    Ok((ca, left)) => self.done(ca, left),
                    Err(error) => {
                        // Whose it was is lost; what it had is left to the lists' renewal.
                        self.working.clear();
                        tracing::error!(%error, "looking after a revocation list ended");
                    }
                },
                () = next => {}
            }
        }
    }

    fn chore(&self) -> Chore {
        Chore::new("revocation-lists", (self.lists.clock)())
    }

    /// Finds out what is to be put onto which list.
    async fn resolve(&mut self, noted: Vec<Revocation>) {
        let all = std::mem::take(&mut self.unresolved).into_iter().chain(noted);
        let chore = self.chore();
        let lists = &self.lists;
        let resolve = |revocation: Revocation| {
            let chore = &chore;
            async move { (entry(lists, chore, &revocation).await, revocation) }
        };
        let resolved: Vec<_> = stream::iter(all).map(resolve).buffer_unordered(AT_ONCE).collect().await;
        for (found, revocation) in resolved {
            match found {
                Ok(Some((ca, entry))) => self.wait(ca, entry, revocation.own),
                // Revoked without a record, or by a CA that is trusted no more.
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(cert.serial = %revocation.serial, ?error, "a revoked certificate cannot be read");
                    self.unresolved.push(revocation);
                }
            }
        }
    }

    fn wait(&mut self, ca: CaId, entry: RevokedEntry, own: bool) {
        let [part] = random(&*self.entropy);
        let now = Instant::now();
        let take_over_at = if own { now } else { now + TAKE_OVER_AFTER.mul_f64(1.0 + f64::from(part) / 256.0) };
        let new = Waiting { entries: vec![entry], since: now, take_over_at, look_at: now, pause_until: now };
        self.add(ca, new);
    }

    fn add(&mut self, ca: CaId, new: Waiting) {
        match self.waiting.entry(ca) {
            Entry::Vacant(vacant) => {
                vacant.insert(new);
            }
            Entry::Occupied(mut known) => known.get_mut().take_in(new),
        }
    }

    /// Begins with the lists whose time has come.
    fn begin(&mut self, working: &mut JoinSet<(CaId, Option<Waiting>)>) {
        let (now, room) = (Instant::now(), AT_ONCE.saturating_sub(self.working.len()));
        let is_due = |(ca, waiting): &(&CaId, &Waiting)| waiting.look_at <= now && !self.working.contains(*ca);
        let due: Vec<CaId> = self.waiting.iter().filter(is_due).map(|(ca, _)| ca.clone()).take(room).collect();
        for ca in due {
            let Some(waiting) = self.waiting.remove(&ca) else { continue };
            self.working.insert(ca.clone());
            let (lists, chore) = (Arc::clone(&self.lists), self.chore());
            working.spawn(async move {
                let left = look_after(&lists, &chore, &ca, waiting).await;
                (ca, left)
            });
        }
    }

    fn done(&mut self, ca: CaId, left: Option<Waiting>) {
        self.working.remove(&ca);
        if let Some(left) = left {
            self.add(ca, left);
        }
    }
}

impl Waiting {
    fn take_in(&mut self, other: Self) {
        self.entries.extend(other.entries);
        self.since = self.since.min(other.since);
        self.take_over_at = self.take_over_at.min(other.take_over_at);
        self.pause_until = self.pause_until.max(other.pause_until);
        // During the pause there is nothing to see.
        self.look_at = self.look_at.min(other.look_at).max(self.pause_until);
    }
}

/// What stands on the list of the CA that signed a revoked certificate.
async fn entry(lists: &Lists, chore: &Chore, revocation: &Revocation) -> Result<Option<(CaId, RevokedEntry)>, Error> {
    let Some(tenant) = lists.trust.tenant(&revocation.tenant) else { return Ok(None) };
    for Anchor { ca, .. } in tenant.anchors.iter() {
        if revocation.issuer.as_ref().is_some_and(|issuer| issuer != ca) {
            continue;
        }
        if let Some(entry) = revoked::by_serial(&lists.app, chore, ca, &revocation.serial).await? {
            return Ok(Some((ca.clone(), entry)));
        }
    }
    Ok(None)
}

/// Returns what is not on the list yet.
async fn look_after(lists: &Lists, chore: &Chore, ca: &CaId, mut waiting: Waiting) -> Option<Waiting> {
    let now = Instant::now();
    if now.duration_since(waiting.since) >= GIVE_UP_AFTER {
        tracing::error!(ca.id = %ca, left = waiting.entries.len(), "revocations are left to the list's renewal");
        return None;
    }
    match put_on(lists, chore, ca, &mut waiting).await {
        Ok(()) if waiting.entries.is_empty() => return None,
        Ok(()) => {}
        Err(error) => {
            tracing::warn!(ca.id = %ca, ?error, "the revocation list cannot be made");
            waiting.look_at = now + RETRY;
        }
    }
    Some(waiting)
}

async fn put_on(lists: &Lists, chore: &Chore, ca: &CaId, waiting: &mut Waiting) -> Result<(), Error> {
    let known = lists.refreshed(ca).await?;
    if let Some(known) = &known {
        let there = known.serials(|| issuer(lists, ca));
        waiting.entries.retain(|entry| !there.contains(&entry.serial));
    }
    if waiting.entries.is_empty() {
        return Ok(());
    }
    let now = Instant::now();
    let pause = known.as_ref().map_or(Duration::ZERO, |known| pause_after(&known.head, chore.now));
    if now < waiting.take_over_at || !pause.is_zero() {
        waiting.look_at = now + if now < waiting.take_over_at { LOOK_SOON } else { pause };
        waiting.pause_until = now + pause;
        return Ok(());
    }
    if let Some(made) = lists::add(&lists.app, chore, ca, &waiting.entries).await? {
        lists.made(made);
    }
    waiting.entries.clear();
    Ok(())
}

/// How long the next list must wait. By a clock that is behind it does not.
fn pause_after(head: &RevocationList, now: Time) -> Duration {
    let apart = APART.millis().saturating_mul(i64::try_from(head.entries / ENTRIES).unwrap_or(i64::MAX).max(1));
    let left = apart.saturating_sub(now.millis_since(head.this_update));
    if left > apart { Duration::ZERO } else { Duration::from_millis(u64::try_from(left).unwrap_or(0)) }
}

fn issuer(lists: &Lists, ca: &CaId) -> Option<IssuerCert> {
    IssuerCert::from_der(&lists.trust.anchor(ca)?.certificate_der).ok()
}
