//! A world's parts with a store that fails when told to.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use secrecy::SecretString;
use signet_app::{App, Settings};
use signet_control_plane::wiring::Wired;
use signet_core::{
    Store, StoreError, Time,
    store::{Body, Key, Page, Query, Table, Transaction, Versioned},
};
use signet_softkey::SoftKeys;
use signet_sqlite::SqliteStore;

use crate::world::{PASSPHRASE, World};

/// What goes wrong.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    off: Arc<AtomicBool>,
    panic: Arc<AtomicBool>,
    slow: Arc<AtomicBool>,
    waiting: Arc<AtomicUsize>,
}

impl Faults {
    /// Writes wait.
    pub fn slow(&self, slow: bool) {
        self.slow.store(slow, Ordering::Release);
    }

    /// How many writes wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    /// The store is away.
    pub fn off(&self, off: bool) {
        self.off.store(off, Ordering::Release);
    }

    /// Reading a principal panics.
    pub fn panic(&self, panic: bool) {
        self.panic.store(panic, Ordering::Release);
    }
}

#[derive(Debug)]
struct Faulty {
    store: SqliteStore,
    faults: Faults,
}

impl Faulty {
    fn on(&self) -> Result<(), StoreError> {
        let off = self.faults.off.load(Ordering::Acquire);
        if off { Err(StoreError::Unavailable("switched off".into())) } else { Ok(()) }
    }
}

#[async_trait]
impl Store for Faulty {
    async fn get(&self, key: &Key, now: Time) -> Result<Option<Versioned<Body>>, StoreError> {
        self.on()?;
        assert!(key.table != Table::Principals || !self.faults.panic.load(Ordering::Acquire), "told to panic");
        self.store.get(key, now).await
    }
    async fn query(&self, query: &Query, now: Time) -> Result<Page, StoreError> {
        self.on()?;
        self.store.query(query, now).await
    }
    async fn transact(&self, transaction: Transaction) -> Result<(), StoreError> {
        self.on()?;
        self.faults.waiting.fetch_add(1, Ordering::AcqRel);
        while self.faults.slow.load(Ordering::Acquire) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let done = self.store.transact(transaction).await;
        self.faults.waiting.fetch_sub(1, Ordering::AcqRel);
        done
    }
}

/// The environment's parts over a faulty store.
pub fn faulty(world: &World, faults: &Faults) -> Wired {
    let store = SqliteStore::open(&world.dir.path().join("signet.db")).unwrap();
    let keys = SoftKeys::open(&world.dir.path().join("keys"), SecretString::from(PASSPHRASE)).unwrap();
    let store = Faulty { store, faults: faults.clone() };
    let environment = world.wired.app.environment().clone();
    let entropy = Arc::clone(&world.wired.entropy);
    let app = App::new(Arc::new(store), Arc::new(keys), entropy, environment, Settings::default());
    Wired { app: Arc::new(app), ..world.wired.clone() }
}
