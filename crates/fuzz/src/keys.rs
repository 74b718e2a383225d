//! Keys in memory: as quick as a fuzzer wants them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use signet_core::{KeyError, KeyLabel, KeyManager, KeyRef, Signer, TenantId};
use signet_x509::KeyPair;

/// Keys by their label.
#[derive(Debug, Default)]
pub(crate) struct Keys(Mutex<BTreeMap<String, Arc<KeyPair>>>);

#[async_trait]
impl KeyManager for Keys {
    async fn create(&self, label: &KeyLabel) -> Result<KeyRef, KeyError> {
        let key: KeyRef = format!("memory:{}", label.ca).parse().unwrap();
        let new = || Arc::new(KeyPair::generate().unwrap());
        self.0.lock().unwrap().entry(key.to_string()).or_insert_with(new);
        Ok(key)
    }

    async fn end(&self, key: &KeyRef, _: &TenantId) -> Result<(), KeyError> {
        self.0.lock().unwrap().remove(key.as_str());
        Ok(())
    }

    async fn open(&self, key: &KeyRef) -> Result<Arc<dyn Signer>, KeyError> {
        let found = self.0.lock().unwrap().get(&key.to_string()).cloned();
        Ok(Arc::new(OneKey(found.ok_or_else(|| KeyError::NotFound(key.to_string()))?)))
    }
}

#[derive(Debug)]
struct OneKey(Arc<KeyPair>);

#[async_trait]
impl Signer for OneKey {
    fn spki_der(&self) -> &[u8] {
        self.0.public_key().spki_der()
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        Ok(self.0.sign(message).unwrap())
    }
}
