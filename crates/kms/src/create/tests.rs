//! What `create` makes of KMS's answers, and what it tells the operator.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_config::{BehaviorVersion, Region};
use signet_core::{KeyError, KeyLabel, KeyManager, KeyRef};
use signet_testkit::scripted::{
    Answer::{self, Http, Lost},
    Scripted,
};
use tracing::{level_filters::LevelFilter, subscriber::set_default};

use crate::{KmsKeys, Limits};

const ABSENT: Answer = Http(400, r#"{"__type": "NotFoundException", "message": "Alias is not found."}"#);
const MADE: Answer = Http(200, r#"{"KeyMetadata": {"KeyId": "ours", "Arn": "arn:aws:kms:eu-central-1:0:key/ours"}}"#);
const OURS: Answer = MADE;
const OTHERS: Answer =
    Http(200, r#"{"KeyMetadata": {"KeyId": "others", "Arn": "arn:aws:kms:eu-central-1:0:key/others"}}"#);
const DONE: Answer = Http(200, "");
const TAKEN: Answer = Http(400, r#"{"__type": "AlreadyExistsException", "message": "An alias exists already"}"#);
const THROTTLED: Answer = Http(400, r#"{"__type": "ThrottlingException", "message": "Rate exceeded"}"#);
const QUOTA: Answer = Http(400, r#"{"__type": "LimitExceededException", "message": "too many keys"}"#);
const LOCKED_OUT: Answer = Http(
    400,
    r#"{"__type": "MalformedPolicyDocumentException", "message": "The new key policy will not allow you to update the key policy in the future."}"#,
);
const FAILED: Answer = Http(500, r#"{"__type": "KMSInternalException", "message": "-"}"#);

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Outcome {
    key: Result<KeyRef, KeyError>,
    asked: Vec<String>,
    log: String,
}

impl Outcome {
    fn is(&self, id: &str) -> bool {
        matches!(&self.key, Ok(key) if key.as_str() == format!("kms:arn:aws:kms:eu-central-1:0:key/{id}"))
    }

    fn count(&self, operation: &str) -> usize {
        self.asked.iter().filter(|asked| *asked == operation).count()
    }
}

/// Short pauses, and time enough on a busy machine.
const QUICK: Limits = Limits {
    connect: Duration::from_secs(5),
    attempt: Duration::from_secs(5),
    operation: Duration::from_secs(5),
    attempts: 4,
};

async fn create_at(endpoint: &str) -> (Result<KeyRef, KeyError>, String) {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_max_level(LevelFilter::WARN).with_ansi(false);
    let _logs = set_default(subscriber.with_writer(move || writer.clone()).finish());
    let aws = aws_config::defaults(BehaviorVersion::latest()).region(Region::new("eu-central-1")).test_credentials();
    let keys = KmsKeys::with_limits(&aws.endpoint_url(endpoint).load().await, "test", QUICK);
    let label = KeyLabel { tenant: "acme".parse().unwrap(), ca: "acme.1".parse().unwrap() };
    let key = keys.create(&label).await;
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    (key, log)
}

async fn create(answers: impl Into<Vec<Answer>>) -> Outcome {
    let kms = Scripted::new(answers).await;
    let (key, log) = create_at(kms.endpoint()).await;
    Outcome { key, asked: kms.asked(), log }
}

#[tokio::test]
async fn a_name_whose_answer_was_lost_is_our_keys_own_and_nothing_is_said_of_deleting_it() {
    let made = create([ABSENT, MADE, Lost, TAKEN, OURS]).await;
    assert!(made.is("ours") && made.count("CreateAlias") == 2, "{:?} {:?}", made.key, made.asked);
    assert_eq!(made.log, "");
}

#[tokio::test]
async fn a_key_that_another_node_made_first_is_used_and_ours_is_reported() {
    let made = create([ABSENT, MADE, TAKEN, OTHERS]).await;
    assert!(made.is("others"), "{:?}", made.key);
    assert!(
        made.log.contains("key/ours") && made.log.contains("rotate-cas") && !made.log.contains("delete"),
        "{}",
        made.log
    );
}

#[tokio::test]
async fn what_was_just_made_is_waited_for_until_it_is_visible() {
    let made = create([ABSENT, MADE, ABSENT, ABSENT, TAKEN, ABSENT, ABSENT, OURS]).await;
    assert!(made.is("ours"), "{:?} {:?}", made.key, made.asked);
    let never = create([ABSENT, MADE, TAKEN, ABSENT]).await;
    assert!(
        matches!(&never.key, Err(KeyError::Unavailable(why)) if why.contains("not visible yet")),
        "{:?}",
        never.key
    );
    assert_eq!(never.count("DescribeKey"), 1 + 4, "bounded");
    assert!(never.log.contains("may have no alias"), "{}", never.log);
}

/// `open` and `sign` would tell the operator that it was deleted.
#[tokio::test]
async fn a_new_key_is_handed_out_when_it_can_be_used() {
    let made = create([ABSENT, MADE, DONE, ABSENT, ABSENT, OURS]).await;
    assert!(made.is("ours") && made.count("GetPublicKey") == 3, "{:?} {:?}", made.key, made.asked);
    let never = create([ABSENT, MADE, DONE, ABSENT]).await;
    assert!(
        matches!(&never.key, Err(KeyError::Unavailable(why)) if why.contains("not visible yet")),
        "{:?}",
        never.key
    );
    assert_eq!(never.log, "", "it has its name: the next call finds it");
}

#[tokio::test]
async fn a_throttled_creation_is_tried_again_and_made_nothing() {
    let made = create([ABSENT, THROTTLED, THROTTLED, MADE, DONE]).await;
    assert!(made.is("ours") && made.count("CreateKey") == 3, "{:?} {:?}", made.key, made.asked);
    let never = create([ABSENT, THROTTLED]).await;
    assert!(matches!(&never.key, Err(KeyError::Unavailable(_))), "{:?}", never.key);
    assert_eq!(never.count("CreateKey"), 4);
    assert!(!never.log.contains("a key without an alias may exist"), "{}", never.log);
}

#[tokio::test]
async fn a_creation_that_may_have_been_carried_out_is_not_tried_again_and_told() {
    for lost in [Lost, FAILED, Http(502, "<html>"), Http(200, "<html>")] {
        let made = create([ABSENT, THROTTLED, lost, MADE]).await;
        assert!(matches!(&made.key, Err(KeyError::Unavailable(_))), "{lost:?}: {:?}", made.key);
        assert_eq!(made.asked, ["DescribeKey", "CreateKey", "CreateKey"], "{lost:?}");
        assert!(
            made.log.contains("a key without an alias may exist") && made.log.contains("rotate-cas"),
            "{}",
            made.log
        );
    }
}

#[tokio::test]
async fn a_quota_of_keys_is_the_operators_matter() {
    let refused = create([ABSENT, QUOTA]).await;
    assert!(
        matches!(&refused.key, Err(KeyError::NotMade { reason, .. }) if reason.contains("quota")),
        "{:?}",
        refused.key
    );
    assert_eq!(refused.count("CreateKey"), 1);
    assert!(!refused.log.contains("a key without an alias may exist"), "{}", refused.log);
    let refused = create([ABSENT, MADE, QUOTA]).await;
    assert!(matches!(&refused.key, Err(KeyError::NotMade { .. })), "{:?}", refused.key);
    assert_eq!(refused.count("CreateAlias"), 1);
}

/// The policy of `infra/modules/ca-keys`, or a role that cannot change it: no wait helps.
#[tokio::test]
async fn a_rejected_policy_is_the_operators_matter() {
    let refused = create([ABSENT, LOCKED_OUT]).await;
    let error = refused.key.as_ref().unwrap_err().to_string();
    assert!(matches!(refused.key, Err(KeyError::NotMade { .. })), "{error}");
    for words in ["cannot be created", "kms:PutKeyPolicy", "tenant_key_policy", "in the future"] {
        assert!(error.contains(words), "{words}: {error}");
    }
    assert_eq!(refused.count("CreateKey"), 1);
}

/// A condition on what is not sent does not hold.
#[tokio::test]
async fn what_iam_has_conditions_on_is_sent() {
    let kms = Scripted::new([ABSENT, MADE, DONE]).await;
    create_at(kms.endpoint()).await.0.unwrap();
    let asked = kms.asked();
    let sent = &kms.bodies()[asked.iter().position(|asked| asked == "CreateKey").unwrap()];
    for said in [
        r#""KeySpec":"ECC_NIST_P256""#,
        r#""KeyUsage":"SIGN_VERIFY""#,
        r#""Origin":"AWS_KMS""#,
        r#""MultiRegion":false"#,
        r#""BypassPolicyLockoutSafetyCheck":false"#,
    ] {
        assert!(sent.contains(said), "{said}: {sent}");
    }
}
