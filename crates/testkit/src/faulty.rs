//! Wrappers that fail one call on purpose: before it took effect, or after it did, with its answer lost; and then go
//! on, or are gone for good like a process that died.
//!
//! A generated crash table runs an operation once to count its calls, and then once per call and [`Fault`]:
//!
//! ```ignore
//! every_fault(async |faults| {
//!     let (store, keys) = (faults.store(&inner), faults.keys(&inner_keys));
//!     let outcome = issue(&*store, &*keys).await;
//!     // Now look at `inner`: whatever `outcome` is, the invariants hold.
//! })
//! .await;
//! ```

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use signet_core::{
    KeyError, KeyLabel, KeyManager, KeyRef, Signer, Store, StoreError, Time,
    store::{Body, Key, Page, Query, Transaction, Versioned},
};

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It did nothing; later calls work.
    NotApplied,
    /// It did its work, but its answer was lost; later calls work.
    AnswerLost,
    /// It and all later calls did nothing: the process died before it.
    CrashBefore,
    /// It did its work; no later call does anything: the process died after it.
    CrashAfter,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::NotApplied, Self::AnswerLost, Self::CrashBefore, Self::CrashAfter];

    const fn takes_effect(self) -> bool {
        matches!(self, Self::AnswerLost | Self::CrashAfter)
    }
}

/// Which call fails, counted over everything that is wrapped, and what was called.
pub struct Faults {
    fault: Option<(usize, Fault)>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    calls: Vec<&'static str>,
    signed: Vec<Vec<u8>>,
}

/// Runs `run` without a fault and then with each fault at each call it made.
pub async fn every_fault(run: impl AsyncFn(Arc<Faults>)) {
    let calls = {
        let faults = Faults::none();
        run(Arc::clone(&faults)).await;
        faults.calls().len()
    };
    for call in 0..calls {
        for fault in Fault::ALL {
            run(Faults::at(call, fault)).await;
        }
    }
}

impl Faults {
    /// No call fails.
    pub fn none() -> Arc<Self> {
        Arc::new(Self { fault: None, seen: Mutex::default() })
    }

    /// The call of this number fails, counted from 0.
    pub fn at(call: usize, fault: Fault) -> Arc<Self> {
        Arc::new(Self { fault: Some((call, fault)), seen: Mutex::default() })
    }

    /// A store whose calls count.
    pub fn store(self: &Arc<Self>, inner: &Arc<dyn Store>) -> Arc<dyn Store> {
        Arc::new(FaultyStore { inner: Arc::clone(inner), faults: Arc::clone(self) })
    }

    /// A key manager whose calls count, and those of its signers.
    pub fn keys(self: &Arc<Self>, inner: &Arc<dyn KeyManager>) -> Arc<dyn KeyManager> {
        Arc::new(FaultyKeys { inner: Arc::clone(inner), faults: Arc::clone(self) })
    }

    /// What was called so far, in order: `get`, `query`, `transact`, `create`, `open`, `sign`.
    pub fn calls(&self) -> Vec<&'static str> {
        self.seen.lock().unwrap().calls.clone()
    }

    /// Every message that a key has signed so far, also those whose signature nobody got.
    pub fn signed(&self) -> Vec<Vec<u8>> {
        self.seen.lock().unwrap().signed.clone()
    }

    /// Counts a call; `Some` if it fails.
    fn next(&self, call: &'static str) -> Option<Fault> {
        let calls = &mut self.seen.lock().unwrap().calls;
        let number = calls.len();
        calls.push(call);
        match self.fault? {
            (at, fault) if at == number => Some(fault),
            (at, Fault::CrashBefore | Fault::CrashAfter) if at < number => Some(Fault::CrashBefore),
            _ => None,
        }
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of the calls {:?}", self.fault, self.calls())
    }
}

fn injected<T>(call: &str) -> Result<T, StoreError> {
    Err(StoreError::Unavailable(format!("injected: {call}")))
}

fn injected_key<T>(call: &str) -> Result<T, KeyError> {
    Err(KeyError::Unavailable(format!("injected: {call}")))
}

#[derive(Debug)]
struct FaultyStore {
    inner: Arc<dyn Store>,
    faults: Arc<Faults>,
}

#[async_trait]
impl Store for FaultyStore {
    async fn get(&self, key: &Key, now: Time) -> Result<Option<Versioned<Body>>, StoreError> {
        match self.faults.next("get") {
            None => self.inner.get(key, now).await,
            Some(_) => injected("get"),
        }
    }

