//! The endpoint under test.

use std::sync::Arc;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use signet_core::Store;
use signet_dynamodb::{DynamoStore, Limits};
pub(crate) use signet_testkit::faults::variable;

pub(crate) async fn aws(endpoint: &str) -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .test_credentials()
        .endpoint_url(endpoint)
        .load()
        .await
}

pub(crate) async fn store_at(endpoint: &str, limits: Limits) -> DynamoStore {
    DynamoStore::new(&aws(endpoint).await, variable("SIGNET_TEST_AWS_PREFIX"), limits)
}

pub(crate) async fn store() -> (Arc<dyn Store>, ()) {
    (Arc::new(store_at(&variable("SIGNET_TEST_AWS_ENDPOINT"), Limits::default()).await), ())
}
