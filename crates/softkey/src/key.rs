//! A key in memory.

use std::fmt;

use async_trait::async_trait;
use aws_lc_rs::{
    encoding::AsDer,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair},
};
use pkcs8::SecretDocument;
use signet_core::{KeyError, KeyRef, Signer};

/// A decrypted key.
pub(crate) struct SoftKey {
    reference: KeyRef,
    key: EcdsaKeyPair,
    spki_der: Vec<u8>,
}

impl SoftKey {
    /// `Err`: why the key is none that we use, and what to do.
    pub(crate) fn new(reference: &KeyRef, pkcs8: &SecretDocument) -> Result<Self, String> {
        let wrong = "the key is not an ECDSA P-256 key: remove the file and create the key again";
        // Checks that the public key belongs to the private one.
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_bytes()).map_err(|_| wrong)?;
        let spki_der = key.public_key().as_der().map_err(|_| wrong)?.as_ref().to_vec();
        Ok(Self { reference: reference.clone(), key, spki_der })
    }
}

#[async_trait]
impl Signer for SoftKey {
    fn spki_der(&self) -> &[u8] {
        &self.spki_der
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let signature = self.key.sign(&SystemRandom::new(), message);
        Ok(signature.map_err(|_| KeyError::BadSignature(self.reference.to_string()))?.as_ref().to_vec())
    }
}

impl fmt::Debug for SoftKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SoftKey").field(&self.reference).finish()
    }
}
