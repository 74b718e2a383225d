//! Keys in memory that remember what they signed, and accuse who signs what was not recorded.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use signet_core::{
    KeyError, KeyLabel, KeyManager, KeyRef, PolicyReport, Signer, TenantId, Time, WrapLabel, WrappedKey,
    tokens::TokenAlgorithm,
};
use signet_testkit::{faulty::Happening, wrapping};
use signet_x509::KeyPair;
use zeroize::Zeroizing;

use crate::ledger::Ledger;

/// See the module's words.
#[derive(Debug)]
pub(crate) struct MemoryKeys {
    keys: Mutex<HashMap<KeyRef, Arc<KeyPair>>>,
    /// Made, and not yet known by their label.
    unnamed: Mutex<Vec<KeyRef>>,
    state: Arc<State>,
}

struct State {
    ledger: Arc<Ledger>,
    signed: Mutex<Vec<Vec<u8>>>,
    first: Mutex<Option<Happening>>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").finish_non_exhaustive()
    }
}

impl MemoryKeys {
    /// `ledger` is asked at each signature whether it has the record.
    pub(crate) fn new(ledger: Arc<Ledger>) -> Self {
        let state = State { ledger, signed: Mutex::default(), first: Mutex::default() };
        Self { keys: Mutex::default(), unnamed: Mutex::default(), state: Arc::new(state) }
    }

    /// Puts another key in a key's place.
    pub(crate) fn replace(&self, key: &KeyRef) {
        self.keys.lock().unwrap().insert(key.clone(), Arc::new(KeyPair::generate().unwrap()));
    }

    /// Lets something else happen while the next signature is made.
    pub(crate) fn before_next_signature(&self, first: Happening) {
        *self.state.first.lock().unwrap() = Some(first);
    }

    /// How many signatures were made.
    pub(crate) fn signatures(&self) -> usize {
        self.state.signed.lock().unwrap().len()
    }

    /// Everything that was signed, to-be-signed bytes each.
    pub(crate) fn signed(&self) -> Vec<Vec<u8>> {
        self.state.signed.lock().unwrap().clone()
    }
}

#[async_trait]
impl KeyManager for MemoryKeys {
    async fn create(&self, label: &KeyLabel) -> Result<KeyRef, KeyError> {
        let key: KeyRef = format!("memory:{}", label.ca).parse().unwrap();
        if !self.keys.lock().unwrap().contains_key(&key) {
            // In two steps, as in KMS.
            self.unnamed.lock().unwrap().push(key.clone());
            tokio::task::yield_now().await;
            self.keys.lock().unwrap().entry(key.clone()).or_insert_with(|| Arc::new(KeyPair::generate().unwrap()));
            self.unnamed.lock().unwrap().retain(|unnamed| *unnamed != key);
        }
        Ok(key)
    }

    /// In three parts, with one key each.
    async fn apply_policies(&self, from: Option<&str>) -> Result<PolicyReport, KeyError> {
        let next = match from {
            None => Some("second".to_owned()),
            Some("second") => Some("third".to_owned()),
            Some(_) => None,
        };
        Ok(PolicyReport { changed: 1, unfinished: false, failed: Vec::new(), next })
    }

    async fn unnamed(&self, _: Time) -> Result<Vec<KeyRef>, KeyError> {
        Ok(self.unnamed.lock().unwrap().clone())
    }

    async fn end(&self, key: &KeyRef, _: &TenantId) -> Result<(), KeyError> {
        self.keys.lock().unwrap().remove(key);
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
        let found = self.keys.lock().unwrap().get(key).cloned();
        let pair = found.ok_or_else(|| KeyError::NotFound(key.to_string()))?;
        Ok(Arc::new(MemorySigner { pair, state: Arc::clone(&self.state) }))
    }
}

#[derive(Debug)]
struct MemorySigner {
    pair: Arc<KeyPair>,
    state: Arc<State>,
}

#[async_trait]
impl Signer for MemorySigner {
    fn spki_der(&self) -> &[u8] {
        self.pair.public_key().spki_der()
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let ledger = &self.state.ledger;
        let recorded = ledger.has_reserved(message).await || ledger.has_parts(message);
        assert!(recorded, "invariant 1: signed without a record made before");
        let first = self.state.first.lock().unwrap().take();
        if let Some(first) = first {
            first.await;
        }
        let signature = self.pair.sign(message).unwrap();
        self.state.signed.lock().unwrap().push(message.to_vec());
        Ok(signature)
    }
}
