//! What the client makes of the keymaker's answers.

use aws_config::{BehaviorVersion, Region};
use signet_core::{KeyLabel, KeyManager};
use signet_testkit::scripted::{
    Answer::{self, Http, Lost},
    Scripted,
};

use super::*;
use crate::{KmsKeys, Limits};

const ABSENT: Answer = Http(400, r#"{"__type": "NotFoundException", "message": "Alias is not found."}"#);
const MADE: Answer = Http(200, r#"{"key": "kms:arn:aws:kms:eu-central-1:0:key/theirs"}"#);

async fn keys(kms: &Scripted) -> KmsKeys {
    let aws = aws_config::defaults(BehaviorVersion::latest()).region(Region::new("eu-central-1")).test_credentials();
    let aws = aws.endpoint_url(kms.endpoint()).load().await;
    KmsKeys::with_limits(&aws, "test", Limits::default()).made_by(&aws, "test-keymaker")
}

fn label() -> KeyLabel {
    KeyLabel { tenant: "acme".parse().unwrap(), ca: "acme.1".parse().unwrap() }
}

#[tokio::test]
async fn a_key_is_made_by_the_function_and_by_nobody_else() {
    let aws = Scripted::new([ABSENT, MADE]).await;
    let key = keys(&aws).await.create(&label()).await.unwrap();
    assert_eq!(key.as_str(), "kms:arn:aws:kms:eu-central-1:0:key/theirs");
    assert_eq!(aws.asked(), ["DescribeKey", "/2015-03-31/functions/test-keymaker/invocations"]);
    assert_eq!(aws.bodies()[1], r#"{"task":"create-key","tenant":"acme","ca":"acme.1"}"#);
}

#[tokio::test]
async fn what_the_operator_must_mend_is_told_apart_from_what_passes() {
    for refused in [
        Http(200, r#"{"not-made": {"key": "alias/x", "reason": "KMS rejected its policy"}}"#),
        Http(403, r#"{"__type": "AccessDeniedException", "message": "not authorized"}"#),
        Http(404, r#"{"__type": "ResourceNotFoundException", "message": "Function not found"}"#),
    ] {
        let error = keys(&Scripted::new([ABSENT, refused]).await).await.create(&label()).await.unwrap_err();
        assert!(matches!(error, KeyError::NotMade { .. } | KeyError::Denied { .. }), "{refused:?}: {error}");
    }
    for passing in [
        Http(200, r#"{"unavailable": "KMS is slow"}"#),
        Http(200, r#"{"policies": {"changed": 0, "failed": [], "unfinished": false}}"#),
        Http(200, "<html>"),
        Http(429, r#"{"__type": "TooManyRequestsException", "message": "Rate exceeded"}"#),
        Lost,
    ] {
        let error = keys(&Scripted::new([ABSENT, passing]).await).await.create(&label()).await.unwrap_err();
        assert!(matches!(error, KeyError::Unavailable(_)), "{passing:?}: {error}");
    }
}

#[tokio::test]
async fn policies_are_the_functions_business() {
    let report =
        r#"{"policies": {"changed": 2, "failed": [["alias/x", "denied"]], "unfinished": true, "next": "there"}}"#;
    let aws = Scripted::new([Http(200, report), Http(200, report)]).await;
    let keys = keys(&aws).await;
    let report = keys.apply_policies(None).await.unwrap();
    assert_eq!((report.changed, report.failed.len(), report.unfinished), (2, 1, true));
    keys.apply_policies(report.next.as_deref()).await.unwrap();
    assert_eq!(aws.bodies(), [r#"{"task":"apply-policies"}"#, r#"{"task":"apply-policies","from":"there"}"#]);
}

#[test]
fn orders_have_no_other_members() {
    for bad in [r#"{"task": "create-key", "tenant": "acme"}"#, r#"{"task": "apply-policies", "policy": "{}"}"#, "{}"] {
        assert!(serde_json::from_str::<Order>(bad).is_err(), "{bad}");
    }
}
