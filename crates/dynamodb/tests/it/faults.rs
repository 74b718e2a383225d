//! What becomes of calls when DynamoDB is throttled, slow or silent.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking, also in what they share")]

use std::time::Duration;

use signet_core::{
    Store, StoreError,
    principals::Principal,
    store::{Entity, Index, Query, Table, Version, Write},
};
use signet_dynamodb::{DynamoStore, Limits};
use signet_testkit::{
    faults::{self, ANSWER_LOST, inject},
    fixtures::{NOW, principal, transaction, unique_tenant},
    scripted::{
        Answer::{Http, Lost},
        Scripted,
    },
};

use crate::support::{aws, store_at, variable};

const CALL: &str = "TransactWriteItems";
const THROTTLED: &str = r#""error": {"code": "ProvisionedThroughputExceededException"}"#;
const CONFLICT: &str = r#""error": {"code": "TransactionCanceledException", "status": 400,
    "fields": {"CancellationReasons": [{"Code": "TransactionConflict", "Message": "in another transaction"}]}}"#;

/// Few attempts, each with time enough on a busy machine.
const SHORT: Limits = Limits {
    connect: Duration::from_secs(5),
    attempt: Duration::from_secs(10),
    operation: Duration::from_secs(40),
    attempts: 3,
};

/// A store behind the proxy, and a principal of a tenant whose name a rule can match.
async fn subject() -> (DynamoStore, Principal, String) {
    let tenant = unique_tenant();
    (store_at(&faults::endpoint(), SHORT).await, principal(&tenant, "worker"), tenant.to_string())
}

async fn create(store: &DynamoStore, worker: &Principal) -> Result<(), StoreError> {
    store.transact(transaction([Write::create(worker.clone())])).await
}

/// What is stored, asked without the proxy.
async fn kept(worker: &Principal) -> Option<Version> {
    let store = store_at(&variable("SIGNET_TEST_AWS_ENDPOINT"), SHORT).await;
    store.get(&worker.key(), NOW).await.unwrap().map(|record| record.version)
}

