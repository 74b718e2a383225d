//! Revocation lists as a node knows them: out of memory, with a look at the store once a minute.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use signet_app::{App, SignedList, authorities::lists};
use signet_core::{CaId, Clock, Error, Serial, TenantId, authorities::RevocationList, trust::Trust};
use signet_x509::{IssuerCert, crl::verified_entries, pem};
use tokio::{
    sync::{OwnedMutexGuard, watch},
    time::Instant,
};

/// How long a list counts as the last one without a look, where nothing was revoked: renewals are not announced.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// After a look that failed.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// A CA's list in the forms that it is asked for in.
/// All who are answered with it share its bytes.
#[derive(Debug)]
pub(crate) struct List {
    pub(crate) head: RevocationList,
    pub(crate) der: Bytes,
    pub(crate) pem: Bytes,
    serials: OnceLock<HashSet<Serial>>,
}

impl List {
    /// The numbers on it, read once. `issuer`: of the CA that it should be signed by; of another's list none are.
    pub(crate) fn serials(&self, issuer: impl FnOnce() -> Option<IssuerCert>) -> &HashSet<Serial> {
        self.serials.get_or_init(|| {
            let entries = issuer().and_then(|issuer| verified_entries(&self.der, &issuer).ok());
            entries.into_iter().flatten().map(|entry| entry.serial).collect()
        })
    }
}

/// The lists that were asked for on this node.
pub(crate) struct Lists {
    pub(crate) app: Arc<App>,
    pub(crate) trust: Arc<Trust>,
    pub(crate) clock: Clock,
    slots: Mutex<HashMap<CaId, Arc<Slot>>>,
    /// Rises with every list that is new here.
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct Slot {
    list: ArcSwapOption<List>,
    /// When the next look is due; held during a look, so that all who ask share it.
    look_at: Arc<tokio::sync::Mutex<Option<Instant>>>,
}

/// A look that is this caller's.
type Look = OwnedMutexGuard<Option<Instant>>;

impl Lists {
    pub(crate) fn new(app: Arc<App>, trust: Arc<Trust>, clock: Clock) -> Self {
        Self { app, trust, clock, slots: Mutex::default(), changes: watch::Sender::new(0) }
    }

    /// Tells of every list that is new here.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The lists of the tenant's CAs in the order of its bundle, without those that do not exist yet. `None`: there is
    /// no such tenant.
    pub(crate) async fn of(self: &Arc<Self>, tenant: &TenantId) -> Option<Result<Vec<Arc<List>>, Error>> {
        let anchors = self.trust.tenant(tenant)?.anchors;
        let mut found = Vec::new();
        for anchor in anchors.iter() {
            match self.get(&anchor.ca).await {
                Ok(list) => found.extend(list),
                Err(error) => return Some(Err(error)),
            }
        }
        Some(Ok(found))
    }

    /// The last list of a CA that some tenant's leaves may be signed by. Only who finds none waits for the store.
    pub(crate) async fn get(self: &Arc<Self>, ca: &CaId) -> Result<Option<Arc<List>>, Error> {
        let slot = self.slot(ca);
        let good = || slot.list.load_full().filter(|list| (self.clock)() < list.head.next_update);
        let is_due = |look: &Look| look.is_none_or(|at| at <= Instant::now());
        if let Some(list) = good() {
            if let Some(look) = Arc::clone(&slot.look_at).try_lock_owned().ok().filter(is_due) {
                let (this, ca) = (Arc::clone(self), ca.clone());
                tokio::spawn(async move {
                    if let Err(error) = this.look_once(&ca, look).await {
                        tracing::warn!(ca.id = %ca, ?error, "the revocation list cannot be read");
                    }
                });
            }
            return Ok(Some(list));
        }
        let look = Arc::clone(&slot.look_at).lock_owned().await;
        if is_due(&look) {
            self.look_once(ca, look).await?;
        }
        Ok(good())
    }

    async fn look_once(&self, ca: &CaId, mut look: Look) -> Result<(), Error> {
        let looked = self.look(ca, &self.slot(ca)).await;
        *look = Some(Instant::now() + if looked.is_ok() { LOOK_EVERY } else { LOOK_AGAIN });
        looked
    }

    /// Looks for a newer list now.
    pub(crate) async fn refreshed(&self, ca: &CaId) -> Result<Option<Arc<List>>, Error> {
        let slot = self.slot(ca);
        self.look(ca, &slot).await?;
        Ok(slot.list.load_full())
    }

    async fn look(&self, ca: &CaId, slot: &Slot) -> Result<(), Error> {
        let known = slot.list.load().as_ref().map(|list| list.head.number);
        if let Some(newer) = lists::newer(&self.app, ca, known, (self.clock)()).await? {
            self.put(slot, newer);
        }
        Ok(())
    }

    /// Takes over a list that this node has made.
    pub(crate) fn made(&self, list: SignedList) {
        self.put(&self.slot(&list.head.ca), list);
    }

    /// A list with a lower number than one that was given away never takes its place.
    fn put(&self, slot: &Slot, SignedList { head, der }: SignedList) {
        let pem = pem::encode(pem::CRL, &der).into();
        let list = Arc::new(List { head, pem, der: der.into(), serials: OnceLock::new() });
        let is_newer = |known: &List| list.head.number > known.head.number;
        let before = slot.list.rcu(|known| match known {
            Some(known) if !is_newer(known) => Some(Arc::clone(known)),
            _ => Some(Arc::clone(&list)),
        });
        if before.is_none_or(|before| is_newer(&before)) {
            self.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
        }
    }

    fn slot(&self, ca: &CaId) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(ca.clone()).or_default())
    }
}
