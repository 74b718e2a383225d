//! The embedded key manager: ECDSA P-256 keys in files, encrypted with a passphrase. For development, tests and a
//! single host; in production keys live in KMS.

mod encrypted;
mod entropy;
mod folder;
mod key;
mod wrap;

use std::{collections::HashMap, path::Path, sync::Arc};

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use signet_core::{
    CaId, KeyError, KeyLabel, KeyManager, KeyRef, Signer, TenantId, WrapLabel, WrappedKey, tokens::TokenAlgorithm,
};
use tokio::{
    sync::{Mutex, OnceCell},
    task::spawn_blocking,
};
use zeroize::Zeroizing;

pub use crate::entropy::OsEntropy;
use crate::{folder::Folder, key::SoftKey, wrap::WrappingKey};

/// The prefix of references to these keys: `soft:<certificate authority id>`.
const MANAGER: &str = "soft:";
/// The name of the key that wraps others. A certificate authority's has a dot.
const WRAPPING: &str = "tokens";

/// Keys in a folder (0700), each in a file `<certificate authority id>.pem` (0600): PKCS#8, encrypted with scrypt and
/// AES-256 (RFC 5958, RFC 7914, RFC 8018), which `openssl pkey` reads.
///
/// A key is decrypted once per process, when it is first opened. By intention that takes 16 MB and some tenths of a
/// second; signing takes no longer than with any key in memory.
#[derive(Debug)]
pub struct SoftKeys {
    folder: Folder,
    passphrase: SecretString,
    /// Locked while a key is made or opened, so that each is decrypted once and one at a time.
    opened: Mutex<HashMap<CaId, Arc<SoftKey>>>,
    /// What wraps keys for tokens, once it was needed.
    wrapping: OnceCell<Arc<WrappingKey>>,
}

impl SoftKeys {
    /// Keys in `folder`, which is made if it is missing. The passphrase is checked when a key is opened. Blocks for
    /// a moment: call it at start.
    pub fn open(folder: &Path, passphrase: SecretString) -> Result<Self, KeyError> {
        if passphrase.expose_secret().is_empty() {
            let reason = "the passphrase is empty: set one".to_owned();
            return Err(KeyError::Unusable { key: folder.display().to_string(), reason });
        }
        Ok(Self { folder: Folder::open(folder)?, passphrase, opened: Mutex::default(), wrapping: OnceCell::new() })
    }
}

#[async_trait]
impl KeyManager for SoftKeys {
    async fn create(&self, label: &KeyLabel) -> Result<KeyRef, KeyError> {
        let name = label.ca.clone();
        let reference = format!("{MANAGER}{name}");
        if name.owner() != label.tenant {
            let reason = format!("the tenant {} owns no certificate authority {name}", label.tenant);
            return Err(KeyError::Denied { key: reference, reason });
        }
        let _one_at_a_time = self.opened.lock().await;
        let (folder, passphrase) = (self.folder.clone(), self.passphrase.clone());
        blocking(move || match folder.has(name.as_str())? {
            true => Ok(()),
            false => folder.create(name.as_str(), &encrypted::generate(&passphrase)?),
        })
        .await?;
        reference.parse().map_err(|_| KeyError::NotFound(reference))
    }

    async fn open(&self, key: &KeyRef) -> Result<Arc<dyn Signer>, KeyError> {
        let name = name_of(key)?;
        let mut opened = self.opened.lock().await;
        if let Some(known) = opened.get(&name) {
            return Ok(Arc::<SoftKey>::clone(known));
        }
        let (folder, passphrase) = (self.folder.clone(), self.passphrase.clone());
        let (file, reference) = (name.clone(), key.clone());
        let signer = blocking(move || {
            let pem = folder.read(file.as_str(), &reference)?;
            let unusable =
                |reason| KeyError::Unusable { key: folder.path(file.as_str()).display().to_string(), reason };
            let pkcs8 = encrypted::decrypt(&pem, &passphrase).map_err(unusable)?;
            SoftKey::new(&reference, &pkcs8).map_err(unusable)
        });
        let signer = Arc::new(signer.await?);
        opened.insert(name, Arc::clone(&signer));
        Ok(signer)
    }

    async fn make_wrapped(&self, label: &WrapLabel, algorithm: TokenAlgorithm) -> Result<WrappedKey, KeyError> {
        let (key, label) = (self.wrapping(true).await?, label.clone());
        blocking(move || key.make(&label, algorithm)).await
    }

    async fn make_data_key(&self, label: &WrapLabel) -> Result<Vec<u8>, KeyError> {
        self.wrapping(true).await?.make_data_key(label)
    }

    async fn unwrap(&self, label: &WrapLabel, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        self.wrapping(false).await?.unwrap(label, wrapped)
    }

    /// A signer that was opened before still signs in its process.
    async fn end(&self, key: &KeyRef, tenant: &TenantId) -> Result<(), KeyError> {
        let name = name_of(key)?;
        if tenant.is_system() || name.owner() != *tenant {
            let reason = format!("it is not the key of a certificate authority of the tenant {tenant}");
            return Err(KeyError::Denied { key: key.to_string(), reason });
        }
        let mut opened = self.opened.lock().await;
        let (folder, file) = (self.folder.clone(), name.clone());
        blocking(move || folder.remove(file.as_str())).await?;
        opened.remove(&name);
        Ok(())
    }
}

impl SoftKeys {
    /// What wraps keys for tokens. It is made to wrap the first one: what was wrapped with another cannot be unwrapped.
    async fn wrapping(&self, make: bool) -> Result<Arc<WrappingKey>, KeyError> {
        let open = || {
            let (folder, passphrase) = (self.folder.clone(), self.passphrase.clone());
            blocking(move || {
                if make && !folder.has(WRAPPING)? {
                    folder.create(WRAPPING, &encrypted::generate(&passphrase)?)?;
                }
                let path = folder.path(WRAPPING).display().to_string();
                let reference = format!("{MANAGER}{WRAPPING}").parse();
                let pem = folder.read(WRAPPING, &reference.map_err(|_| KeyError::NotFound(path.clone()))?)?;
                let pkcs8 = encrypted::decrypt(&pem, &passphrase);
                let key = pkcs8.and_then(|pkcs8| WrappingKey::derive(pkcs8.as_bytes()));
                Ok(Arc::new(key.map_err(|reason| KeyError::Unusable { key: path, reason })?))
            })
        };
        self.wrapping.get_or_try_init(open).await.cloned()
    }
}

/// The name in a reference. Parsing it also keeps a reference from pointing out of the folder.
fn name_of(key: &KeyRef) -> Result<CaId, KeyError> {
    let name = key.as_str().strip_prefix(MANAGER).and_then(|name| name.parse().ok());
    name.ok_or_else(|| KeyError::NotFound(key.to_string()))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, KeyError> + Send + 'static,
) -> Result<T, KeyError> {
    spawn_blocking(work).await.map_err(|_| KeyError::Unavailable("the process is stopping".into()))?
}
