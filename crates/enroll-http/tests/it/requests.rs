//! EnrollmentApi over HTTP.

use std::{num::NonZeroU32, sync::Arc};

use http::{Method, StatusCode, header};
use serde_json::{Value, json};
use signet_enroll_http::{EnrollmentApi, MAX_BODY, PROBLEM_JSON, router};
use signet_testkit::fixtures::NOW;
use signet_x509::{KeyAndCsr, pem};

use crate::world::{World, csr_pem, enrollment, request};

#[tokio::test]
async fn a_token_gets_one_certificate_and_a_repetition_the_same() {
    let world = World::new().await;
    let (token, csr) = (world.token().await, KeyAndCsr::generate().unwrap().csr_der);
    let first = world.post("/v1/enroll", &enrollment("r-1", &token, &csr)).await;
    assert_eq!(first.status, StatusCode::OK, "{}", first.body);
    assert_eq!(first.header(header::CACHE_CONTROL), "no-store");
    assert_eq!(first.body["spiffe_id"], "spiffe://acme.test.example.com/worker/crawler-1");
    assert_eq!(first.body["principal_type"], "worker");
    let chain = pem::decode_certificates(first.body["chain_pem"].as_str().unwrap()).unwrap();
    assert_eq!((chain.len(), first.body["serial_number"].as_str().unwrap().len()), (2, 32));
    assert!(first.body["not_after"].as_str().unwrap().ends_with('Z'), "{}", first.body);

    let again = world.post("/v1/enroll", &enrollment("r-1", &token, &csr)).await;
    assert_eq!((again.status, &again.body), (StatusCode::OK, &first.body));
    let other = KeyAndCsr::generate().unwrap().csr_der;
    let used = world.post("/v1/enroll", &enrollment("r-2", &token, &other)).await;
    assert_eq!(used.status, StatusCode::FORBIDDEN);
    let expected = json!({
        "type": "urn:signet:problem:ENROLLMENT_REFUSED", "title": "Forbidden", "status": 403, "detail": "enrollment refused",
        "reason": "ENROLLMENT_REFUSED", "correlation_id": "corr-1"
    });
    assert_eq!(used.body, expected, "no word of which check failed");
    assert_eq!(used.header(header::CONTENT_TYPE), PROBLEM_JSON);
    let events = world.audited("acme", "TOKEN_USED_UP").await;
    assert_eq!(
        (events.len(), &events[0]["correlation_id"], &events[0]["source"]),
        (1, &json!("corr-1"), &json!("192.0.2.1"))
    );
}

#[tokio::test]
async fn what_cannot_be_is_refused_by_name_and_secrets_are_not_repeated() {
    let world = World::new().await;
    let csr = KeyAndCsr::generate().unwrap().csr_der;
    let good = enrollment("r-1", "hunter2", &csr);
    let with = |member: &str, value: Value| {
        let mut body = good.clone();
        body[member] = value;
        body
    };
    let oidc = json!({ "oidc_token": "hunter2" });
    let x509 =
        |sign_time: &str| json!({ "x509": { "chain_pem": "hunter2", "sign_time": sign_time, "signature": "AA==" } });
    let cases = [
        (with("request_id", json!("")), "REQUIRED", "request_id"),
        (with("request_id", json!("a b")), "INVALID_ID", "request_id"),
        (with("request_id", json!(7)), "INVALID_JSON", "body"),
        (with("principal_id", json!("Not/One")), "INVALID_ID", "principal_id"),
        (with("tenant_id", json!("ACME")), "INVALID_ID", "tenant_id"),
        (with("csr_pem", json!("hunter2")), "NOT_PEM", "csr_pem"),
        (with("csr_pem", json!(csr_pem(&csr).repeat(2))), "NOT_PEM", "csr_pem"),
        (with("csr_pem", json!(csr_pem(b"no request"))), "CSR_MALFORMED", "csr_pem"),
        (with("proof", json!({ "join_token": "hunter2", "oidc_token": "hunter2" })), "INVALID_JSON", "body"),
        (with("proof", json!({ "password": "hunter2" })), "INVALID_JSON", "body"),
        (with("proof", json!({ "join_token": ["hunter2"] })), "INVALID_JSON", "body"),
        (with("proof", json!({ "join_token": "hunter2".repeat(64) })), "TOO_LARGE", "proof.join_token"),
        (with("proof", oidc), "REQUIRED", "tenant_id"),
        (with("proof", x509("yesterday")), "NOT_PEM", "proof.x509.chain_pem"),
        (with("admin", json!(true)), "INVALID_JSON", "body"),
        (json!([]), "INVALID_JSON", "body"),
    ];
    for (body, reason, field) in cases {
        let answer = world.post("/v1/enroll", &body).await;
        assert_eq!(
            (answer.status, &answer.body["reason"]),
            (StatusCode::BAD_REQUEST, &json!(reason)),
            "{body}: {}",
            answer.body
        );
        assert_eq!(answer.body["field"], field, "{body}: {}", answer.body);
        assert!(!answer.body.to_string().contains("hunter2"), "{}", answer.body);
    }
}

