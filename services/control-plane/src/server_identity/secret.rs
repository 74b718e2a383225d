//! The server's credentials as the text of a secret.

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::port::ServerCredentials;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    private_key_pem: String,
    certificate_chain_pem: String,
}

impl Drop for Text {
    fn drop(&mut self) {
        self.private_key_pem.zeroize();
    }
}

impl ServerCredentials {
    /// `{"private_key_pem": ..., "certificate_chain_pem": ...}`: PKCS#8, and the leaf before its issuer.
    pub fn to_secret(&self) -> SecretString {
        let text = Text {
            private_key_pem: self.key_pem.expose_secret().to_owned(),
            certificate_chain_pem: self.chain_pem.clone(),
        };
        // Two texts: it cannot fail.
        let json = Zeroizing::new(serde_json::to_string(&text).unwrap_or_default());
        SecretString::from(json.as_str())
    }

    /// Reads what [`Self::to_secret`] wrote. The error never holds a part of the text.
    pub fn from_secret(text: &SecretString) -> Result<Self, &'static str> {
        const SHAPE: &str = "it must be a JSON object with private_key_pem and certificate_chain_pem, and nothing else";
        let text: Text = serde_json::from_str(text.expose_secret()).map_err(|_| SHAPE)?;
        if !text.private_key_pem.contains("-----BEGIN PRIVATE KEY-----") {
            return Err("its private_key_pem holds no private key (PKCS#8, PEM)");
        }
        if !text.certificate_chain_pem.contains("-----BEGIN CERTIFICATE-----") {
            return Err("its certificate_chain_pem holds no certificate (PEM)");
        }
        Ok(Self {
            chain_pem: text.certificate_chain_pem.clone(),
            key_pem: SecretString::from(text.private_key_pem.as_str()),
        })
    }
}
