//! Keys in AWS KMS: the environment's, made by `infra/modules/ca-keys`, and those of dedicated tenants, made here or,
//! for a process that may not, by the keymaker Lambda.
//!
//! A reference is `kms:` and a key's ARN, or `kms:alias/<prefix>-<purpose>` for the keys that Terraform made. An alias
//! is followed once, at [`KeyManager::open`]: a signer keeps to the key that it found then.

mod create;
mod end;
mod error;
mod maker;
mod policies;
mod signer;
mod unnamed;
mod wrap;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use aws_config::{SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_kms::{Client, config, types::KeyMetadata};
use signet_core::{
    KeyError, KeyLabel, KeyManager, KeyRef, PolicyReport, Signer, TenantId, Time, WrapLabel, WrappedKey, id::IdError,
    tokens::TokenAlgorithm,
};
use zeroize::Zeroizing;

pub use maker::{Order, Reply};

/// What every reference of ours begins with.
const SCHEME: &str = "kms:";

/// What a key of the environment is for; Terraform (`infra/modules/ca-keys`) makes one of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Signs issuing CAs.
    Root,
    /// Issuing CA of the operator's own tenant.
    System,
    /// Issuing CA of all tenants without one of their own.
    Shared,
    /// Issuing CA of server certificates.
    Server,
    /// Signs the seals of audit minutes.
    Audit,
}

impl Purpose {
    /// All purposes.
    pub const ALL: [Self; 5] = [Self::Root, Self::System, Self::Shared, Self::Server, Self::Audit];

    /// The last part of its alias.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::System => "system",
            Self::Shared => "shared",
            Self::Server => "server",
            Self::Audit => "audit",
        }
    }

    /// The reference of the environment's key for this purpose.
    pub fn key(self, prefix: &str) -> Result<KeyRef, IdError> {
        format!("{SCHEME}alias/{prefix}-{}", self.name()).parse()
    }
}

/// How long and how often the adapter tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For a TCP and TLS connection.
    pub connect: Duration,
    /// For one attempt's answer.
    pub attempt: Duration,
    /// For an operation with all its attempts.
    pub operation: Duration,
    /// Attempts, the first included.
    pub attempts: u32,
}

impl Default for Limits {
    /// A healthy KMS signs within 20 ms.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(1),
            attempt: Duration::from_secs(2),
            operation: Duration::from_secs(8),
            attempts: 5,
        }
    }
}

/// The keys of one environment.
#[derive(Clone)]
pub struct KmsKeys {
    client: Client,
    prefix: String,
    limits: Limits,
    tenant_key_policy: Option<String>,
    maker: Option<maker::Maker>,
}

impl fmt::Debug for KmsKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KmsKeys").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl KmsKeys {
    /// The keys of the environment `prefix` in the account, region and endpoint of `aws`, with the default limits.
    pub fn new(aws: &SdkConfig, prefix: impl Into<String>) -> Self {
        Self::with_limits(aws, prefix, Limits::default())
    }

    /// The same with other limits.
    pub fn with_limits(aws: &SdkConfig, prefix: impl Into<String>, limits: Limits) -> Self {
        let retry = RetryConfig::standard()
            .with_max_attempts(limits.attempts)
            .with_initial_backoff(Duration::from_millis(50))
            .with_max_backoff(Duration::from_secs(1));
        let timeout = TimeoutConfig::builder()
            .connect_timeout(limits.connect)
            .operation_attempt_timeout(limits.attempt)
            .operation_timeout(limits.operation)
            .build();
        let config = config::Builder::from(aws).retry_config(retry).timeout_config(timeout).build();
        Self { client: Client::from_conf(config), prefix: prefix.into(), limits, tenant_key_policy: None, maker: None }
    }

    /// The key policy (JSON) of keys made from now on: output `tenant_key_policy` of `infra/modules/ca-keys`. Without
    /// one, AWS's default leaves it to the account's IAM policies who may sign.
    #[must_use]
    pub fn tenant_key_policy(self, policy: impl Into<String>) -> Self {
        Self { tenant_key_policy: Some(policy.into()), ..self }
    }

    /// Has keys made from now on by the Lambda `function`, which has their policy (`infra/modules/keymaker`).
    #[must_use]
    pub fn made_by(self, aws: &SdkConfig, function: impl Into<String>) -> Self {
        Self { maker: Some(maker::Maker::new(aws, function)), ..self }
    }

    /// What KMS knows of the key with this id, ARN or alias.
    async fn describe(&self, id: &str) -> Result<KeyMetadata, KeyError> {
        let answer = self.client.describe_key().key_id(id).send().await;
        let metadata = answer.map_err(|e| error::of(id, "kms:DescribeKey", &e))?.key_metadata;
        metadata.ok_or_else(|| KeyError::Unavailable(format!("KMS answered without a description of {id}")))
    }
}

