//! Making a key and naming it. KMS has no token for either, and shows what was changed to all calls only after seconds
//! (KMS Developer Guide, "Eventual consistency").

use std::{
    error::Error,
    io,
    iter::successors,
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use aws_config::retry::RetryConfig;
use aws_sdk_kms::{
    config::{
        self,
        interceptors::InterceptorContext,
        retry::{ClassifyRetry, RetryAction},
    },
    error::{BuildError, ProvideErrorMetadata, SdkError},
    operation::{
        create_alias::CreateAliasError, create_key::CreateKeyError, describe_key::DescribeKeyError,
        get_public_key::GetPublicKeyError,
    },
    types::{KeySpec, KeyUsageType, OriginType, Tag},
};
use signet_core::{KeyError, KeyLabel};

use crate::{KmsKeys, Limits, description, error};

/// How KMS refuses a call at its door (KMS Developer Guide, "Throttling"). A quota of keys (LimitExceededException),
/// which the SDK takes for the same, does not pass by itself.
const THROTTLED: [&str; 2] = ["ThrottlingException", "Throttling"];

impl KmsKeys {
    /// Makes a key and returns its ARN. Only a throttled call is tried again: a second one after a lost answer would
    /// make a second key.
    pub(crate) async fn make(&self, label: &KeyLabel, alias: &str) -> Result<String, KeyError> {
        let tags = tags(&self.prefix, label).map_err(|e| KeyError::Unavailable(e.to_string()))?;
        let in_doubt = Arc::new(AtomicBool::new(false));
        let retries = patient(self.limits).retry_classifier(OnlyThrottled { in_doubt: Arc::clone(&in_doubt) });
        let answer = self
            .client
            .create_key()
            .key_spec(KeySpec::EccNistP256)
            .key_usage(KeyUsageType::SignVerify)
            .origin(OriginType::AwsKms)
            .multi_region(false)
            // As IAM sees it, what is not sent is absent, not false (KMS Developer Guide, "AWS KMS condition keys").
            .bypass_policy_lockout_safety_check(false)
            .description(format!("{}{} of tenant {}", description(&self.prefix), label.ca, label.tenant))
            .set_tags(Some(tags))
            .set_policy(self.policy_of(label.ca.as_str().split('.').next().unwrap_or_default()))
            .customize()
            .config_override(retries)
            .send()
            .await;
        let timed_out = matches!(answer, Err(SdkError::TimeoutError(_)));
        if in_doubt.load(Relaxed) || timed_out {
            let advice = "the task rotate-cas reports it after an hour";
            tracing::warn!(kms.alias = alias, advice, "no response from CreateKey: a key without an alias may exist");
        }
        let metadata = answer.map_err(|e| error::of(alias, "kms:CreateKey", &e))?.key_metadata;
        let arn = metadata.and_then(|key| key.arn);
        arn.ok_or_else(|| KeyError::Unavailable("KMS created a key but did not return its ARN".into()))
    }

    /// Gives the key with this ARN its name, and returns the ARN of the key that has it: another's, if that was faster.
    pub(crate) async fn name(&self, alias: &str, arn: &str) -> Result<String, KeyError> {
        let retries = patient(self.limits).retry_classifier(UntilVisible::<CreateAliasError>::default());
        let call = self.client.create_alias().alias_name(alias).target_key_id(arn);
        let bearer = match call.customize().config_override(retries).send().await {
            Ok(_) => return Ok(arn.to_owned()),
            // By another node, or by an attempt of this call whose answer was lost.
            Err(e) if e.as_service_error().is_some_and(CreateAliasError::is_already_exists_exception) => {
                self.bearer(alias).await
            }
            Err(e) => Err(error::of(alias, "kms:CreateAlias", &e)),
        };
        match bearer {
            Ok(bearer) if bearer == arn => Ok(bearer),
            Ok(bearer) => {
                let advice = "the task rotate-cas reports it after an hour";
                tracing::warn!(kms.key = arn, kms.alias = alias, advice, "unused key: another node created it first");
                Ok(bearer)
            }
            Err(error) => {
                let advice = "do not delete it: the task rotate-cas reports it after an hour if it has no alias";
                tracing::warn!(kms.key = arn, kms.alias = alias, advice, "created a key that may have no alias");
                Err(not_yet(error))
            }
        }
    }

    /// Waits until a key that was just made can be used: who cannot find it would take it for deleted.
    pub(crate) async fn until_visible(&self, arn: &str) -> Result<(), KeyError> {
        let retries = patient(self.limits).retry_classifier(UntilVisible::<GetPublicKeyError>::default());
        let answer = self.client.get_public_key().key_id(arn).customize().config_override(retries).send().await;
        answer.map(drop).map_err(|e| not_yet(error::of(arn, "kms:GetPublicKey", &e)))
    }

    /// The ARN of the key that has this name, which somebody has just given it.
    async fn bearer(&self, alias: &str) -> Result<String, KeyError> {
        let retries = patient(self.limits).retry_classifier(UntilVisible::<DescribeKeyError>::default());
        let answer = self.client.describe_key().key_id(alias).customize().config_override(retries).send().await;
        let key = answer.map_err(|e| error::of(alias, "kms:DescribeKey", &e))?.key_metadata;
        let arn = key.and_then(|key| key.arn);
        arn.ok_or_else(|| KeyError::Unavailable(format!("KMS answered without a description of {alias}")))
    }
}

/// What is not found although it was just made will be.
fn not_yet(error: KeyError) -> KeyError {
    match error {
        KeyError::NotFound(what) => {
            KeyError::Unavailable(format!("{what} was just created and is not visible yet; try again"))
        }
        other => other,
    }
}

/// With pauses that use up about half of the time for an operation: what is waited for takes seconds.
fn patient(limits: Limits) -> config::Builder {
    let retry = RetryConfig::standard()
        .with_max_attempts(limits.attempts)
        .with_initial_backoff(limits.operation / 32)
        .with_max_backoff(limits.operation / 4);
    config::Builder::new().retry_config(retry)
}

/// Tags that IAM conditions go by.
fn tags(prefix: &str, label: &KeyLabel) -> Result<Vec<Tag>, BuildError> {
    [("environment", prefix), ("tenant", label.tenant.as_str()), ("ca", label.ca.as_str())]
        .into_iter()
        .map(|(name, value)| Tag::builder().tag_key(format!("signet:{name}")).tag_value(value).build())
        .collect()
}

/// Has a throttled call tried again and no other, and remembers whether one may have been carried out although no
/// answer said so.
#[derive(Debug)]
struct OnlyThrottled {
    in_doubt: Arc<AtomicBool>,
}

impl ClassifyRetry for OnlyThrottled {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let Some(Err(failure)) = context.output_or_error() else { return RetryAction::NoActionIndicated };
        let answer = failure.as_operation_error().and_then(|error| error.downcast_ref::<CreateKeyError>());
        if answer.and_then(ProvideErrorMetadata::code).is_some_and(|code| THROTTLED.contains(&code)) {
            return RetryAction::throttling_error();
        }
        let turned_away = context.response().is_some_and(|answer| (400..500).contains(&answer.status().as_u16()));
        if !(turned_away || never_connected(failure)) {
            self.in_doubt.store(true, Relaxed);
        }
        RetryAction::RetryForbidden
    }

    fn name(&self) -> &'static str {
        "signet creation of keys"
    }
}

/// Whether nothing ever left this machine.
fn never_connected(error: &(dyn Error + 'static)) -> bool {
    successors(Some(error), |&error| error.source())
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|io| io.kind() == io::ErrorKind::ConnectionRefused)
}

/// Has a call tried again that does not find what was just made.
#[derive(Debug)]
struct UntilVisible<E>(PhantomData<fn() -> E>);

impl<E> Default for UntilVisible<E> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<E: ProvideErrorMetadata + Error + Send + Sync + 'static> ClassifyRetry for UntilVisible<E> {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let Some(Err(failure)) = context.output_or_error() else { return RetryAction::NoActionIndicated };
        let answer = failure.as_operation_error().and_then(|error| error.downcast_ref::<E>());
        match answer.and_then(ProvideErrorMetadata::code) {
            Some("NotFoundException" | "KMSInvalidStateException") => RetryAction::transient_error(),
            // A quota of aliases is no throttling, for which the SDK takes it.
            Some("LimitExceededException") => RetryAction::RetryForbidden,
            _ => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "signet visibility of keys"
    }
}

#[cfg(test)]
mod tests;
