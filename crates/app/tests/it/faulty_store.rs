//! A store that fails on purpose, around a real one, and that accuses: every transaction it applies must have exactly one
//! audit event, unless it only reserves.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use signet_core::{
    Store, StoreError, Time,
    audit::AuditEvent,
    certificate::{Certificate, CertificateState},
    store::{Body, Key, Page, Query, Table, Transaction, Versioned, Write},
};
use tokio::sync::RwLock;

/// What goes wrong with a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process ends just before.
    CrashBefore,
    /// The process ends just after.
    CrashAfter,
    /// It is not applied, and no answer comes.
    LostRequest,
    /// It is applied, and no answer comes.
    LostAnswer,
}

impl Fault {
    pub(crate) const ALL: [Self; 4] = [Self::CrashBefore, Self::CrashAfter, Self::LostRequest, Self::LostAnswer];
}

/// See the module's words.
pub(crate) struct FaultyStore {
    inner: Arc<dyn Store>,
    crashed: AtomicBool,
    calls: AtomicUsize,
    transactions: AtomicUsize,
    fault: Mutex<Option<(usize, Fault)>>,
    first: Mutex<Option<(usize, Happening)>>,
    applied: Arc<Mutex<Vec<Vec<Write>>>>,
    /// Shared by transactions between the real store and `applied`: what others can read already, but is not listed yet.
    listing: Arc<RwLock<()>>,
}

/// Something that happens at a chosen moment.
pub(crate) type Happening = Pin<Box<dyn Future<Output = ()> + Send>>;

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyStore").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl FaultyStore {
    pub(crate) fn new(inner: Arc<dyn Store>) -> Self {
        let (crashed, calls, transactions) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
        let (fault, first, applied) = (Mutex::default(), Mutex::default(), Arc::default());
        Self { inner, crashed, calls, transactions, fault, first, applied, listing: Arc::default() }
    }

    /// Lets something else happen just before the `number`-th transaction from now on (from 0).
    pub(crate) fn before(&self, number: usize, first: Happening) {
        *self.first.lock().unwrap() = Some((self.transactions() + number, first));
    }

    /// Lets the `number`-th transaction from now on (from 0) fail.
    pub(crate) fn arm(&self, number: usize, fault: Fault) {
        *self.fault.lock().unwrap() = Some((self.transactions.load(Ordering::SeqCst) + number, fault));
    }

    /// The process starts again. Returns whether the fault had happened.
    pub(crate) fn restart(&self) -> bool {
        self.crashed.store(false, Ordering::SeqCst);
        self.fault.lock().unwrap().take().is_none()
    }

    /// How many reads and transactions were tried.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// How many transactions were tried.
    pub(crate) fn transactions(&self) -> usize {
        self.transactions.load(Ordering::SeqCst)
    }

    /// Waits until what was sent is applied and listed, also for callers that are gone.
    pub(crate) async fn settled(&self) {
        let _all_listed = self.listing.write().await;
    }

    /// Whether these to-be-signed bytes were recorded.
    pub(crate) async fn has_reserved(&self, tbs_der: &[u8]) -> bool {
        self.settled().await;
        let is_it = |write: &Write| {
            matches!(write, Write::Create(Body::Certificate(record))
                if record.state == CertificateState::Reserved && record.tbs_der == tbs_der)
        };
        self.applied.lock().unwrap().iter().flatten().any(is_it)
    }

    /// How many writes are as asked.
    pub(crate) fn written(&self, is_it: impl Fn(&Write) -> bool) -> usize {
        self.applied.lock().unwrap().iter().flatten().filter(|write| is_it(write)).count()
    }

    /// All reservations, in order.
    pub(crate) fn reservations(&self) -> Vec<Certificate> {
        let applied = self.applied.lock().unwrap();
        let reservation = |write: &Write| match write {
            Write::Create(Body::Certificate(record)) => Some(record.clone()),
            _ => None,
        };
        applied.iter().flatten().filter_map(reservation).collect()
    }

    /// All audit events written since the start, in order.
    pub(crate) fn events(&self) -> Vec<AuditEvent> {
        let applied = self.applied.lock().unwrap();
        let event = |write: &Write| match write {
            Write::Create(Body::AuditEvent(event)) => Some(event.clone()),
            _ => None,
        };
        applied.iter().flatten().filter_map(event).collect()
    }

    fn check_alive(&self) -> Result<(), StoreError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if self.crashed.load(Ordering::SeqCst) {
            return Err(ended());
        }
        Ok(())
    }

    async fn apply(&self, transaction: Transaction) -> Result<(), StoreError> {
        let until_listed = Arc::clone(&self.listing).read_owned().await;
        let (inner, applied) = (Arc::clone(&self.inner), Arc::clone(&self.applied));
        // A transaction that was sent goes on when its caller is dropped; so must the listing.
        let sent = tokio::spawn(async move {
            let writes = transaction.writes().to_vec();
            inner.transact(transaction).await?;
            assert_one_event(&writes);
            applied.lock().unwrap().push(writes);
            drop(until_listed);
            Ok(())
        });
        sent.await.unwrap()
    }

    fn due(&self, number: usize) -> Option<Fault> {
        let mut armed = self.fault.lock().unwrap();
        let (at, fault) = (*armed)?;
        (at == number).then(|| {
            *armed = None;
            fault
        })
    }
}

