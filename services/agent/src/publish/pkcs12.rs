//! PKCS#12 (RFC 7292) as OpenSSL 3 and Java read it: AES-256 by PBES2, a MAC with SHA-256.

use std::fs;

use p12_keystore::{Certificate, KeyStore, KeyStoreEntry, PrivateKey, PrivateKeyChain};
use signet_client::{Credentials, CredentialsError};
use zeroize::Zeroizing;

use crate::config::Pkcs12Config;

/// The key with its chain. Nothing above it: some programs trust whatever is in such a file.
pub(super) fn encode(config: &Pkcs12Config, credentials: &Credentials) -> Result<Zeroizing<Vec<u8>>, CredentialsError> {
    let failed = |error: p12_keystore::error::Error| CredentialsError::File {
        action: "make",
        path: config.file.display().to_string(),
        reason: error.to_string(),
    };
    let password = password(config)?;
    let key = PrivateKey::from_der(credentials.key().pkcs8_der()).map_err(failed)?;
    let chain = credentials.chain_der().iter();
    let chain = chain.map(|der| Certificate::from_der(der)).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    let id = credentials.facts().serial_number.as_bytes();
    let mut store = KeyStore::new();
    store.add_entry(&config.alias, KeyStoreEntry::PrivateKeyChain(PrivateKeyChain::new(id, key, chain)));
    store.writer(&password).write().map(Zeroizing::new).map_err(failed)
}

pub(super) fn password(config: &Pkcs12Config) -> Result<Zeroizing<String>, CredentialsError> {
    let path = &config.password_file;
    let failed = |reason: String| CredentialsError::File { action: "read", path: path.display().to_string(), reason };
    let text = Zeroizing::new(fs::read_to_string(path).map_err(|error| failed(error.to_string()))?);
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() { Err(failed("its first line is empty".into())) } else { Ok(Zeroizing::new(line.to_owned())) }
}
