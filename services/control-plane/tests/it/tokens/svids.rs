//! JWT-SVIDs and WIT-SVIDs.

use serde_json::Value;
use signet_jwt::DecodingKey;
use signet_proto::v1::{
    CreateJwtSvidRequest, CreateWitSvidRequest, GetTrustBundleRequest, trust_service_client::TrustServiceClient,
};
use signet_x509::CertificateView;

use super::{Site, WORKER, parsed};
use crate::world::{eventually, reason};

fn jwt(audiences: &[&str]) -> CreateJwtSvidRequest {
    CreateJwtSvidRequest { audiences: audiences.iter().map(ToString::to_string).collect(), lifetime_seconds: 0 }
}

/// A key of the tenant's SPIFFE bundle.
fn of_bundle(bundle: &Value, for_use: &str, key_id: &str) -> DecodingKey {
    let keys = bundle["keys"].as_array().unwrap();
    let found = keys.iter().find(|key| key["use"] == for_use && key["kid"] == key_id);
    let mut key = found.unwrap_or_else(|| panic!("no {for_use} {key_id} in {bundle}")).clone();
    // No use that general libraries know.
    key.as_object_mut().unwrap().remove("use");
    DecodingKey::from_jwk(&serde_json::from_value(key).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jwt_svid_is_as_its_specification_wants_it_and_its_key_in_the_bundle() {
    let site = Site::new().await;
    let sequence = async || {
        let bundle: Value = serde_json::from_str(&site.node.http("/v1/tenants/acme/bundle.json").await.1).unwrap();
        bundle["spiffe_sequence"].as_u64().unwrap()
    };
    let before = sequence().await;
    let made = site.tokens(&site.worker).create_jwt_svid(jwt(&["spiffe://other", "sts"])).await.unwrap().into_inner();
    let token = parsed(&made.svid);
    assert_eq!(token.typ(), Some("JWT"));
    let key_id = token.key_id().unwrap();
    eventually("the bundle has the key", async || {
        site.node.http("/v1/tenants/acme/bundle.json").await.1.contains(key_id)
    })
    .await;
    let bundle: Value = serde_json::from_str(&site.node.http("/v1/tenants/acme/bundle.json").await.1).unwrap();
    let claims: Value = token.verify(&of_bundle(&bundle, "jwt-svid", key_id)).unwrap();
    assert_eq!(claims["sub"], made.spiffe_id.as_str());
    assert_eq!(claims["sub"], WORKER);
    assert_eq!(claims["aud"], serde_json::json!(["spiffe://other", "sts"]));
    assert_eq!(claims["iss"], "https://id.example.com/t/acme/svid");
    assert!(bundle["spiffe_sequence"].as_u64().unwrap() > before);
    // The same key, for those who know OpenID Connect.
    assert!(token.verify::<Value>(&site.published("/t/acme/svid/jwks.json", key_id).await).is_ok());
    assert!(!site.node.http("/t/acme/jwks.json").await.1.contains(key_id), "verifiers of access tokens do not know it");
    let mut trust = TrustServiceClient::new(site.world.channel(&site.node, &site.worker));
    let bundle = trust.get_trust_bundle(GetTrustBundleRequest::default()).await.unwrap().into_inner();
    let bundle: Value = serde_json::from_str(&bundle.svid_keys_json).unwrap();
    assert!(token.verify::<Value>(&of_bundle(&bundle, "jwt-svid", key_id)).is_ok());
    site.node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jwt_svid_needs_an_audience() {
    let site = Site::new().await;
    let mut worker = site.tokens(&site.worker);
    let long = "x".repeat(256);
    for audiences in [&[][..], &[""], &["a", ""], &["x"; 9], &[long.as_str()]] {
        let refused = worker.create_jwt_svid(jwt(audiences)).await.unwrap_err();
        assert_eq!(reason(&refused), "OUT_OF_RANGE", "{audiences:?}");
    }
    site.node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wit_svid_is_bound_to_the_key_of_its_holders_certificate() {
    let site = Site::new().await;
    let mut worker = site.tokens(&site.worker);
    let key_of =
        |who: &signet_client::Credentials| CertificateView::from_der(&who.chain_der()[0]).unwrap().spki_der.to_vec();
    let ask = |public_key_der| CreateWitSvidRequest { public_key_der, lifetime_seconds: 0 };
    for foreign in [key_of(&site.service), Vec::new(), vec![0x30]] {
        assert_eq!(reason(&worker.create_wit_svid(ask(foreign)).await.unwrap_err()), "FOREIGN_KEY");
    }
    let made = worker.create_wit_svid(ask(key_of(&site.worker))).await.unwrap().into_inner();
    let token = parsed(&made.svid);
    assert_eq!(token.typ(), Some("wit+jwt"));
    let key_id = token.key_id().unwrap();
    eventually("the bundle has the key", async || {
        site.node.http("/v1/tenants/acme/bundle.json").await.1.contains(key_id)
    })
    .await;
    let bundle: Value = serde_json::from_str(&site.node.http("/v1/tenants/acme/bundle.json").await.1).unwrap();
    let claims: Value = token.verify(&of_bundle(&bundle, "wit-svid", key_id)).unwrap();
    assert!(claims.get("aud").is_none(), "{claims}");
    let own = signet_jwt::PublicKey::from_spki(&key_of(&site.worker)).unwrap().jwk();
    assert_eq!(claims["cnf"]["jwk"], own);
    site.node.end().await;
}
