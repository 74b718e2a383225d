//! The function as AWS runs it: the real program, zipped, invoked on the emulator (`scripts/aws-emulator`, as
//! `scripts/test` does), by the client that signetd has.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::sync::Arc;

use aws_config::{BehaviorVersion, Region};
use signet_core::{KeyError, KeyManager, PolicyReport};
use signet_kms::KmsKeys;
use signet_testkit::{
    faults::variable,
    fixtures::unique,
    lambda::{deploy, invoke},
    signer_suite::{unique_label, verifies},
};

const POLICY: &str = r#"{"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::000000000000:root"}, "Action": "kms:*", "Resource": "*"}]}"#;

/// The function with this policy, and the keys of an environment of the test's own that it makes.
async fn maker(prefix: &str, policy: &str) -> (String, Arc<dyn KeyManager>) {
    let name = unique("keymaker-");
    let endpoint = variable("SIGNET_TEST_AWS_ENDPOINT");
    let variables = [
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("SIGNET_ENVIRONMENT__NAME", "test"),
        ("SIGNET_ENVIRONMENT__TRUST_DOMAIN_SUFFIX", "test.example.com"),
        ("SIGNET_STORAGE__KIND", "dynamodb"),
        ("SIGNET_STORAGE__PREFIX", prefix),
        ("SIGNET_KEYS__KIND", "kms"),
        ("SIGNET_KEYS__PREFIX", prefix),
        ("SIGNET_KEYS__TENANT_KEY_POLICY", policy),
        ("SIGNET_SERVER_IDENTITY__KIND", "aws"),
        ("SIGNET_SERVER_IDENTITY__PREFIX", "/keymaker-test"),
        ("SIGNET_TELEMETRY__LOG", "json"),
        ("SIGNET_AWS__REGION", "eu-central-1"),
        ("SIGNET_AWS__ENDPOINT_URL", endpoint.as_str()),
    ];
    deploy(&name, env!("CARGO_BIN_EXE_signet-keymaker"), &variables.map(|(name, value)| (name, value.to_owned())));
    let aws = aws_config::defaults(BehaviorVersion::latest()).region(Region::new("eu-central-1")).test_credentials();
    let aws = aws.endpoint_url(&endpoint).load().await;
    (name.clone(), Arc::new(KmsKeys::new(&aws, prefix).made_by(&aws, name)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_made_once_and_signs_and_its_policy_follows() {
    let (prefix, label) = (unique("maker-"), unique_label());
    let (_, keys) = maker(&prefix, POLICY).await;
    let key = keys.create(&label).await.unwrap();
    assert_eq!(keys.create(&label).await.unwrap(), key, "the same label, the same key");
    let signer = keys.open(&key).await.unwrap();
    assert!(verifies(signer.spki_der(), b"message", &signer.sign(b"message").await.unwrap()));
    assert_eq!(keys.apply_policies(None).await.unwrap(), PolicyReport::default(), "it has this policy already");
    let (_, corrected) = maker(&prefix, &POLICY.replace("kms:*", "kms:Sign")).await;
    let once = PolicyReport { changed: 1, ..PolicyReport::default() };
    assert_eq!(corrected.apply_policies(None).await.unwrap(), once);
    assert_eq!(corrected.apply_policies(None).await.unwrap(), PolicyReport::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_ended_for_its_tenant_only() {
    let label = unique_label();
    let (_, keys) = maker(&unique("maker-"), POLICY).await;
    let key = keys.create(&label).await.unwrap();
    let refused = keys.end(&key, &unique_label().tenant).await;
    assert!(matches!(refused, Err(KeyError::Denied { .. })), "{refused:?}");
    keys.open(&key).await.unwrap();
    keys.end(&key, &label.tenant).await.unwrap();
    keys.end(&key, &label.tenant).await.unwrap();
    let ended = keys.open(&key).await;
    assert!(matches!(&ended, Err(KeyError::Unusable { reason, .. }) if reason.contains("pending")), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_events_are_refused() {
    let (name, _) = maker(&unique("maker-"), POLICY).await;
    for event in [r#"{"task": "create-key", "tenant": "acme"}"#, r#"{"task": "delete-key"}"#, "{}"] {
        let name = name.clone();
        let answer = tokio::task::spawn_blocking(move || invoke(&name, event)).await.unwrap();
        assert!(answer.contains("the event is no order"), "{event}: {answer}");
    }
}
