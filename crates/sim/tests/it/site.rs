//! What all nodes share: time, chance, the store, the keys, and what is watched.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use serde_json::json;
use signet_core::{
    KeyError, KeyLabel, KeyManager, KeyRef, Lifetime, Signer, Store, StoreError, TenantId, Time,
    audit::sha256_hex,
    store::{Body, Key, Page, Query, Table, Transaction, Write},
};
use signet_testkit::{
    fixtures::NOW,
    memory_store::{Image, MemoryStore},
};
use signet_x509::KeyPair;
use tokio::time::{Duration, Instant, sleep};

use crate::{lag::Lag, oracle::Oracle};

/// A field that a later release writes and this one does not know.
const OF_A_LATER_RELEASE: &str = "of_a_later_release";

/// How long a call of the store takes at most, in milliseconds: as long as the DynamoDB adapter tries.
const LONGEST_CALL: u64 = 8_000;

/// How a run treats time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Times {
    /// Clocks differ by minutes, and an hour may pass at once.
    Fair,
    /// Clocks differ by most of an hour.
    BadClocks,
    /// The same, and an hour may pass at once.
    BadClocksAndLeaps,
    /// Hours or many months pass at once. Nothing is sealed: that goes by the minute.
    LongLeaps,
}

/// The store at one instant, and what was true then.
struct Backup {
    store: MemoryStore,
    oracle: Oracle,
    later: BTreeMap<Key, usize>,
}

/// See the module's words.
pub(crate) struct Site {
    pub(crate) store: MemoryStore,
    pub(crate) oracle: Mutex<Oracle>,
    /// Nothing fails and all is quick.
    pub(crate) calm: AtomicBool,
    pub(crate) times: Times,
    lag: Mutex<Lag>,
    backup: Mutex<Option<Backup>>,
    chance: Mutex<u64>,
    trace: Mutex<Vec<String>>,
    began: Instant,
    pairs: Mutex<HashMap<KeyRef, Arc<KeyPair>>>,
    /// What the later release wrote into records.
    later: Mutex<BTreeMap<Key, usize>>,
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Site")
    }
}

