//! Keys in AWS KMS: the environment's, made by `infra/modules/ca-keys`, and those of dedicated tenants, made here.
//!
//! A reference is `kms:` and a key's ARN, or `kms:alias/<prefix>-<purpose>` for the keys that Terraform made. An alias is
//! followed once, at [`KeyManager::open`]: a signer keeps to the key that it found then.

mod error;
mod signer;
mod unnamed;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use aws_config::{SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_kms::{
    Client, config,
    error::BuildError,
    types::{KeyMetadata, KeySpec, KeyUsageType, Tag},
};
use signet_core::{KeyError, KeyLabel, KeyManager, KeyRef, Signer, Time, id::IdError};

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
    tenant_key_policy: Option<String>,
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
        Self { client: Client::from_conf(config), prefix: prefix.into(), tenant_key_policy: None }
    }

    /// The key policy (JSON) of keys made from now on: output `tenant_key_policy` of `infra/modules/ca-keys`. Without one,
    /// AWS's default leaves it to the account's IAM policies who may sign.
    #[must_use]
    pub fn tenant_key_policy(self, policy: impl Into<String>) -> Self {
        Self { tenant_key_policy: Some(policy.into()), ..self }
    }

    /// What KMS knows of the key with this id, ARN or alias.
    async fn describe(&self, id: &str) -> Result<KeyMetadata, KeyError> {
        let answer = self.client.describe_key().key_id(id).send().await;
        let metadata = answer.map_err(|e| error::of(id, "kms:DescribeKey", &e))?.key_metadata;
        metadata.ok_or_else(|| KeyError::Unavailable(format!("KMS answered without a description of {id}")))
    }

    /// Makes a key and returns its ARN.
    async fn make(&self, label: &KeyLabel, alias: &str) -> Result<String, KeyError> {
        let tags = tags(&self.prefix, label).map_err(|e| KeyError::Unavailable(e.to_string()))?;
        let answer = self
            .client
            .create_key()
            .key_spec(KeySpec::EccNistP256)
            .key_usage(KeyUsageType::SignVerify)
            .description(format!("{}{} of tenant {}", description(&self.prefix), label.ca, label.tenant))
            .set_tags(Some(tags))
            .set_policy(self.tenant_key_policy.clone())
            // KMS has no token for this: a second try after a lost answer would make a second key.
            .customize()
            .config_override(config::Builder::new().retry_config(RetryConfig::disabled()))
            .send()
            .await;
        if answer.as_ref().is_err_and(|error| error.as_service_error().is_none()) {
            tracing::warn!(kms.alias = alias, "no answer: a key may have been made that has no name");
        }
        let metadata = answer.map_err(|e| error::of(alias, "kms:CreateKey", &e))?.key_metadata;
        let arn = metadata.and_then(|key| key.arn);
        arn.ok_or_else(|| KeyError::Unavailable("KMS made a key and did not say which".into()))
    }
}

/// How the description of every key begins that is made here.
fn description(prefix: &str) -> String {
    format!("{prefix}: issuing CA ")
}

/// Tags that IAM conditions go by.
fn tags(prefix: &str, label: &KeyLabel) -> Result<Vec<Tag>, BuildError> {
    [("environment", prefix), ("tenant", label.tenant.as_str()), ("ca", label.ca.as_str())]
        .into_iter()
        .map(|(name, value)| Tag::builder().tag_key(format!("signet:{name}")).tag_value(value).build())
        .collect()
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
        let arn = self.make(label, &alias).await?;
        match self.client.create_alias().alias_name(&alias).target_key_id(&arn).send().await {
            Ok(_) => reference(&arn),
            Err(e) if e.as_service_error().is_some_and(|e| e.is_already_exists_exception()) => {
                tracing::warn!(kms.key = arn, kms.alias = alias, "another node made this key first; delete this one");
                let first = self.describe(&alias).await.map_err(|e| match e {
                    // AWS shows a new alias only after some seconds.
                    KeyError::NotFound(_) => KeyError::Unavailable(format!("{alias} is not visible yet, try again")),
                    other => other,
                })?;
                reference(first.arn().unwrap_or(first.key_id()))
            }
            Err(e) => {
                tracing::warn!(kms.key = arn, kms.alias = alias, "a key was made but not named; delete it");
                Err(error::of(&alias, "kms:CreateAlias", &e))
            }
        }
    }

    async fn open(&self, key: &KeyRef) -> Result<Arc<dyn Signer>, KeyError> {
        let Some(id) = key.as_str().strip_prefix(SCHEME) else {
            let reason = format!("it is not a key in KMS, whose references begin with {SCHEME}");
            return Err(KeyError::Unusable { key: key.to_string(), reason });
        };
        let metadata = self.describe(id).await?;
        Ok(Arc::new(signer::KmsSigner::open(self.client.clone(), key, &metadata).await?))
    }

    async fn unnamed(&self, now: Time) -> Result<Vec<KeyRef>, KeyError> {
        self.unnamed_keys(now).await
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