fn ended() -> StoreError {
    StoreError::Unavailable("the process has ended".into())
}

/// Invariant 5: every state change has exactly one audit event, in the same transaction.
fn assert_one_event(writes: &[Write]) {
    let events = writes.iter().filter(|write| matches!(write, Write::Create(Body::AuditEvent(_)))).count();
    let only_reserves = writes.iter().all(|write| {
        matches!(write, Write::Create(Body::Request(_)))
            // The note of a warning that could not be told, and that of a look that was broken off.
            || matches!(write, Write::Delete(key, _) if key.table == Table::Requests)
            // What a tenant has, counted anew.
            || matches!(write, Write::Create(Body::QuotaCount(_)) | Write::Replace(Body::QuotaCount(_), _))
            || matches!(write, Write::Create(Body::BrokenOff(_)) | Write::Replace(Body::BrokenOff(_), _))
            || matches!(write, Write::Create(Body::Certificate(record)) if record.state == CertificateState::Reserved)
    });
    assert!(events == 1 || (events == 0 && only_reserves), "invariant 5: {events} audit events in {writes:#?}");
}

#[async_trait]
impl Store for FaultyStore {
    async fn get(&self, key: &Key, now: Time) -> Result<Option<Versioned<Body>>, StoreError> {
        self.check_alive()?;
        self.inner.get(key, now).await
    }

    async fn query(&self, query: &Query, now: Time) -> Result<Page, StoreError> {
        self.check_alive()?;
        self.inner.query(query, now).await
    }

    async fn transact(&self, transaction: Transaction) -> Result<(), StoreError> {
        self.check_alive()?;
        let number = self.transactions.fetch_add(1, Ordering::SeqCst);
        // A caller may go before anything is sent, as over a network.
        tokio::task::yield_now().await;
        let first = self.first.lock().unwrap().take_if(|(at, _)| *at == number);
        if let Some((_, first)) = first {
            first.await;
        }
        let lost = || StoreError::Unknown("lost by the test".into());
        match self.due(number) {
            None => self.apply(transaction).await,
            Some(Fault::LostRequest) => Err(lost()),
            Some(Fault::LostAnswer) => self.apply(transaction).await.and(Err(lost())),
            Some(fault) => {
                if fault == Fault::CrashAfter {
                    self.apply(transaction).await?;
                }
                self.crashed.store(true, Ordering::SeqCst);
                Err(ended())
            }
        }
    }
}