impl Site {
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            store: MemoryStore::default(),
            oracle: Mutex::default(),
            calm: AtomicBool::new(true),
            times: [Times::Fair, Times::BadClocks, Times::BadClocksAndLeaps, Times::LongLeaps][seed as usize % 4],
            lag: Mutex::default(),
            backup: Mutex::default(),
            chance: Mutex::new(seed),
            trace: Mutex::default(),
            began: Instant::now(),
            pairs: Mutex::default(),
            later: Mutex::default(),
        })
    }

    /// A number below `below`: SplitMix64.
    pub(crate) fn draw(&self, below: u64) -> u64 {
        let mut state = self.chance.lock().unwrap();
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    }

    /// Milliseconds since the start: true time, which no node's clock shows.
    pub(crate) fn millis(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap()
    }

    /// True time.
    pub(crate) fn now(&self) -> Time {
        let millis = i64::try_from(self.millis()).unwrap();
        Time::from_unix_millis(NOW.plus(Lifetime::days(1)).unix_millis() + millis)
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.calm.load(Ordering::SeqCst)
    }

    pub(crate) fn note(&self, line: &str) {
        let line = format!("{:>9} {line}", self.millis());
        self.trace.lock().unwrap().push(line);
    }

    pub(crate) fn accuse(&self, what: String) {
        self.oracle.lock().unwrap().violations.push(what);
    }

    pub(crate) fn trace_digest(&self) -> String {
        sha256_hex(self.trace.lock().unwrap().join("\n").as_bytes())
    }

    pub(crate) fn last_lines(&self, count: usize) -> String {
        let trace = self.trace.lock().unwrap();
        trace[trace.len().saturating_sub(count)..].join("\n")
    }

    /// Applies a transaction of `node`, and shows the oracle what became of it.
    pub(crate) async fn apply(
        &self,
        node: usize,
        is_later_release: bool,
        transaction: Transaction,
    ) -> Result<(), StoreError> {
        let written = transaction.writes().iter().filter(|write| !matches!(write, Write::Check(..)));
        let before: Vec<_> = written.map(|write| (write.key(), self.store.image(&write.key()))).collect();
        let result = self.store.transact(transaction.clone()).await;
        // A part's key has the list's digest, and that the CA's key, which is another in each run.
        let name = |write: &Write| match write {
            Write::Create(Body::RevocationListPart(part)) => format!("part of list {} of {}", part.number, part.ca),
            other => other.key().to_string(),
        };
        let keys: Vec<_> = transaction.writes().iter().map(name).collect();
        self.note(&format!("node {node} writes {} {result:?}", keys.join(" ")));
        if result.is_ok() {
            let (now, seen_at) = (self.millis(), self.show(before));
            self.oracle.lock().unwrap().applied(now, seen_at, &transaction);
            transaction.writes().iter().for_each(|write| self.keep_unknown_fields(write, is_later_release));
            // Nobody has an answer while queries see a part of it only, and nobody waits for one for ever.
            let wait = seen_at.saturating_sub(self.millis());
            sleep(Duration::from_millis(wait.min(LONGEST_CALL))).await;
            if wait > LONGEST_CALL {
                return Err(StoreError::Unknown("no answer in time".into()));
            }
        }
        result
    }

    /// Draws when queries see what was written: all soon, and now and then one part of it much later. Returns when all
    /// of it is seen.
    fn show(&self, before: Vec<(Key, Image)>) -> u64 {
        let (longest, last) = match self.is_calm() {
            true => (0, 0),
            false => match self.draw(100) {
                0..55 => (0, 0),
                55..75 => (100, 100),
                75..88 => (900, 900),
                88..96 => (900, 8_000),
                _ => (900, 30_000),
            },
        };
        let late = self.draw(before.len().max(1) as u64) as usize;
        let (mut lag, mut all_seen_at) = (self.lag.lock().unwrap(), self.millis());
        for (number, (key, before)) in before.into_iter().enumerate() {
            // Heads are never looked for by a query: writers would wait for nothing.
            if matches!(key.sort.as_str(), "head") {
                continue;
            }
            let seen_at = self.millis() + self.draw(if number == late { last } else { longest } + 1);
            let indexed_at = seen_at + if self.is_calm() { 0 } else { self.draw(2000) };
            all_seen_at = all_seen_at.max(lag.wrote(key, before, seen_at, indexed_at));
        }
        all_seen_at
    }

    /// What a query sees.
    pub(crate) fn query(&self, query: &Query, now: Time) -> Page {
        let earlier = self.lag.lock().unwrap().earlier(query, self.millis());
        self.store.query_seeing(query, now, &earlier)
    }

    /// Keeps the store as it is, for a restore.
    pub(crate) fn back_up(&self) {
        let (oracle, later) = (self.oracle.lock().unwrap().clone(), self.later.lock().unwrap().clone());
        *self.backup.lock().unwrap() = Some(Backup { store: self.store.copy(), oracle, later });
        self.note("backed up");
    }

    /// Takes the store back to what was kept, if something was; no process may run. What was undone is not true any
    /// more.
    pub(crate) fn restore(&self) -> bool {
        let backup = self.backup.lock().unwrap();
        let Some(Backup { store, oracle, later }) = &*backup else { return false };
        self.store.restore(store);
        *self.lag.lock().unwrap() = Lag::default();
        *self.later.lock().unwrap() = later.clone();
        let mut known = self.oracle.lock().unwrap();
        let violations = std::mem::take(&mut known.violations);
        *known = oracle.clone();
        known.violations = violations;
        drop(known);
        self.note("restored");
        true
    }

    /// Invariant 13: what the later release wrote survives, whoever replaces the record.
    fn keep_unknown_fields(&self, write: &Write, is_later_release: bool) {
        let (key, mut later) = (write.key(), self.later.lock().unwrap());
        let extended = matches!(key.table, Table::Tenants | Table::Principals | Table::Certificates);
        match write {
            Write::Create(_) | Write::Replace(..) if extended && is_later_release => {
                let mut body = self.store.body_of(&key).unwrap();
                let number = later.get(&key).map_or(1, |number| number + 1);
                body[OF_A_LATER_RELEASE] = json!(number);
                self.store.put_body(&key, &body);
                later.insert(key, number);
            }
            Write::Replace(..) => {
                let Some(number) = later.get(&key) else { return };
                if self.store.body_of(&key).unwrap()[OF_A_LATER_RELEASE] != json!(number) {
                    self.accuse(format!("invariant 13: {key} lost what a later release wrote"));
                }
            }
            Write::Create(_) | Write::Delete(..) => drop(later.remove(&key)),
            Write::Check(..) => {}
        }
    }

    pub(crate) fn make_key(&self, name: &str) -> KeyRef {
        let key: KeyRef = format!("memory:{name}").parse().unwrap();
        let pair = || Arc::new(KeyPair::generate().unwrap());
        self.pairs.lock().unwrap().entry(key.clone()).or_insert_with(pair);
        key
    }

    pub(crate) fn check_signature(&self, key: &KeyRef, message: &[u8], signature: &[u8]) -> bool {
        self.pairs.lock().unwrap()[key].public_key().verify(message, signature).is_ok()
    }
}

/// The site's keys as a node uses them. Signatures differ from run to run, so nothing may depend on their bytes.
#[derive(Debug)]
pub(crate) struct Keys(pub(crate) Arc<Site>);

#[async_trait]
impl KeyManager for Keys {
    async fn create(&self, label: &KeyLabel) -> Result<KeyRef, KeyError> {
        Ok(self.0.make_key(&label.ca.to_string()))
    }

    async fn end(&self, key: &KeyRef, _: &TenantId) -> Result<(), KeyError> {
        self.0.pairs.lock().unwrap().remove(key);
        Ok(())
    }

    async fn open(&self, key: &KeyRef) -> Result<Arc<dyn Signer>, KeyError> {
        let pair = self.0.pairs.lock().unwrap().get(key).cloned();
        let pair = pair.ok_or_else(|| KeyError::NotFound(key.to_string()))?;
        Ok(Arc::new(WatchedSigner { pair, is_audit: key.to_string() == "memory:audit", site: Arc::clone(&self.0) }))
    }
}

#[derive(Debug)]
struct WatchedSigner {
    pair: Arc<KeyPair>,
    is_audit: bool,
    site: Arc<Site>,
}

#[async_trait]
impl Signer for WatchedSigner {
    fn spki_der(&self) -> &[u8] {
        self.pair.public_key().spki_der()
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        if !self.is_audit && !self.site.oracle.lock().unwrap().has_record_of(message) {
            self.site.accuse("invariant 1: signed without a record made before".into());
        }
        if !self.site.is_calm() {
            let millis = 5 + self.site.draw(30);
            sleep(Duration::from_millis(millis)).await;
            if self.site.draw(100) < 2 {
                return Err(KeyError::Unavailable("injected".into()));
            }
        }
        Ok(self.pair.sign(message).unwrap())
    }
}
