//! Ports for keys and randomness.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{
    CaId, KeyRef, TenantId, Time,
    tokens::{TokenAlgorithm, TokenUse},
};

/// A private ECDSA P-256 key that signs with SHA-256 and cannot be read.
/// Adapters: `signet-kms`, `signet-softkey`; both pass `signet_testkit::signer_suite`.
#[async_trait]
pub trait Signer: Send + Sync + fmt::Debug {
    /// The public key, a DER SubjectPublicKeyInfo (RFC 5480). Known since the signer was opened; costs nothing.
    fn spki_der(&self) -> &[u8];

    /// Signs SHA-256 of `message`, any length. Returns a DER Ecdsa-Sig-Value (RFC 3279 section 2.2.3). Whoever releases
    /// it verifies it first, with the key of the certificate that it is to be checked with. Not deterministic; safe
    /// to repeat.
    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError>;
}

/// For whom a key is made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct KeyLabel {
    pub tenant: TenantId,
    /// The CA that will hold it.
    pub ca: CaId,
}

/// Whose a wrapped key is, and what for: what it is bound to when it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct WrapLabel {
    pub tenant: TenantId,
    pub for_use: WrapUse,
}

/// What a wrapped key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WrapUse {
    /// Signs tokens of a kind.
    Token(TokenUse),
    /// Seals the secrets that devices sign messages with.
    MessageSecrets,
}

impl From<TokenUse> for WrapUse {
    fn from(of: TokenUse) -> Self {
        Self::Token(of)
    }
}

impl fmt::Display for WrapUse {
    /// As in the context that a key is wrapped with. Never changes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token(of) => of.name(),
            Self::MessageSecrets => "message_secrets",
        })
    }
}

impl WrapUse {
    /// What puts it right where it cannot be unwrapped.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Token(_) => "replace it with `principal token-key rotate --now`",
            Self::MessageSecrets => {
                "else delete the devices' secrets and make new ones (`principal device secret rotate`)"
            }
        }
    }
}

/// A key pair with its private half wrapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrappedKey {
    /// The public half, DER SubjectPublicKeyInfo.
    pub spki_der: Vec<u8>,
    /// The private half, for [`KeyManager::unwrap`].
    pub wrapped: Vec<u8>,
}

/// Where keys are made and opened.
#[async_trait]
pub trait KeyManager: Send + Sync + fmt::Debug {
    /// Makes a P-256 signing key, or returns the one that was made for the same label before. Not to be dropped half
    /// way.
    async fn create(&self, label: &KeyLabel) -> Result<KeyRef, KeyError>;

    /// Opens a key and checks that it is an enabled P-256 signing key.
    async fn open(&self, key: &KeyRef) -> Result<Arc<dyn Signer>, KeyError>;

    /// Ends a key that [`Self::create`] has made, for good: KMS deletes it after its waiting period (30 days), a local
    /// key goes at once. It opens no more, and the next one of the same label is another. Ended again, or gone already,
    /// is fine. Other tenants' keys, and the environment's own, are refused ([`KeyError::Denied`]).
    async fn end(&self, key: &KeyRef, tenant: &TenantId) -> Result<(), KeyError>;

    /// Makes a key pair whose private half this process does not see: it comes wrapped, for whoever may unwrap it. It
    /// is bound to its label: under another it cannot be unwrapped.
    async fn make_wrapped(&self, label: &WrapLabel, _algorithm: TokenAlgorithm) -> Result<WrappedKey, KeyError> {
        Err(KeyError::Unavailable(format!("this key manager makes no keys for tokens of {}", label.tenant)))
    }

    /// Makes a data key of 32 bytes that this process does not see: it comes wrapped, for [`Self::unwrap`], and is
    /// bound to its label. Each call makes another.
    async fn make_data_key(&self, label: &WrapLabel) -> Result<Vec<u8>, KeyError> {
        Err(KeyError::Unavailable(format!("this key manager makes no data keys for {}", label.tenant)))
    }

    /// The private half of a pair, DER PKCS#8, or a data key's 32 bytes. [`KeyError::Unusable`]: it was made under
    /// another label, or changed.
    async fn unwrap(&self, label: &WrapLabel, _wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        Err(KeyError::Unavailable(format!("this key manager has no keys for tokens of {}", label.tenant)))
    }

    /// Keys that [`Self::create`] has made and could not name, some time before `now`: nothing will ever refer to them.
    /// Empty for managers where that cannot be.
    async fn unnamed(&self, _now: Time) -> Result<Vec<KeyRef>, KeyError> {
        Ok(Vec::new())
    }

    /// Sets the present policy on the keys that [`Self::create`] has made, as many as it can within half a minute: from
    /// the first, or from where a former report says. Nothing for managers whose keys have none.
    async fn apply_policies(&self, _from: Option<&str>) -> Result<PolicyReport, KeyError> {
        Ok(PolicyReport::default())
    }
}

/// What became of the policies of keys. What failed for one key did not stop the others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyReport {
    /// How many keys had another policy.
    pub changed: usize,
    /// Keys, and why theirs could not be set.
    pub failed: Vec<(String, String)>,
    /// Not all keys could be looked at, or not yet.
    pub unfinished: bool,
    /// Where to go on; `None`: there is nothing more now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Why a key could not be used. Texts never hold key material.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub enum KeyError {
    /// There is no such key.
    #[error("key {0} does not exist")]
    NotFound(String),
    /// The key exists but must not or cannot sign: disabled, pending deletion, wrong spec or usage.
    #[error("key {key} cannot sign: {reason}")]
    Unusable {
        key: String,
        /// Why, and what to do.
        reason: String,
    },
    /// This process may not use it.
    #[error("not allowed to use key {key}: {reason}")]
    Denied {
        key: String,
        /// Which permission is missing.
        reason: String,
    },
    /// It cannot be made until the operator has changed something: a policy, a quota.
    #[error("key {key} cannot be created: {reason}")]
    NotMade {
        key: String,
        /// Why, and what to do.
        reason: String,
    },
    /// Throttled, slow or not reachable: try again.
    #[error("the key manager is not available: {0}")]
    Unavailable(String),
    /// The signature that came back does not verify: never released.
    #[error("key {0} returned a signature that does not verify")]
    BadSignature(String),
}

/// A source of random bytes; the operating system's in production.
pub trait Entropy: Send + Sync + fmt::Debug {
    /// Fills `out`. A source that cannot must end the process rather than return.
    fn fill(&self, out: &mut [u8]);
}

/// An array of `N` random bytes.
pub fn random<const N: usize>(entropy: &dyn Entropy) -> [u8; N] {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes);
    bytes
}
