//! Which keys are ended, and what a call does that finds another's work.

use aws_config::{BehaviorVersion, Region};
use signet_core::KeyManager;
use signet_testkit::scripted::{
    Answer::{self, Http},
    Scripted,
};

use super::*;

const ARN: &str = "arn:aws:kms:eu-central-1:0:key/k";
const ENABLED: Answer =
    Http(200, r#"{"KeyMetadata": {"KeyId": "k", "Arn": "arn:aws:kms:eu-central-1:0:key/k", "KeyState": "Enabled"}}"#);
const PENDING: Answer = Http(
    200,
    r#"{"KeyMetadata": {"KeyId": "k", "Arn": "arn:aws:kms:eu-central-1:0:key/k", "KeyState": "PendingDeletion"}}"#,
);
const OTHER: Answer = Http(
    200,
    r#"{"KeyMetadata": {"KeyId": "o", "Arn": "arn:aws:kms:eu-central-1:0:key/other", "KeyState": "Enabled"}}"#,
);
const TAGS: Answer = Http(
    200,
    r#"{"Tags": [{"TagKey": "signet:environment", "TagValue": "test"}, {"TagKey": "signet:tenant", "TagValue": "acme"},
        {"TagKey": "signet:ca", "TagValue": "acme.1"}]}"#,
);
const ABSENT: Answer = Http(400, r#"{"__type": "NotFoundException", "message": "not found"}"#);
const STATE: Answer = Http(400, r#"{"__type": "KMSInvalidStateException", "message": "is pending deletion."}"#);
const DONE: Answer = Http(200, "{}");

async fn end(key: &str, tenant: &str, answers: impl Into<Vec<Answer>>) -> (Result<(), KeyError>, Scripted) {
    let kms = Scripted::new(answers).await;
    let aws = aws_config::defaults(BehaviorVersion::latest()).region(Region::new("eu-central-1")).test_credentials();
    let aws = aws.endpoint_url(kms.endpoint()).load().await;
    let keys = KmsKeys::new(&aws, "test");
    (keys.end(&format!("kms:{key}").parse().unwrap(), &tenant.parse().unwrap()).await, kms)
}

#[tokio::test]
async fn the_deletion_is_scheduled_and_then_the_name_is_taken_away() {
    let (ended, kms) = end(ARN, "acme", [ENABLED, TAGS, ENABLED, DONE, DONE]).await;
    ended.unwrap();
    let calls = ["DescribeKey", "ListResourceTags", "DescribeKey", "ScheduleKeyDeletion", "DeleteAlias"];
    assert_eq!(kms.asked(), calls);
    assert!(kms.bodies()[3].contains(r#""PendingWindowInDays":30"#), "{}", kms.bodies()[3]);
    assert!(kms.bodies()[4].contains("alias/test-tenant-acme-1"), "{}", kms.bodies()[4]);
}

#[tokio::test]
async fn an_end_that_was_cut_off_is_completed() {
    let (ended, kms) = end(ARN, "acme", [PENDING, TAGS, PENDING, DONE]).await;
    ended.unwrap();
    assert_eq!(kms.asked().last().unwrap(), "DeleteAlias");
    for answers in [vec![ABSENT], vec![PENDING, TAGS, ABSENT], vec![ENABLED, TAGS, ENABLED, STATE, PENDING, ABSENT]] {
        end(ARN, "acme", answers).await.0.unwrap();
    }
}

#[tokio::test]
async fn the_key_of_a_later_tenant_of_that_name_keeps_its_name() {
    let (ended, kms) = end(ARN, "acme", [PENDING, TAGS, OTHER]).await;
    ended.unwrap();
    assert_eq!(kms.asked(), ["DescribeKey", "ListResourceTags", "DescribeKey"]);
}

#[tokio::test]
async fn what_was_not_made_for_this_tenant_is_refused() {
    let tags = |tags: &'static str| Http(200, tags);
    let terraforms = tags(
        r#"{"Tags": [{"TagKey": "signet:environment", "TagValue": "test"}, {"TagKey": "signet:purpose", "TagValue": "root"}]}"#,
    );
    let elsewhere = tags(
        r#"{"Tags": [{"TagKey": "signet:environment", "TagValue": "prod"}, {"TagKey": "signet:tenant", "TagValue": "acme"},
            {"TagKey": "signet:ca", "TagValue": "acme.1"}]}"#,
    );
    let untrue = tags(
        r#"{"Tags": [{"TagKey": "signet:environment", "TagValue": "test"}, {"TagKey": "signet:tenant", "TagValue": "acme"},
            {"TagKey": "signet:ca", "TagValue": "root.2"}]}"#,
    );
    let own = tags(
        r#"{"Tags": [{"TagKey": "signet:environment", "TagValue": "test"}, {"TagKey": "signet:tenant", "TagValue": "system"},
            {"TagKey": "signet:ca", "TagValue": "root.2"}]}"#,
    );
    for (key, tenant, answers) in [
        ("alias/test-root", "acme", vec![]),
        (ARN, "globex", vec![ENABLED, TAGS]),
        (ARN, "acme", vec![ENABLED, terraforms]),
        (ARN, "acme", vec![ENABLED, elsewhere]),
        (ARN, "acme", vec![ENABLED, untrue]),
        (ARN, "system", vec![ENABLED, own]),
        (ARN, "acme", vec![ENABLED, TAGS, OTHER]),
        (ARN, "acme", vec![ENABLED, TAGS, ABSENT]),
    ] {
        let asked = answers.len();
        let (refused, kms) = end(key, tenant, answers).await;
        assert!(matches!(refused, Err(KeyError::Denied { .. })), "{key} of {tenant}: {refused:?}");
        assert_eq!(kms.asked().len(), asked, "nothing is changed");
    }
}
