//! Out-of-band renewal over HTTP.

use base64::{Engine, prelude::BASE64_STANDARD};
use http::StatusCode;
use serde_json::{Value, json};
use signet_core::{Lifetime, Time};
use signet_testkit::fixtures::NOW;
use signet_x509::{KeyAndCsr, KeyPair, OutOfBandStatement, pem};

use crate::world::{World, csr_pem, enrollment};

fn renewal(world: &World, key: &KeyPair, chain_pem: &str, csr_der: &[u8], signed_at: Time) -> Value {
    let certificate = &pem::decode_certificates(chain_pem).unwrap()[0];
    let request_id = "renew-1".parse().unwrap();
    let statement = OutOfBandStatement {
        environment: world.app.environment(),
        certificate_der: certificate,
        csr_der,
        request_id: &request_id,
        signed_at,
    };
    json!({
        "request_id": "renew-1", "certificate_pem": chain_pem, "csr_pem": csr_pem(csr_der),
        "sign_time": jiff::Timestamp::from_second(signed_at.unix_seconds()).unwrap().to_string(),
        "signature": BASE64_STANDARD.encode(statement.sign(key).unwrap()),
    })
}

#[tokio::test]
async fn the_present_key_signs_for_the_next_certificate() {
    let world = World::new().await;
    let present = KeyAndCsr::generate().unwrap();
    let enrolled = world.post("/v1/enroll", &enrollment("r-1", &world.token().await, &present.csr_der)).await;
    assert_eq!(enrolled.status, StatusCode::OK, "{}", enrolled.body);
    let chain = enrolled.body["chain_pem"].as_str().unwrap();
    let next = KeyAndCsr::generate().unwrap();

    let stranger = world.post("/v1/renew", &renewal(&world, &next.key, chain, &next.csr_der, NOW)).await;
    assert_eq!((stranger.status, &stranger.body["correlation_id"]), (StatusCode::FORBIDDEN, &json!("corr-1")));
    let stale = NOW.minus(Lifetime::hours(1));
    let skewed = world.post("/v1/renew", &renewal(&world, &present.key, chain, &next.csr_der, stale)).await;
    assert_eq!((skewed.status, &skewed.body["reason"]), (StatusCode::BAD_REQUEST, &json!("CLOCK_SKEW")));
    assert_eq!(skewed.body["field"], "sign_time");

    let body = renewal(&world, &present.key, chain, &next.csr_der, NOW);
    let renewed = world.post("/v1/renew", &body).await;
    assert_eq!(renewed.status, StatusCode::OK, "{}", renewed.body);
    assert_ne!(renewed.body["serial_number"], enrolled.body["serial_number"]);
    assert_eq!(renewed.body["spiffe_id"], enrolled.body["spiffe_id"]);
    let again = world.post("/v1/renew", &body).await;
    assert_eq!((again.status, &again.body), (StatusCode::OK, &renewed.body), "a repetition");
}
