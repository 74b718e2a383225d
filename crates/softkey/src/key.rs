//! A key in memory.

use std::fmt;

use async_trait::async_trait;
use aws_lc_rs::{
    encoding::AsDer,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair, ParsedPublicKey},
};
use pkcs8::SecretDocument;
use signet_core::{KeyError, KeyRef, Signer};

/// A decrypted key.
pub(crate) struct SoftKey {
    reference: KeyRef,
    key: EcdsaKeyPair,
    public: ParsedPublicKey,
    spki_der: Vec<u8>,
}

impl SoftKey {
    /// `Err`: why the key is none that we use, and what to do.
    pub(crate) fn new(reference: &KeyRef, pkcs8: &SecretDocument) -> Result<Self, String> {
        let wrong = "the key is not an ECDSA P-256 key: remove the file and create the key again";
        // Checks that the public key belongs to the private one.
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_bytes()).map_err(|_| wrong)?;
        let spki_der = key.public_key().as_der().map_err(|_| wrong)?.as_ref().to_vec();
        let public = ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key.public_key()).map_err(|_| wrong)?;
        Ok(Self { reference: reference.clone(), key, public, spki_der })
    }
}

#[async_trait]
impl Signer for SoftKey {
    fn spki_der(&self) -> &[u8] {
        &self.spki_der
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let bad = || KeyError::BadSignature(self.reference.to_string());
        let signature = self.key.sign(&SystemRandom::new(), message).map_err(|_| bad())?;
        self.public.verify_sig(message, signature.as_ref()).map_err(|_| bad())?;
        Ok(signature.as_ref().to_vec())
    }
}

impl fmt::Debug for SoftKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SoftKey").field(&self.reference).finish()
    }
}
