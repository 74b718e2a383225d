//! One key.

use std::fmt;

use async_trait::async_trait;
use aws_lc_rs::{
    digest::{SHA256, digest},
    signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey},
};
use aws_sdk_kms::{
    Client,
    primitives::Blob,
    types::{KeyMetadata, KeySpec, KeyState, KeyUsageType, MessageType, SigningAlgorithmSpec},
};
use signet_core::{KeyError, KeyRef, Signer};

use crate::error;

/// `Sign` takes 1 to 4,096 bytes as they are (KMS API reference, `Message`) and hashes them itself; of others it takes
/// the digest.
const MAX_RAW: usize = 4096;

/// DER of a SubjectPublicKeyInfo with id-ecPublicKey and prime256v1, up to the uncompressed point (RFC 5480 section 2).
const P256_SPKI: [u8; 27] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];
/// Bytes before the point's form octet, which is part of the point.
const POINT: usize = P256_SPKI.len() - 1;

pub(crate) struct KmsSigner {
    client: Client,
    /// ARN, so that an alias which is moved later changes nothing.
    key_id: String,
    spki_der: Vec<u8>,
}

impl fmt::Debug for KmsSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KmsSigner").field("key", &self.key_id).finish_non_exhaustive()
    }
}

impl KmsSigner {
    /// Checks the key that `metadata` describes and gets its public key.
    pub(crate) async fn open(client: Client, key: &KeyRef, metadata: &KeyMetadata) -> Result<Self, KeyError> {
        let unusable = |reason: String| KeyError::Unusable { key: key.to_string(), reason };
        if let Some(reason) = objection(metadata) {
            return Err(unusable(reason));
        }
        let key_id = metadata.arn().unwrap_or(metadata.key_id()).to_owned();
        let answer = client.get_public_key().key_id(&key_id).send().await;
        let answer = answer.map_err(|e| error::of(&key_id, "kms:GetPublicKey", &e))?;
        let spki_der = answer.public_key.map(Blob::into_inner).unwrap_or_default();
        if !spki_der.starts_with(&P256_SPKI) || spki_der.len() != POINT + 65 {
            return Err(unusable("its public key is not a P-256 key as RFC 5480 encodes it".into()));
        }
        Ok(Self { client, key_id, spki_der })
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let point = self.spki_der.get(POINT..).unwrap_or_default();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(message, signature).is_ok()
    }
}

/// What keeps the key from signing, and what to do.
fn objection(key: &KeyMetadata) -> Option<String> {
    if key.key_usage() != Some(&KeyUsageType::SignVerify) || key.key_spec() != Some(&KeySpec::EccNistP256) {
        let spec = key.key_spec().map_or("unknown", KeySpec::as_str);
        let usage = key.key_usage().map_or("unknown", KeyUsageType::as_str);
        return Some(format!("it is {spec} for {usage}, not ECC_NIST_P256 for SIGN_VERIFY"));
    }
    match key.key_state() {
        Some(KeyState::Enabled) => None,
        Some(KeyState::Disabled) => Some("it is disabled; enable it with kms:EnableKey".into()),
        Some(KeyState::PendingDeletion) => {
            Some("it is pending deletion; cancel that with kms:CancelKeyDeletion, then kms:EnableKey".into())
        }
        other => Some(format!("it is {}", other.map_or("in an unknown state", KeyState::as_str))),
    }
}

/// What to send for `message`, and as what.
fn input(message: &[u8]) -> (Vec<u8>, MessageType) {
    if message.is_empty() || message.len() > MAX_RAW {
        (digest(&SHA256, message).as_ref().to_vec(), MessageType::Digest)
    } else {
        (message.to_vec(), MessageType::Raw)
    }
}

#[async_trait]
impl Signer for KmsSigner {
    fn spki_der(&self) -> &[u8] {
        &self.spki_der
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let (bytes, kind) = input(message);
        let answer = self
            .client
            .sign()
            .key_id(&self.key_id)
            .message(Blob::new(bytes))
            .message_type(kind)
            .signing_algorithm(SigningAlgorithmSpec::EcdsaSha256)
            .send()
            .await;
        let answer = answer.map_err(|e| error::of(&self.key_id, "kms:Sign", &e))?;
        let signature = answer.signature.map(Blob::into_inner).unwrap_or_default();
        if self.verifies(message, &signature) {
            Ok(signature)
        } else {
            Err(KeyError::BadSignature(self.key_id.clone()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kms_gets_a_digest_of_what_it_would_not_take_as_it_is() {
        for (length, kind, sent) in [
            (0, MessageType::Digest, 32),
            (1, MessageType::Raw, 1),
            (4096, MessageType::Raw, 4096),
            (4097, MessageType::Digest, 32),
        ] {
            let (bytes, got) = input(&vec![7; length]);
            assert_eq!((got, bytes.len()), (kind, sent), "{length}");
        }
    }
}
