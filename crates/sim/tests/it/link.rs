//! A node's way to the store: it takes time, fails before or after the store did its work, and may be cut.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use signet_core::{
    Store, StoreError, Time,
    store::{Body, Key, Page, Query, Transaction, Versioned},
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::site::Site;

/// One process of a node; the next one after a kill has another.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) node: usize,
    pub(crate) site: Arc<Site>,
    /// Writes what this release does not know.
    pub(crate) is_later_release: bool,
    pub(crate) is_cut: AtomicBool,
    /// What the node's clock is ahead, in milliseconds.
    pub(crate) ahead: AtomicI64,
    /// Killed: no call goes on, not even one that nobody waits for.
    pub(crate) dead: CancellationToken,
}

impl Link {
    /// The node's clock.
    pub(crate) fn now(&self) -> Time {
        Time::from_unix_millis(self.site.now().unix_millis() + self.ahead.load(Ordering::SeqCst))
    }

    async fn one_way(&self) -> Result<(), StoreError> {
        let site = &self.site;
        let millis = match site.is_calm() {
            true => 1,
            false => match site.draw(100) {
                0..90 => 1 + site.draw(10),
                90..99 => site.draw(150),
                _ => site.draw(3000),
            },
        };
        sleep(Duration::from_millis(millis)).await;
        if self.dead.is_cancelled() {
            return pending().await;
        }
        if self.is_cut.load(Ordering::SeqCst) { Err(unavailable()) } else { Ok(()) }
    }

    fn fails(&self, percent: u64) -> bool {
        !self.site.is_calm() && self.site.draw(100) < percent
    }

    async fn read<T>(&self, read: impl Future<Output = Result<T, StoreError>> + Send) -> Result<T, StoreError> {
        self.one_way().await?;
        if self.fails(2) {
            return Err(unavailable());
        }
        let answer = read.await;
        self.one_way().await?;
        answer
    }
}

fn unavailable() -> StoreError {
    StoreError::Unavailable("injected".into())
}

#[async_trait]
impl Store for Link {
    async fn get(&self, key: &Key, now: Time) -> Result<Option<Versioned<Body>>, StoreError> {
        self.read(self.site.store.get(key, now)).await
    }

    async fn query(&self, query: &Query, now: Time) -> Result<Page, StoreError> {
        self.read(async { Ok(self.site.query(query, now)) }).await
    }

    async fn transact(&self, transaction: Transaction) -> Result<(), StoreError> {
        self.one_way().await?;
        if self.fails(2) {
            return Err(unavailable());
        }
        let lost = || StoreError::Unknown("injected".into());
        if self.fails(2) {
            return Err(lost());
        }
        let answer = self.site.apply(self.node, self.is_later_release, transaction).await;
        self.one_way().await.map_err(|_| lost())?;
        if self.fails(4) { Err(lost()) } else { answer }
    }
}
