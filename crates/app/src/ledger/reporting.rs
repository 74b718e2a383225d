//! Names every record that cannot be read, wherever it is met: the store goes on without it, and somebody must mend it.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use signet_core::{
    Lifetime, Store, StoreError, Time,
    store::{Body, Key, Page, Query, Transaction, Versioned},
};

/// The same record is named again after this long.
const REPEAT_AFTER: Lifetime = Lifetime::minutes(5);
/// Records remembered at once; beyond them each is named whenever it is met.
const REMEMBERED: usize = 1000;

/// The store, with a line in the log and a count for each record that cannot be read.
pub(crate) struct ReportingStore {
    inner: Arc<dyn Store>,
    named: Mutex<BTreeMap<String, Time>>,
    met: AtomicU64,
}

impl ReportingStore {
    pub(crate) fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, named: Mutex::default(), met: AtomicU64::new(0) }
    }

    /// How often one was met.
    pub(crate) fn met(&self) -> u64 {
        self.met.load(Ordering::Relaxed)
    }

    fn report(&self, key: &str, reason: &str, now: Time) {
        self.met.fetch_add(1, Ordering::Relaxed);
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if named.get(key).is_some_and(|at| now < at.plus(REPEAT_AFTER)) {
            return;
        }
        named.retain(|_, at| now < at.plus(REPEAT_AFTER));
        if named.len() < REMEMBERED {
            named.insert(key.to_owned(), now);
        }
        tracing::error!(target: "signet::records", record = key, reason, "a record cannot be read");
    }
}

impl fmt::Debug for ReportingStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl Store for ReportingStore {
    async fn get(&self, key: &Key, now: Time) -> Result<Option<Versioned<Body>>, StoreError> {
        let result = self.inner.get(key, now).await;
        if let Err(StoreError::Corrupt { key, reason }) = &result {
            self.report(key, reason, now);
        }
        result
    }

    async fn query(&self, query: &Query, now: Time) -> Result<Page, StoreError> {
        let page = self.inner.query(query, now).await?;
        for record in &page.unreadable {
            self.report(&record.key.to_string(), &record.reason, now);
        }
        Ok(page)
    }

    async fn transact(&self, transaction: Transaction) -> Result<(), StoreError> {
        self.inner.transact(transaction).await
    }

    async fn settle(&self) -> Result<(), StoreError> {
        self.inner.settle().await
    }
}
