//! Puts onto the revocation lists what was revoked a moment ago.
//!
//! The node that revokes renews the list at once. The others hear of the revocation by the feed and look for the new
//! list; where none comes, one of them makes it. At most one list of a CA is made in a second, a long one more rarely.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt, stream};
use signet_app::{
    Chore, Revocation,
    authorities::{lists, revoked},
};
use signet_core::{
    CaId, Entropy, Error, Lifetime, Serial, Time,
    authorities::{RevocationList, signer::random},
    trust::Anchor,
};
use signet_x509::{
    IssuerCert,
    crl::{RevokedEntry, verified_entries},
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::lists::{List, Lists};

/// How often it is looked whether another node has made a list that is waited for.
const LOOK_SOON: Duration = Duration::from_millis(100);
/// How long that node is waited for, and as much again at random.
const TAKE_OVER_AFTER: Duration = Duration::from_secs(2);
/// After a failure.
const RETRY: Duration = Duration::from_secs(5);
/// After that the revocation is left to the list's renewal, which goes by the index.
const GIVE_UP_AFTER: Duration = Duration::from_secs(600);
/// Least time between two lists of a CA, for each part that a list has.
const APART: Lifetime = Lifetime::seconds(1);
/// Reads, and CAs looked after, at once.
const AT_ONCE: usize = 16;

/// Puts what was revoked onto the lists.
pub(crate) struct Keeper {
    lists: Arc<Lists>,
    entropy: Arc<dyn Entropy>,
    /// Whose CA is not known yet, after a failure.
    unresolved: Vec<Revocation>,
    waiting: HashMap<CaId, Waiting>,
}

/// Revocations that may not stand on a CA's list yet.
struct Waiting {
    entries: Vec<RevokedEntry>,
    since: Instant,
    /// From then on this node makes the list.
    take_over_at: Instant,
    look_at: Instant,
}

impl Keeper {
    pub(crate) fn new(lists: Arc<Lists>, entropy: Arc<dyn Entropy>) -> Self {
        Self { lists, entropy, unresolved: Vec::new(), waiting: HashMap::new() }
    }

    /// Works until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let app = Arc::clone(&self.lists.app);
        loop {
            let noted = app.revocations().take();
            self.resolve(noted).await;
            self.work().await;
            let retry = (!self.unresolved.is_empty()).then(|| Instant::now() + RETRY);
            let next = self.waiting.values().map(|waiting| waiting.look_at).chain(retry).min();
            let next = async {
                match next {
                    Some(next) => tokio::time::sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = app.revocations().noted() => {}
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
        let new = || Waiting { entries: Vec::new(), since: now, take_over_at, look_at: now };
        let waiting = self.waiting.entry(ca).or_insert_with(new);
        waiting.entries.push(entry);
        waiting.take_over_at = waiting.take_over_at.min(take_over_at);
        if own {
            waiting.look_at = waiting.look_at.min(now);
        }
    }

    /// Looks after the lists whose time has come.
    async fn work(&mut self) {
        let now = Instant::now();
        let due = self.waiting.extract_if(|_, waiting| waiting.look_at <= now);
        let due: Vec<(CaId, Waiting)> = due.collect();
        let (lists, chore) = (&self.lists, self.chore());
        let one = |(ca, waiting): (CaId, Waiting)| {
            let chore = &chore;
            async move {
                let left = look_after(lists, chore, &ca, waiting).await;
                (ca, left)
            }
        };
        let left: Vec<_> = stream::iter(due).map(one).buffer_unordered(AT_ONCE).collect().await;
        self.waiting.extend(left.into_iter().filter_map(|(ca, left)| Some((ca, left?))));
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
        let there = serials(lists, known);
        waiting.entries.retain(|entry| !there.contains(&entry.serial));
    }
    if waiting.entries.is_empty() {
        return Ok(());
    }
    let now = Instant::now();
    let pause = known.as_ref().map_or(Duration::ZERO, |known| pause_after(&known.head, chore.now));
    if now < waiting.take_over_at || !pause.is_zero() {
        waiting.look_at = now + if now < waiting.take_over_at { LOOK_SOON } else { pause };
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
    let apart = APART.millis().saturating_mul(i64::from(head.parts.max(1)));
    let left = apart.saturating_sub(now.millis_since(head.this_update));
    if left > apart { Duration::ZERO } else { Duration::from_millis(u64::try_from(left).unwrap_or(0)) }
}

/// The numbers on a list; none if it is not one that the CA signed.
fn serials(lists: &Lists, list: &List) -> HashSet<Serial> {
    let owner = list.head.ca.owner();
    let anchors = lists.trust.tenant(&owner).map(|tenant| tenant.anchors);
    let shared = lists.trust.shared_anchors();
    let mut anchors = anchors.iter().flat_map(|anchors| anchors.iter()).chain(shared.iter());
    let anchor = anchors.find(|anchor| anchor.ca == list.head.ca);
    let issuer = anchor.and_then(|anchor| IssuerCert::from_der(&anchor.certificate_der).ok());
    let entries = issuer.and_then(|issuer| verified_entries(&list.der, &issuer).ok());
    entries.into_iter().flatten().map(|entry| entry.serial).collect()
}