/// How the description of every key begins that is made here.
fn description(prefix: &str) -> String {
    format!("{prefix}: issuing CA ")
}

/// An alias takes no dots; a CA's id has exactly one, before its generation, so this stays unambiguous.
fn alias_of(prefix: &str, label: &KeyLabel) -> String {
    format!("alias/{prefix}-tenant-{}", label.ca.as_str().replace('.', "-"))
}

fn reference(arn: &str) -> Result<KeyRef, KeyError> {
    let bad = |e: IdError| KeyError::Unavailable(format!("KMS named a key {arn:?}, which {}", e.rule));
    format!("{SCHEME}{arn}").parse().map_err(bad)
}

#[async_trait]
impl KeyManager for KmsKeys {
    /// Idempotent by alias. Two nodes that make the same key at once, or a node that dies before it has named its key,
    /// leave one that nothing refers to (KMS has no token for this): [`KeyManager::unnamed`] finds it.
    async fn create(&self, label: &KeyLabel) -> Result<KeyRef, KeyError> {
        let alias = alias_of(&self.prefix, label);
        match self.describe(&alias).await {
            Ok(known) => return reference(known.arn().unwrap_or(known.key_id())),
            Err(KeyError::NotFound(_)) => {}
            Err(other) => return Err(other),
        }
        if let Some(maker) = &self.maker {
            return maker.make(label).await;
        }
        let arn = self.make(label, &alias).await?;
        let bearer = self.name(&alias, &arn).await?;
        self.until_visible(&bearer).await?;
        reference(&bearer)
    }

    async fn open(&self, key: &KeyRef) -> Result<Arc<dyn Signer>, KeyError> {
        let Some(id) = key.as_str().strip_prefix(SCHEME) else {
            let reason = format!("it is not a KMS key reference, which starts with {SCHEME}");
            return Err(KeyError::Unusable { key: key.to_string(), reason });
        };
        let metadata = self.describe(id).await?;
        Ok(Arc::new(signer::KmsSigner::open(self.client.clone(), key, &metadata).await?))
    }

    async fn end(&self, key: &KeyRef, tenant: &TenantId) -> Result<(), KeyError> {
        match &self.maker {
            Some(maker) => maker.end(key, tenant).await,
            None => self.end_key(key, tenant).await,
        }
    }

    async fn make_wrapped(&self, label: &WrapLabel, algorithm: TokenAlgorithm) -> Result<WrappedKey, KeyError> {
        self.data_key_pair(label, algorithm).await
    }

    async fn make_data_key(&self, label: &WrapLabel) -> Result<Vec<u8>, KeyError> {
        self.data_key(label).await
    }

    async fn unwrap(&self, label: &WrapLabel, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        self.decrypt(label, wrapped).await
    }

    async fn unnamed(&self, now: Time) -> Result<Vec<KeyRef>, KeyError> {
        self.unnamed_keys(now).await
    }

    /// Only the keymaker may.
    async fn apply_policies(&self, from: Option<&str>) -> Result<PolicyReport, KeyError> {
        match &self.maker {
            Some(maker) => maker.apply_policies(from).await,
            None => Ok(PolicyReport::default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_of_different_cas_differ() {
        let label = |ca: &str| KeyLabel { tenant: "a".parse().unwrap(), ca: ca.parse().unwrap() };
        assert_eq!(alias_of("signet-dev", &label("acme.1")), "alias/signet-dev-tenant-acme-1");
        assert_ne!(alias_of("p", &label("a-1.2")), alias_of("p", &label("a.1")));
    }

    #[test]
    fn references_of_the_environments_keys_are_aliases() {
        assert_eq!(Purpose::Audit.key("signet-dev").unwrap().as_str(), "kms:alias/signet-dev-audit");
    }
}
