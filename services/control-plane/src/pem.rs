//! A private key and certificates in one PEM text.

use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::server_identity::ServerCredentials;

const KEY_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const KEY_END: &str = "-----END PRIVATE KEY-----";

/// Takes the key apart from the certificates.
pub(crate) fn split_key(text: &str) -> Result<ServerCredentials, &'static str> {
    let start = text.find(KEY_BEGIN).ok_or("it holds no private key (PKCS#8, PEM)")?;
    let (before, rest) = text.split_at(start);
    let end = rest.find(KEY_END).ok_or("its private key is cut off")?;
    let (key, after) = rest.split_at(end.saturating_add(KEY_END.len()));
    let chain_pem = [before, after.trim_start()].concat();
    if !chain_pem.contains("-----BEGIN CERTIFICATE-----") {
        return Err("it holds no certificate (PEM)");
    }
    let key_pem = Zeroizing::new(format!("{key}\n"));
    Ok(ServerCredentials { chain_pem, key_pem: SecretString::from(key_pem.as_str()) })
}
