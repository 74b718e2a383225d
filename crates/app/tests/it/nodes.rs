//! Several nodes over one store, and the ways in which reading it can go wrong.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use signet_app::{App, Call, Follower, Settings};
use signet_core::{
    Error, KeyError, KeyLabel, KeyManager, KeyRef, Signer, Store, StoreError, Time,
    change::ChangeEntry,
    store::{Body, Key, Page, Query, Transaction, Unreadable, Versioned},
    tenant::Tenant,
    trust::{DEFAULT_STALENESS_LIMIT, Trust, WhenStale},
};
use signet_sqlite::SqliteStore;
use signet_testkit::{entropy::SeededEntropy, fixtures::NOW, uptime::TestUptime};
use signet_x509::{Environment, KeyPair};
use tempfile::TempDir;

use crate::world::{bootstrap_input, call, environment, new_tenant};

/// A bootstrapped environment with the tenant `acme`, on which nodes are started.
pub(crate) struct Site {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) keys: Arc<PlainKeys>,
    pub(crate) app: Arc<App>,
    seed: AtomicI64,
    _folder: TempDir,
}

impl Site {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&folder.path().join("store")).unwrap());
        let keys = Arc::new(PlainKeys::default());
        let app = build(&store, &keys, 0, Settings::default());
        app.bootstrap(&Call::process("bootstrap", NOW), &bootstrap_input()).await.unwrap();
        app.create_tenant(&call("CreateTenant"), &environment(), new_tenant("acme")).await.unwrap();
        Self { store, keys, app, seed: AtomicI64::new(1), _folder: folder }
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

/// A store whose network fails, and whose indexes lag behind.
#[derive(Debug)]
pub(crate) struct Flaky {
    inner: Arc<dyn Store>,
    down: AtomicBool,
    read_fails: Countdown,
    transaction_fails: Countdown,
    /// Whether a failing transaction is applied nevertheless.
    applies: AtomicBool,
    hidden: Mutex<Vec<Hidden>>,
    damaged: Mutex<BTreeSet<Key>>,
    earlier: Mutex<Option<Tenant>>,
}

/// Which call from now on (from 0) fails; negative: none does.
#[derive(Debug)]
struct Countdown(AtomicI64);

impl Countdown {
    fn is_due(&self) -> bool {
        self.0.load(Ordering::SeqCst) >= 0 && self.0.fetch_sub(1, Ordering::SeqCst) == 0
    }
}

/// What queries leave out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hidden {
    /// Every index: all of it.
    Indexes,
    /// Every index: this audit event.
    Event(String),
    /// The next answer that has it: the entry of this feed shard with this number.
    EntryOnce(u32, u64),
}

/// Makes of a record one that cannot be read.
fn unreadable(record: &Versioned<Body>) -> Unreadable {
    let (key, expires_at) = (record.value.key(), record.value.expires_at());
    Unreadable { key, expires_at, reason: "damaged by the test".into() }
}

impl Flaky {
    pub(crate) fn new(inner: &Arc<dyn Store>) -> Arc<Self> {
        let never = || Countdown(AtomicI64::new(-1));
        Arc::new(Self {
            inner: Arc::clone(inner),
            down: AtomicBool::new(false),
            read_fails: never(),
            transaction_fails: never(),
            applies: AtomicBool::new(false),
            hidden: Mutex::default(),
            damaged: Mutex::default(),
            earlier: Mutex::default(),
        })
    }

    pub(crate) fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    /// Lets the read `number` from now on (from 0) fail.
    pub(crate) fn fail_read(&self, number: i64) {
        self.read_fails.0.store(number, Ordering::SeqCst);
    }

    /// Lets the transaction `number` from now on (from 0) fail, after it was applied if `applies`.
    pub(crate) fn fail_transaction(&self, number: i64, applies: bool) {
        self.applies.store(applies, Ordering::SeqCst);
        self.transaction_fails.0.store(number, Ordering::SeqCst);
    }

    /// Lets no call fail any more. Returns whether all that were to fail have.
    pub(crate) fn has_failed(&self) -> bool {
        [&self.read_fails, &self.transaction_fails].map(|fails| fails.0.swap(-1, Ordering::SeqCst) < 0) == [true; 2]
    }

    pub(crate) fn hide(&self, hidden: Hidden) {
        self.hidden.lock().unwrap().push(hidden);
    }

    /// Lets the record at `key` be one that cannot be read.
    pub(crate) fn damage(&self, key: Key) {
        self.damaged.lock().unwrap().insert(key);
    }

    pub(crate) fn mend_all(&self) {
        self.damaged.lock().unwrap().clear();
    }

    /// Lets the next query that finds this tenant see it as it was.
    pub(crate) fn show_earlier(&self, tenant: Tenant) {
        *self.earlier.lock().unwrap() = Some(tenant);
    }

    pub(crate) fn show_all(&self) {
        self.hidden.lock().unwrap().clear();
    }

    fn check(&self) -> Result<(), StoreError> {
        if self.read_fails.is_due() || self.down.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("switched off by the test".into()));
        }
        Ok(())
    }

    fn shows(&self, body: &Body, index: bool) -> bool {
        let mut hidden = self.hidden.lock().unwrap();
        let hides = |hidden: &Hidden| match (hidden, body) {
            (Hidden::Indexes, _) => index,
            (Hidden::Event(id), Body::AuditEvent(event)) => index && event.id == *id,
            (Hidden::EntryOnce(of, number), Body::Change(ChangeEntry { shard, sequence, .. })) => {
                (of, number) == (shard, sequence)
            }
            _ => false,
        };
        let Some(found) = hidden.iter().position(hides) else { return true };
        if matches!(hidden[found], Hidden::EntryOnce(..)) {
            hidden.remove(found);
        }
        false
    }
}

#[async_trait]
impl Store for Flaky {
    async fn get(&self, key: &Key, now: Time) -> Result<Option<Versioned<Body>>, StoreError> {
        self.check()?;
        let found = self.inner.get(key, now).await?;
        let damaged = found.as_ref().filter(|record| self.damaged.lock().unwrap().contains(&record.value.key()));
        damaged.map(unreadable).map_or(Ok(found.clone()), |unreadable| Err(unreadable.into()))
    }

    async fn query(&self, query: &Query, now: Time) -> Result<Page, StoreError> {
        self.check()?;
        let mut page = self.inner.query(query, now).await?;
        page.records.retain(|record| self.shows(&record.value, query.index.is_some()));
        for record in &mut page.records {
            let Body::Tenant(tenant) = &mut record.value else { continue };
            let earlier = self.earlier.lock().unwrap().take_if(|earlier| earlier.id == tenant.id);
            *tenant = earlier.unwrap_or_else(|| tenant.clone());
        }
        let damaged = self.damaged.lock().unwrap().clone();
        let is_damaged = |record: &mut Versioned<Body>| damaged.contains(&record.value.key());
        page.unreadable.extend(page.records.extract_if(.., is_damaged).map(|record| unreadable(&record)));
        Ok(page)
    }

    async fn transact(&self, transaction: Transaction) -> Result<(), StoreError> {
        if !self.transaction_fails.is_due() {
            return self.inner.transact(transaction).await;
        }
        if self.applies.load(Ordering::SeqCst) {
            self.inner.transact(transaction).await?;
        }
        Err(StoreError::Unknown("lost by the test".into()))
    }
}