#[tokio::test]
async fn throttling_and_other_transactions_are_waited_out() {
    for fault in [THROTTLED, CONFLICT] {
        let (store, worker, needle) = subject().await;
        inject(CALL, &needle, &format!(r#""times": 2, {fault}"#)).await;
        assert_eq!(create(&store, &worker).await, Ok(()), "{fault}");
        assert_eq!(kept(&worker).await, Some(Version::new(1)));
    }
}

#[tokio::test]
async fn throttling_without_end_is_unavailable_and_nothing_is_applied() {
    for fault in [THROTTLED, CONFLICT] {
        let (store, worker, needle) = subject().await;
        inject(CALL, &needle, fault).await;
        let refused = create(&store, &worker).await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
        assert_eq!(kept(&worker).await, None);
    }
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_and_applied_once() {
    let (store, worker, needle) = subject().await;
    inject(CALL, &needle, &format!(r#""times": 1, {ANSWER_LOST}"#)).await;
    assert_eq!(create(&store, &worker).await, Ok(()), "the client token makes the second attempt the first one");
    assert_eq!(kept(&worker).await, Some(Version::new(1)));
}

#[tokio::test]
async fn answers_lost_for_ever_leave_it_unknown_although_it_was_applied() {
    let (store, worker, needle) = subject().await;
    inject(CALL, &needle, ANSWER_LOST).await;
    let refused = create(&store, &worker).await;
    assert!(matches!(refused, Err(StoreError::Unknown(_))), "{refused:?}");
    assert_eq!(kept(&worker).await, Some(Version::new(1)));
}

/// The last attempt was throttled, which by itself applies nothing; but the first one may have been applied.
#[tokio::test]
async fn a_lost_answer_before_throttling_is_unknown() {
    let (store, worker, needle) = subject().await;
    inject(CALL, &needle, &format!(r#""times": 1, {ANSWER_LOST}"#)).await;
    inject(CALL, &needle, THROTTLED).await;
    let refused = create(&store, &worker).await;
    assert!(matches!(refused, Err(StoreError::Unknown(_))), "{refused:?}");
    assert_eq!(kept(&worker).await, Some(Version::new(1)));
}

#[tokio::test]
async fn silence_is_unknown_for_a_write_and_unavailable_for_a_read() {
    let (_, worker, needle) = subject().await;
    let hasty = Limits { attempt: Duration::from_millis(300), ..SHORT };
    let store = store_at(&faults::endpoint(), hasty).await;
    for call in [CALL, "GetItem"] {
        inject(call, &needle, r#""timeout_ms": 30000"#).await;
    }
    let refused = create(&store, &worker).await;
    assert!(matches!(refused, Err(StoreError::Unknown(_))), "{refused:?}");
    let refused = store.get(&worker.key(), NOW).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
}

#[tokio::test]
async fn an_error_of_the_server_is_unknown() {
    let (store, worker, needle) = subject().await;
    inject(CALL, &needle, r#""error": {"code": "InternalServerError", "status": 500}"#).await;
    let refused = create(&store, &worker).await;
    assert!(matches!(refused, Err(StoreError::Unknown(_))), "{refused:?}");
    assert_eq!(kept(&worker).await, None);
}

/// The last attempt by itself applied nothing. Which 5xx the first one was, and whether it can be read, changes
/// nothing.
#[tokio::test]
async fn any_failure_of_the_server_before_throttling_is_unknown() {
    let throttled = Http(400, r#"{"__type": "com.amazonaws.dynamodb.v20120810#ThrottlingException", "message": "-"}"#);
    for failed in [
        Http(500, r#"{"__type": "com.amazonaws.dynamodb.v20120810#InternalServerError", "message": "-"}"#),
        Http(503, r#"{"__type": "com.amazon.coral.availability#ServiceUnavailableException"}"#),
        Http(502, "<html>Bad Gateway</html>"),
        Http(504, ""),
        Http(507, r#"{"message": "something new"}"#),
        Http(200, "<html>"),
        Lost,
        Http(400, r#"{"__type": "com.amazonaws.dynamodb.v20120810#TransactionInProgressException"}"#),
    ] {
        let dynamodb = Scripted::new([failed, throttled]).await;
        let store = store_at(dynamodb.endpoint(), SHORT).await;
        let refused = create(&store, &principal(&unique_tenant(), "worker")).await;
        assert!(matches!(refused, Err(StoreError::Unknown(_))), "{failed:?}: {refused:?}");
        let read = store.get(&principal(&unique_tenant(), "worker").key(), NOW).await;
        assert!(matches!(read, Err(StoreError::Unavailable(_))), "{read:?}");
    }
    let dynamodb = Scripted::new([throttled]).await;
    let store = store_at(dynamodb.endpoint(), SHORT).await;
    let refused = create(&store, &principal(&unique_tenant(), "worker")).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "nothing but throttling: {refused:?}");
}

#[tokio::test]
async fn what_dynamodb_does_not_take_is_asked_once() {
    let invalid =
        Http(400, r#"{"__type": "com.amazon.coral.validate#ValidationException", "message": "an empty key"}"#);
    let dynamodb = Scripted::new([invalid]).await;
    let store = store_at(dynamodb.endpoint(), SHORT).await;
    let refused = create(&store, &principal(&unique_tenant(), "worker")).await;
    assert!(matches!(&refused, Err(StoreError::Refused(why)) if why.contains("an empty key")), "{refused:?}");
    assert_eq!(dynamodb.asked(), ["TransactWriteItems"]);
}

#[tokio::test]
async fn an_endpoint_that_refuses_connections_is_unavailable() {
    let (_, worker, _) = subject().await;
    let store = store_at("http://127.0.0.1:9", SHORT).await;
    let refused = create(&store, &worker).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
}

/// What an index shows are places: their records are asked for until all are there, each once, and one that stands
/// elsewhere by now is left out.
#[tokio::test]
async fn what_an_index_finds_is_read_from_its_table() {
    let found = r#"{"Items": [
        {"pk": {"S": "moved"}, "sk": {"S": "a"}, "listing_pk": {"S": "p"}, "listing_sk": {"S": "1"}},
        {"pk": {"S": "slow"}, "sk": {"S": "a"}, "listing_pk": {"S": "p"}, "listing_sk": {"S": "2"}},
        {"pk": {"S": "moved"}, "sk": {"S": "a"}, "listing_pk": {"S": "p"}, "listing_sk": {"S": "3"}},
        {"pk": {"S": "deleted"}, "sk": {"S": "a"}, "listing_pk": {"S": "p"}, "listing_sk": {"S": "4"}}]}"#;
    let some = r#"{"Responses": {"t-principals": [
            {"pk": {"S": "moved"}, "sk": {"S": "a"}, "listing_pk": {"S": "p"}, "listing_sk": {"S": "3"}}]},
        "UnprocessedKeys": {"t-principals": {"Keys": [
            {"pk": {"S": "slow"}, "sk": {"S": "a"}}, {"pk": {"S": "deleted"}, "sk": {"S": "a"}}]}}}"#;
    let rest = r#"{"Responses": {"t-principals": [
        {"pk": {"S": "slow"}, "sk": {"S": "a"}, "listing_pk": {"S": "p"}, "listing_sk": {"S": "2"}}]}}"#;
    let dynamodb = Scripted::new([Http(200, found), Http(200, some), Http(200, rest)]).await;
    let store = DynamoStore::new(&aws(dynamodb.endpoint()).await, "t", SHORT);

    let page = store.query(&Query::index(Table::Principals, Index::Listing, "p"), NOW).await.unwrap();

    // They have no body, so that only their places can be read.
    let places: Vec<_> = page.unreadable.iter().map(|found| found.key.partition.as_str()).collect();
    assert_eq!(places, ["slow", "moved"]);
    assert_eq!(dynamodb.asked(), ["Query", "BatchGetItem", "BatchGetItem"]);
    assert_eq!(dynamodb.bodies()[1].matches("moved").count(), 1, "DynamoDB refuses a key that is asked for twice");
}