#[tokio::test]
async fn http_itself_is_held_to_its_rules() {
    let world = World::new().await;
    let send = async |request| world.send(&world.router, "192.0.2.1", request).await;
    let kind = send(request("/v1/enroll", "text/plain", "{}".into())).await;
    assert_eq!(
        (kind.status, &kind.body["reason"]),
        (StatusCode::UNSUPPORTED_MEDIA_TYPE, &json!("UNSUPPORTED_MEDIA_TYPE"))
    );
    let large = send(request("/v1/enroll", "application/json", " ".repeat(MAX_BODY + 1))).await;
    assert_eq!((large.status, &large.body["reason"]), (StatusCode::PAYLOAD_TOO_LARGE, &json!("TOO_LARGE")));
    let doubled =
        send(request("/v1/renew", "application/json; charset=utf-8", r#"{"request_id":"a","request_id":"b"}"#.into()))
            .await;
    assert_eq!((doubled.status, &doubled.body["reason"]), (StatusCode::BAD_REQUEST, &json!("INVALID_JSON")));
    let mut get = request("/v1/enroll", "application/json", String::new());
    *get.method_mut() = Method::GET;
    let wrong = send(get).await;
    assert_eq!((wrong.status, wrong.header(header::ALLOW)), (StatusCode::METHOD_NOT_ALLOWED, "POST"));
}

#[tokio::test]
async fn a_source_that_calls_too_often_is_told_when_to_come_back() {
    let world = World::new().await;
    let slow = router(Arc::new(EnrollmentApi::new(Arc::clone(&world.app), || NOW).limited(NonZeroU32::MIN)));
    let ask = async |source| world.send(&slow, source, request("/v1/enroll", "application/json", "{}".into())).await;
    for _ in 0..10 {
        assert_eq!(ask("2001:db8::1").await.status, StatusCode::BAD_REQUEST);
    }
    let refused = ask("2001:db8::ffff").await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS, "the same /64");
    assert_eq!(refused.header(header::RETRY_AFTER), "1");
    assert_eq!(ask("2001:db8:0:1::1").await.status, StatusCode::BAD_REQUEST, "another one");
}

#[tokio::test]
async fn guesses_are_stopped() {
    let world = World::new().await;
    let csr = KeyAndCsr::generate().unwrap().csr_der;
    let mut statuses = Vec::new();
    for guess in 0..40 {
        let body = enrollment(&format!("g-{guess}"), &format!("guess-{guess}"), &csr);
        let answer = world.post("/v1/enroll", &body).await;
        statuses.push((answer.status, answer.header(header::RETRY_AFTER).to_owned()));
    }
    assert_eq!(statuses[0], (StatusCode::FORBIDDEN, String::new()));
    assert_eq!(statuses[39], (StatusCode::TOO_MANY_REQUESTS, "60".to_owned()));
}