    async fn query(&self, query: &Query, now: Time) -> Result<Page, StoreError> {
        match self.faults.next("query") {
            None => self.inner.query(query, now).await,
            Some(_) => injected("query"),
        }
    }

    async fn transact(&self, transaction: Transaction) -> Result<(), StoreError> {
        match self.faults.next("transact") {
            None => self.inner.transact(transaction).await,
            Some(fault) if fault.takes_effect() => {
                // A conflict, too, is an answer that was lost.
                let _ = self.inner.transact(transaction).await;
                Err(StoreError::Unknown("injected: transact".into()))
            }
            Some(_) => injected("transact"),
        }
    }
}

#[derive(Debug)]
struct FaultyKeys {
    inner: Arc<dyn KeyManager>,
    faults: Arc<Faults>,
}

#[async_trait]
impl KeyManager for FaultyKeys {
    async fn create(&self, label: &KeyLabel) -> Result<KeyRef, KeyError> {
        let fault = self.faults.next("create");
        if fault.is_none_or(Fault::takes_effect) {
            let key = self.inner.create(label).await?;
            if fault.is_none() {
                return Ok(key);
            }
        }
        injected_key("create")
    }

    async fn open(&self, key: &KeyRef) -> Result<Arc<dyn Signer>, KeyError> {
        if self.faults.next("open").is_some() {
            return injected_key("open");
        }
        let inner = self.inner.open(key).await?;
        Ok(Arc::new(FaultySigner { inner, faults: Arc::clone(&self.faults) }))
    }
}

#[derive(Debug)]
struct FaultySigner {
    inner: Arc<dyn Signer>,
    faults: Arc<Faults>,
}

#[async_trait]
impl Signer for FaultySigner {
    fn spki_der(&self) -> &[u8] {
        self.inner.spki_der()
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let fault = self.faults.next("sign");
        if fault.is_none_or(Fault::takes_effect) {
            let signature = self.inner.sign(message).await?;
            self.faults.seen.lock().unwrap().signed.push(message.to_vec());
            if fault.is_none() {
                return Ok(signature);
            }
        }
        injected_key("sign")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use signet_core::store::Table;

    use super::*;
    use crate::fixtures::{NOW, transaction};

    /// Counts what took effect.
    #[derive(Debug, Default)]
    struct Counter(AtomicUsize);

    #[async_trait]
    impl Store for Counter {
        async fn get(&self, _: &Key, _: Time) -> Result<Option<Versioned<Body>>, StoreError> {
            Ok(None)
        }
        async fn query(&self, _: &Query, _: Time) -> Result<Page, StoreError> {
            Ok(Page { records: Vec::new(), unreadable: Vec::new(), next: None })
        }
        async fn transact(&self, _: Transaction) -> Result<(), StoreError> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }
    }

    /// Two transactions around a query: which of the three answered, and how many transactions took effect.
    async fn run(faults: &Arc<Faults>) -> ([bool; 3], usize) {
        let counter = Arc::new(Counter::default());
        let inner: Arc<dyn Store> = Arc::<Counter>::clone(&counter);
        let store = faults.store(&inner);
        let first = store.transact(transaction([])).await.is_ok();
        let query = store.query(&Query::table(Table::Audit, "a"), NOW).await.is_ok();
        let second = store.transact(transaction([])).await.is_ok();
        ([first, query, second], counter.0.load(Ordering::SeqCst))
    }

    #[tokio::test]
    async fn each_fault_has_its_effect() {
        let (t, f) = (true, false);
        assert_eq!(run(&Faults::none()).await, ([t, t, t], 2));
        assert_eq!(run(&Faults::at(0, Fault::NotApplied)).await, ([f, t, t], 1));
        assert_eq!(run(&Faults::at(0, Fault::AnswerLost)).await, ([f, t, t], 2));
        assert_eq!(run(&Faults::at(0, Fault::CrashBefore)).await, ([f, f, f], 0));
        assert_eq!(run(&Faults::at(0, Fault::CrashAfter)).await, ([f, f, f], 1));
        assert_eq!(run(&Faults::at(1, Fault::AnswerLost)).await, ([t, f, t], 2));
        assert_eq!(run(&Faults::at(2, Fault::CrashAfter)).await, ([t, t, f], 2));
    }

    #[tokio::test]
    async fn the_table_covers_every_call_and_fault() {
        let cases = AtomicUsize::new(0);
        every_fault(async |faults| {
            run(&faults).await;
            assert_eq!(faults.calls(), ["transact", "query", "transact"]);
            cases.fetch_add(1, Ordering::SeqCst);
        })
        .await;
        assert_eq!(cases.into_inner(), 1 + 3 * 4);
    }
}
