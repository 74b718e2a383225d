//! Keys for tokens: KMS makes a pair and gives the private half encrypted; a node decrypts it once. Whose it is and
//! what for is its encryption context, which Decrypt must name again (KMS Developer Guide, "Encryption context").

use std::collections::HashMap;

use aws_sdk_kms::{
    primitives::Blob,
    types::{DataKeyPairSpec, DataKeySpec},
};
use signet_core::{KeyError, WrapLabel, WrappedKey, tokens::TokenAlgorithm};
use zeroize::Zeroizing;

use crate::{KmsKeys, error};

/// The purpose of the symmetric key that wraps others; Terraform (`infra/modules/ca-keys`) makes it.
pub(crate) const WRAPPING: &str = "tokens";

impl KmsKeys {
    fn wrapping_key(&self) -> String {
        format!("alias/{}-{WRAPPING}", self.prefix)
    }

    /// The same names are conditions in the key's policy.
    fn context(&self, label: &WrapLabel) -> HashMap<String, String> {
        [
            ("signet:environment", self.prefix.clone()),
            ("signet:tenant", label.tenant.to_string()),
            ("signet:use", label.for_use.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    pub(crate) async fn data_key_pair(
        &self,
        label: &WrapLabel,
        algorithm: TokenAlgorithm,
    ) -> Result<WrappedKey, KeyError> {
        let (id, action) = (self.wrapping_key(), "kms:GenerateDataKeyPairWithoutPlaintext");
        let spec = match algorithm {
            TokenAlgorithm::Es256 => DataKeyPairSpec::EccNistP256,
            TokenAlgorithm::Rs256 => DataKeyPairSpec::Rsa2048,
        };
        let call = self.client.generate_data_key_pair_without_plaintext().key_id(&id).key_pair_spec(spec);
        let answer = call.set_encryption_context(Some(self.context(label))).send().await;
        let answer = answer.map_err(|e| error::of(&id, action, &e))?;
        match (answer.public_key, answer.private_key_ciphertext_blob) {
            (Some(public), Some(wrapped)) => {
                Ok(WrappedKey { spki_der: public.into_inner(), wrapped: wrapped.into_inner() })
            }
            _ => Err(KeyError::Unavailable(format!("KMS answered {action} without a key pair"))),
        }
    }

    pub(crate) async fn data_key(&self, label: &WrapLabel) -> Result<Vec<u8>, KeyError> {
        let (id, action) = (self.wrapping_key(), "kms:GenerateDataKeyWithoutPlaintext");
        let call = self.client.generate_data_key_without_plaintext().key_id(&id).key_spec(DataKeySpec::Aes256);
        let answer = call.set_encryption_context(Some(self.context(label))).send().await;
        let wrapped = answer.map_err(|e| error::of(&id, action, &e))?.ciphertext_blob;
        let wrapped = wrapped.ok_or_else(|| KeyError::Unavailable(format!("KMS answered {action} without a key")))?;
        Ok(wrapped.into_inner())
    }

    pub(crate) async fn decrypt(&self, label: &WrapLabel, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let id = self.wrapping_key();
        let call = self.client.decrypt().key_id(&id).ciphertext_blob(Blob::new(wrapped));
        let answer = call.set_encryption_context(Some(self.context(label))).send().await;
        let of = |e: &_| match e {
            e if is_not_ours(e) => KeyError::Unusable {
                key: format!("{} of {}", label.for_use, label.tenant),
                reason: format!("{id} did not wrap it for this tenant and use; {}", label.for_use.remedy()),
            },
            e => error::of(&id, "kms:Decrypt", e),
        };
        let plain = answer.map_err(|e| of(&e))?.plaintext;
        let plain =
            plain.ok_or_else(|| KeyError::Unavailable("KMS answered kms:Decrypt without a plaintext".into()))?;
        Ok(Zeroizing::new(plain.into_inner()))
    }
}

type DecryptFault = aws_sdk_kms::error::SdkError<aws_sdk_kms::operation::decrypt::DecryptError>;

/// Also what another context, or a changed ciphertext, comes to (KMS API Reference, Decrypt, "Errors").
fn is_not_ours(error: &DecryptFault) -> bool {
    error.as_service_error().is_some_and(|e| e.is_invalid_ciphertext_exception() || e.is_incorrect_key_exception())
}
