//! What becomes of signatures when KMS is throttled, slow, silent or wrong.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking, also in what they share")]

use std::{sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use signet_core::{KeyError, KeyManager, Signer};
use signet_kms::Limits;
use signet_testkit::{
    faults::{self, ANSWER_LOST, inject},
    signer_suite::{unique_label, verifies},
};

use crate::support::keys_at;

/// Few attempts, each with time enough on a busy machine.
const SHORT: Limits = Limits {
    connect: Duration::from_secs(5),
    attempt: Duration::from_secs(10),
    operation: Duration::from_secs(40),
    attempts: 3,
};

/// A signer behind the proxy, and its key's id, which a rule can match.
async fn subject() -> (Arc<dyn Signer>, String) {
    let keys = keys_at(&faults::endpoint(), SHORT).await;
    let key = keys.create(&unique_label()).await.unwrap();
    let id = key.as_str().rsplit('/').next().unwrap().to_owned();
    (keys.open(&key).await.unwrap(), id)
}

#[tokio::test]
async fn throttling_and_lost_answers_are_waited_out() {
    for fault in [
        r#""error": {"code": "ThrottlingException"}"#,
        ANSWER_LOST,
        r#""error": {"code": "KMSInternalException", "status": 500}"#,
    ] {
        let (signer, id) = subject().await;
        inject("Sign", &id, &format!(r#""times": 2, {fault}"#)).await;
        let signature = signer.sign(b"message").await.unwrap();
        assert!(verifies(signer.spki_der(), b"message", &signature), "{fault}");
    }
}

#[tokio::test]
async fn throttling_without_end_is_unavailable() {
    let (signer, id) = subject().await;
    inject("Sign", &id, r#""error": {"code": "ThrottlingException"}"#).await;
    let refused = signer.sign(b"message").await.unwrap_err();
    assert!(matches!(&refused, KeyError::Unavailable(why) if why.contains("ThrottlingException")), "{refused}");
}

#[tokio::test]
async fn a_slow_key_manager_is_waited_for_and_a_silent_one_is_not() {
    let (signer, id) = subject().await;
    inject("Sign", &id, r#""times": 1, "latency": 300"#).await;
    signer.sign(b"message").await.unwrap();
    inject("Sign", &id, r#""timeout_ms": 30000"#).await;
    let refused = signer.sign(b"message").await.unwrap_err();
    assert!(matches!(refused, KeyError::Unavailable(_)), "{refused}");
}

#[tokio::test]
async fn a_refusal_names_the_permission_that_is_missing() {
    let (signer, id) = subject().await;
    inject("Sign", &id, r#""error": {"code": "AccessDeniedException", "status": 400, "message": "not authorized"}"#)
        .await;
    let refused = signer.sign(b"message").await.unwrap_err();
    assert!(matches!(&refused, KeyError::Denied { reason, .. } if reason.contains("kms:Sign")), "{refused}");
}

/// Somebody between us and KMS, or an emulator that hashes a digest again: a well-formed answer with a signature over
/// something else.
#[tokio::test]
async fn a_signature_over_something_else_is_never_released() {
    let (signer, id) = subject().await;
    let other = BASE64_STANDARD.encode(signer.sign(b"something else").await.unwrap());
    let answer = format!(r#""error": {{"code": "none", "status": 200, "fields": {{"Signature": "{other}"}}}}"#);
    inject("Sign", &id, &answer).await;
    assert!(matches!(signer.sign(b"something else").await, Ok(it) if BASE64_STANDARD.encode(&it) == other));
    let refused = signer.sign(b"message").await.unwrap_err();
    assert!(matches!(refused, KeyError::BadSignature(_)), "{refused}");
}

#[tokio::test]
async fn an_endpoint_that_refuses_connections_is_unavailable() {
    let keys = keys_at("http://127.0.0.1:9", SHORT).await;
    let refused = keys.create(&unique_label()).await.unwrap_err();
    assert!(matches!(refused, KeyError::Unavailable(_)), "{refused}");
}
