//! The endpoint under test.

use std::sync::Arc;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use signet_core::KeyManager;
use signet_kms::{KmsKeys, Limits};
use signet_testkit::faults::variable;

pub(crate) fn prefix() -> String {
    variable("SIGNET_TEST_AWS_PREFIX")
}

pub(crate) async fn aws(endpoint: &str) -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .test_credentials()
        .endpoint_url(endpoint)
        .load()
        .await
}

/// KMS itself, to do what an operator would.
pub(crate) async fn client() -> aws_sdk_kms::Client {
    aws_sdk_kms::Client::new(&aws(&variable("SIGNET_TEST_AWS_ENDPOINT")).await)
}

pub(crate) async fn keys_at(endpoint: &str, limits: Limits) -> KmsKeys {
    KmsKeys::with_limits(&aws(endpoint).await, prefix(), limits)
}

pub(crate) async fn keys() -> (Arc<dyn KeyManager>, ()) {
    (Arc::new(keys_at(&variable("SIGNET_TEST_AWS_ENDPOINT"), Limits::default()).await), ())
}
