//! A store that is as far away as one likes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use signet_core::{
    Store, StoreError, Time,
    store::{Body, Key, Page, Query, Transaction, Versioned},
};
use tokio::time::sleep;

/// See the module's words.
#[derive(Debug)]
pub(crate) struct SlowStore {
    inner: Arc<dyn Store>,
    micros: AtomicU64,
}

impl SlowStore {
    pub(crate) const fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, micros: AtomicU64::new(0) }
    }

    /// From now on each call takes so much longer.
    pub(crate) fn take(&self, latency: Duration) {
        self.micros.store(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Half of it on the way there, half on the way back.
    async fn travel(&self) {
        let micros = self.micros.load(Ordering::Relaxed) / 2;
        if micros > 0 {
            sleep(Duration::from_micros(micros)).await;
        }
    }
}

#[async_trait]
impl Store for SlowStore {
    async fn get(&self, key: &Key, now: Time) -> Result<Option<Versioned<Body>>, StoreError> {
        self.travel().await;
        let found = self.inner.get(key, now).await;
        self.travel().await;
        found
    }

    async fn query(&self, query: &Query, now: Time) -> Result<Page, StoreError> {
        self.travel().await;
        let page = self.inner.query(query, now).await;
        self.travel().await;
        page
    }

    async fn transact(&self, transaction: Transaction) -> Result<(), StoreError> {
        self.travel().await;
        let outcome = self.inner.transact(transaction).await;
        self.travel().await;
        outcome
    }
}
