//! The keymaker, a Lambda that alone may make tenants' keys, set their policy and end them: its messages, and its
//! client.

use std::time::Duration;

use aws_config::{SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_lambda::{
    Client, config,
    error::{ProvideErrorMetadata, SdkError},
    operation::invoke::InvokeError,
    primitives::Blob,
};
use serde::{Deserialize, Serialize};
use signet_core::{CaId, KeyError, KeyLabel, KeyRef, PolicyReport, TenantId};

use crate::error::chain;

/// For a cold start and a key. The keymaker finds a key that it made before, so a repetition makes no second one.
const MAKING: Duration = Duration::from_secs(30);
/// For some tenants' policies: longer than the keymaker takes for one order (`lambdas/keymaker`).
const APPLYING: Duration = Duration::from_secs(30);

/// What the keymaker is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Order {
    /// Make the key of a tenant's CA, or find it.
    CreateKey {
        /// Whose.
        tenant: TenantId,
        /// The CA that will hold it.
        ca: CaId,
    },
    /// End the key of a CA of a tenant that is deleted for good.
    EndKey {
        /// Which.
        key: KeyRef,
        /// Whose.
        tenant: TenantId,
    },
    /// Give tenants' keys the present policy.
    ApplyPolicies {
        /// Where a former report ended.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<String>,
    },
}

/// What it answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// The key that now exists under that name, made by this call or an earlier one.
    Key(KeyRef),
    /// KMS deletes the key after its waiting period, or has deleted it.
    Ended,
    /// What became of the policies.
    Policies(PolicyReport),
    /// Nothing, until the operator has changed something.
    NotMade {
        /// The key, or its alias.
        key: String,
        /// Why, and what to do.
        reason: String,
    },
    /// Try again.
    Unavailable(String),
}

impl From<KeyError> for Reply {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Unavailable(why) => Self::Unavailable(why),
            KeyError::NotMade { key, reason }
            | KeyError::Denied { key, reason }
            | KeyError::Unusable { key, reason } => Self::NotMade { key, reason },
            KeyError::NotFound(ref key) | KeyError::BadSignature(ref key) => {
                Self::NotMade { key: key.clone(), reason: error.to_string() }
            }
        }
    }
}

/// The function's client.
#[derive(Clone, Debug)]
pub(crate) struct Maker {
    client: Client,
    function: String,
}

impl Maker {
    pub(crate) fn new(aws: &SdkConfig, function: impl Into<String>) -> Self {
        let timeout =
            TimeoutConfig::builder().connect_timeout(Duration::from_secs(1)).operation_timeout(MAKING).build();
        let retry = RetryConfig::standard().with_max_attempts(3);
        let config = config::Builder::from(aws).retry_config(retry).timeout_config(timeout).build();
        Self { client: Client::from_conf(config), function: function.into() }
    }

    /// Has the key made, or found.
    pub(crate) async fn make(&self, label: &KeyLabel) -> Result<KeyRef, KeyError> {
        let order = Order::CreateKey { tenant: label.tenant.clone(), ca: label.ca.clone() };
        match self.ask(&order, MAKING).await? {
            Reply::Key(key) => Ok(key),
            other => Err(self.unexpected(other)),
        }
    }

    /// Has the key ended.
    pub(crate) async fn end(&self, key: &KeyRef, tenant: &TenantId) -> Result<(), KeyError> {
        match self.ask(&Order::EndKey { key: key.clone(), tenant: tenant.clone() }, MAKING).await? {
            Reply::Ended => Ok(()),
            Reply::NotMade { key, reason } => Err(KeyError::Denied { key, reason }),
            other => Err(self.unexpected(other)),
        }
    }

    /// Has the policies applied.
    pub(crate) async fn apply_policies(&self, from: Option<&str>) -> Result<PolicyReport, KeyError> {
        match self.ask(&Order::ApplyPolicies { from: from.map(str::to_owned) }, APPLYING).await? {
            Reply::Policies(report) => Ok(report),
            other => Err(self.unexpected(other)),
        }
    }

    async fn ask(&self, order: &Order, time: Duration) -> Result<Reply, KeyError> {
        let unreadable = |error: serde_json::Error| {
            KeyError::Unavailable(format!("the keymaker {} answered in another form: {error}", self.function))
        };
        let payload = serde_json::to_vec(order).map_err(unreadable)?;
        let timeout = TimeoutConfig::builder().operation_timeout(time).build();
        let call = self.client.invoke().function_name(&self.function).payload(Blob::new(payload));
        let call = call.customize().config_override(config::Builder::new().timeout_config(timeout));
        let answer = call.send().await.map_err(|error| self.refused(&error))?;
        let body = answer.payload.map(Blob::into_inner).unwrap_or_default();
        match answer.function_error {
            // Its own words are in its log.
            Some(kind) => Err(KeyError::Unavailable(format!("the keymaker {} failed: {kind}", self.function))),
            None => serde_json::from_slice(&body).map_err(unreadable),
        }
    }

    fn unexpected(&self, reply: Reply) -> KeyError {
        match reply {
            Reply::NotMade { key, reason } => KeyError::NotMade { key, reason },
            Reply::Unavailable(why) => KeyError::Unavailable(why),
            other => KeyError::Unavailable(format!("the keymaker {} answered {other:?}", self.function)),
        }
    }

    fn refused<R: std::fmt::Debug + 'static>(&self, error: &SdkError<InvokeError, R>) -> KeyError {
        let (key, said) = (self.function.clone(), error.as_service_error());
        let message = said.and_then(ProvideErrorMetadata::message).unwrap_or("no reason given");
        match said.and_then(ProvideErrorMetadata::code) {
            Some("AccessDeniedException") => {
                KeyError::Denied { key, reason: format!("lambda:InvokeFunction is refused by IAM: {message}") }
            }
            Some("ResourceNotFoundException") => {
                let reason = format!("there is no such Lambda; is keys.maker the output keymaker_function? {message}");
                KeyError::Denied { key, reason }
            }
            Some(code) => KeyError::Unavailable(format!("lambda:InvokeFunction of {key}: {code}: {message}")),
            None => KeyError::Unavailable(format!("lambda:InvokeFunction of {key}: {}", chain(error))),
        }
    }
}

#[cfg(test)]
mod tests;
