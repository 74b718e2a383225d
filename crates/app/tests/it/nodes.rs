//! Several nodes over one store.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use signet_app::{App, Call, Follower, Settings, bootstrap, tenants};
use signet_core::{
    Error, KeyError, KeyLabel, KeyManager, KeyRef, Signer, Store, TenantId, Time, WrapLabel, WrappedKey,
    tokens::TokenAlgorithm,
    trust::{DEFAULT_STALENESS_LIMIT, Trust, WhenStale},
};
use signet_sqlite::SqliteStore;
use signet_testkit::{entropy::SeededEntropy, fixtures::NOW, memory_store::MemoryStore, uptime::TestUptime, wrapping};
use signet_x509::{Environment, KeyPair};
use tempfile::TempDir;
use zeroize::Zeroizing;

use crate::world::{bootstrap_input, call, environment, new_tenant};

/// A bootstrapped environment with the tenant `acme`, on which nodes are started.
pub(crate) struct Site {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) keys: Arc<PlainKeys>,
    pub(crate) app: Arc<App>,
    seed: AtomicI64,
    _folder: Option<TempDir>,
}

impl Site {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(&folder.path().join("store")).unwrap());
        Self { _folder: Some(folder), ..Self::on(store).await }
    }

    /// Nothing of it waits for another thread: for paused time.
    pub(crate) async fn in_memory() -> Self {
        Self::on(Arc::new(MemoryStore::default())).await
    }

    pub(crate) async fn on(store: Arc<dyn Store>) -> Self {
        let keys = Arc::new(PlainKeys::default());
        let app = build(&store, &keys, 0, Settings::default());
        bootstrap::bootstrap(&app, &Call::process("bootstrap", NOW), &bootstrap_input()).await.unwrap();
        tenants::create_tenant(&app, &call("CreateTenant"), &environment(), new_tenant("acme")).await.unwrap();
        Self { store, keys, app, seed: AtomicI64::new(1), _folder: None }
    }

    /// Another process' application, over `store`.
    pub(crate) fn app_on(&self, store: &Arc<dyn Store>, settings: Settings) -> Arc<App> {
        build(store, &self.keys, self.seed.fetch_add(1, Ordering::SeqCst), settings)
    }

    /// Another node.
    pub(crate) fn node(&self) -> Node {
        self.node_on(&self.store)
    }

    pub(crate) fn node_on(&self, store: &Arc<dyn Store>) -> Node {
        let app = self.app_on(store, Settings::default());
        let uptime = TestUptime::default();
        let trust = Arc::new(Trust::new(DEFAULT_STALENESS_LIMIT, WhenStale::Refuse, uptime.clock()));
        let follower = Follower::new(app, Arc::clone(&trust));
        Node { trust, follower, uptime }
    }
}

fn build(store: &Arc<dyn Store>, keys: &Arc<PlainKeys>, seed: i64, settings: Settings) -> Arc<App> {
    let environment = Environment::with_default_arc("test.example.com".parse().unwrap()).unwrap();
    let entropy = Arc::new(SeededEntropy::new(seed.unsigned_abs()));
    Arc::new(App::new(Arc::clone(store), Arc::clone(keys) as Arc<dyn KeyManager>, entropy, environment, settings))
}

pub(crate) struct Node {
    pub(crate) trust: Arc<Trust>,
    pub(crate) follower: Follower,
    pub(crate) uptime: TestUptime,
}

impl Node {
    pub(crate) async fn poll(&mut self, now: Time) -> Result<(), Error> {
        self.uptime.follow(now);
        self.follower.poll(now).await
    }
}

/// Asks until the answer is yes, for ten seconds at most. Returns how long it took.
pub(crate) async fn eventually(what: &str, mut yes: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !yes() {
        assert!(start.elapsed() < Duration::from_secs(10), "not within ten seconds: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    start.elapsed()
}

/// Keys in memory.
#[derive(Debug, Default)]
pub(crate) struct PlainKeys(Mutex<HashMap<KeyRef, Arc<KeyPair>>>);

impl PlainKeys {
    /// Makes the key `name`.
    pub(crate) fn make(&self, name: &str) -> KeyRef {
        let key: KeyRef = format!("memory:{name}").parse().unwrap();
        self.0.lock().unwrap().entry(key.clone()).or_insert_with(|| Arc::new(KeyPair::generate().unwrap()));
        key
    }

    /// Whether the signature is that key's.
    pub(crate) fn check(&self, key: &KeyRef, message: &[u8], signature: &[u8]) -> bool {
        self.0.lock().unwrap()[key].public_key().verify(message, signature).is_ok()
    }
}

#[async_trait]
impl KeyManager for PlainKeys {
    async fn create(&self, label: &KeyLabel) -> Result<KeyRef, KeyError> {
        Ok(self.make(&label.ca.to_string()))
    }

    async fn end(&self, key: &KeyRef, _: &TenantId) -> Result<(), KeyError> {
        self.0.lock().unwrap().remove(key);
        Ok(())
    }

    async fn make_wrapped(&self, label: &WrapLabel, algorithm: TokenAlgorithm) -> Result<WrappedKey, KeyError> {
        Ok(wrapping::make_wrapped(label, algorithm))
    }

    async fn make_data_key(&self, label: &WrapLabel) -> Result<Vec<u8>, KeyError> {
        Ok(wrapping::make_data_key(label))
    }

    async fn unwrap(&self, label: &WrapLabel, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        wrapping::unwrap(label, wrapped)
    }

    async fn open(&self, key: &KeyRef) -> Result<Arc<dyn Signer>, KeyError> {
        let found = self.0.lock().unwrap().get(key).cloned();
        Ok(Arc::new(PlainSigner(found.ok_or_else(|| KeyError::NotFound(key.to_string()))?)))
    }
}

#[derive(Debug)]
struct PlainSigner(Arc<KeyPair>);

#[async_trait]
impl Signer for PlainSigner {
    fn spki_der(&self) -> &[u8] {
        self.0.public_key().spki_der()
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        Ok(self.0.sign(message).unwrap())
    }
}
