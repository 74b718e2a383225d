//! Broker tokens.

use serde_json::{Value, json};
use signet_client::Credentials;
use signet_core::PrincipalType;
use signet_proto::v1::{
    self as pb, BrokerToken, CreateBrokerTokenRequest as Wanted,
    authorization_service_client::AuthorizationServiceClient, token_service_client::TokenServiceClient,
};
use tonic::{Status, transport::Channel};

use super::{ISSUER, Site, parsed, tenant};
use crate::world::{TestClock, World, eventually, reason};

/// Beside what [`tenant`] grants.
pub(super) async fn grant(site: &Site, permissions: &[&str]) {
    let grant = pb::AuthorizationGrant {
        to: Some(pb::authorization_grant::To::PrincipalType(pb::PrincipalType::Service.into())),
        permissions: permissions.iter().map(ToString::to_string).collect(),
        expire_time: None,
    };
    let known = ["mqtt:publish", "mqtt:subscribe"];
    let rules = pb::AuthorizationRules {
        permissions: known.map(|name| (name.to_owned(), String::new())).into_iter().collect(),
        grants: vec![grant],
        ..Default::default()
    };
    let set = pb::SetAuthorizationModelRequest {
        tenant_id: "acme".into(),
        rules: Some(rules),
        base_version: 1,
        request_id: signet_client::request_id(),
        ..Default::default()
    };
    let admin = site.world.channel(&site.node, &site.admin);
    AuthorizationServiceClient::new(admin).set_authorization_model(set).await.unwrap();
    eventually("the node has the rules", async || {
        broker_token(&mut site.tokens(&site.service), Wanted::default()).await.is_ok()
    })
    .await;
}

pub(super) async fn broker_token(
    client: &mut TokenServiceClient<Channel>,
    wanted: Wanted,
) -> Result<BrokerToken, Status> {
    Ok(client.create_broker_token(wanted).await?.into_inner())
}

pub(super) fn filters(publish: &[&str], subscribe: &[&str]) -> Wanted {
    let texts = |of: &[&str]| of.iter().map(ToString::to_string).collect();
    Wanted { publish: texts(publish), subscribe: texts(subscribe), ..Wanted::default() }
}

async fn device(site: &Site) -> Credentials {
    site.world.principal(&site.node, "acme", "d-1", PrincipalType::Device, &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_token_says_its_holders_topics_in_each_form_and_has_a_key_of_its_own() {
    let site = Site::new().await;
    grant(&site, &["mqtt:publish"]).await;
    let wanted = Wanted { client_id_suffix: "pump-1".into(), ..filters(&["tenant/{tenant}/pumps/1/#"], &[]) };
    let made = broker_token(&mut site.tokens(&site.service), wanted).await.unwrap();
    let token = parsed(&made.broker_token);
    assert_eq!(token.typ(), Some("mqtt+jwt"));
    let key_id = token.key_id().unwrap();
    let claims: Value = token.verify(&site.published("/t/acme/broker/jwks.json", key_id).await).unwrap();
    for other in ["/t/acme/jwks.json", "/t/acme/svid/jwks.json", "/t/acme/security-events/jwks.json"] {
        assert!(!site.node.http(other).await.1.contains(key_id), "{other}");
    }
    assert!(!site.node.http("/v1/tenants/acme/bundle.json").await.1.contains(key_id));
    assert_eq!(claims["iss"], "https://id.example.com/t/acme/broker");
    assert_eq!(claims["sub"], "spiffe://acme.test.example.com/service/api");
    assert_eq!((&claims["aud"], &claims["client_id"]), (&json!("mqtt"), &json!("acme/api:pump-1")));
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 3600);
    assert_eq!((&claims["publ"], &claims["subs"]), (&json!(["tenant/acme/pumps/1/#"]), &json!([])));
    let allow = json!({ "permission": "allow", "action": "publish", "topic": "tenant/acme/pumps/1/#" });
    assert_eq!(claims["acl"], json!([allow, { "permission": "deny", "action": "all", "topic": "#" }]));
    assert_eq!(
        (made.client_id.as_str(), made.publish, made.subscribe.len()),
        ("acme/api:pump-1", vec!["tenant/acme/pumps/1/#".into()], 0)
    );
    // It is no access token.
    assert_eq!(site.look(&made.broker_token).await.unwrap_err(), "ACCESS_TOKEN_OF_ANOTHER_KIND");
    // A device has its own topics, without any permission.
    let device = device(&site).await;
    let made = broker_token(&mut site.tokens(&device), Wanted::default()).await.unwrap();
    assert_eq!(made.client_id, "acme/d-1");
    let own = |topic: &str| format!("tenant/acme/device/d-1/{topic}");
    assert_eq!(made.publish, ["telemetry/#", "shadow/reported", "commands/ack"].map(own));
    assert_eq!(made.subscribe, ["shadow/desired", "commands", "jobs/#"].map(own));
    let claims: Value = parsed(&made.broker_token).claimed().unwrap();
    assert!(claims.get("client_id").is_none(), "any of its own");
    site.node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_a_broker_token_for_topics_that_are_not_its_own() {
    let site = Site::new().await;
    let refused = async |who: &Credentials, wanted| {
        let status = broker_token(&mut site.tokens(who), wanted).await.unwrap_err();
        (reason(&status), status.message().to_owned())
    };
    // Nothing is granted yet.
    for who in [&site.worker, &site.service] {
        assert_eq!(refused(who, Wanted::default()).await.0, "TOPIC_NOT_GRANTED");
    }
    grant(&site, &["mqtt:publish"]).await;
    assert_eq!(refused(&site.worker, filters(&["tenant/acme/a"], &[])).await.0, "TOPIC_NOT_GRANTED");
    let device = device(&site).await;
    for (who, wanted, what) in [
        (&site.service, filters(&["tenant/globex/#"], &[]), "TOPIC_NOT_GRANTED"),
        (&site.service, filters(&["tenant/acme/a"], &["tenant/acme/b"]), "TOPIC_NOT_GRANTED"),
        (&device, filters(&["tenant/acme/device/+/telemetry"], &[]), "TOPIC_NOT_GRANTED"),
        (&device, filters(&["tenant/acme/device/d-1/commands"], &[]), "TOPIC_NOT_GRANTED"),
        (&device, filters(&[], &["tenant/acme/device/d-1/#"]), "TOPIC_NOT_GRANTED"),
        (&site.service, filters(&["tenant/acme/${clientid}"], &[]), "INVALID_TOPIC_FILTER"),
        (&site.service, filters(&["#"], &[]), "INVALID_TOPIC_FILTER"),
        (&site.service, filters(&["$SYS/a"], &[]), "INVALID_TOPIC_FILTER"),
        (&site.service, filters(&["eq tenant/acme/a"], &[]), "TOPIC_NOT_GRANTED"),
        (&site.service, filters(&["tenant/acme/a"; 33], &[]), "OUT_OF_RANGE"),
    ] {
        let asked = wanted.publish.iter().chain(&wanted.subscribe).next_back().unwrap().clone();
        let (reason, message) = refused(who, wanted).await;
        assert_eq!(reason, what, "{message}");
        assert!(message.contains(&format!("{asked:?}")), "{message} names {asked}");
    }
    let long = "x".repeat(65);
    for suffix in ["a b", "a/b", "a:b", "+", "ä", &long] {
        let wanted = Wanted { client_id_suffix: suffix.into(), ..Wanted::default() };
        assert_eq!(refused(&device, wanted).await.0, "INVALID_ID", "{suffix}");
    }
    for lifetime_seconds in [1, 9, 86_401, u32::MAX] {
        let wanted = Wanted { lifetime_seconds, ..Wanted::default() };
        assert_eq!(refused(&device, wanted).await.0, "OUT_OF_RANGE", "{lifetime_seconds}");
    }
    site.node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_token_never_outlives_its_certificate() {
    let world = World::with_config(ISSUER).await;
    let clock = TestClock::default();
    let node = world.node_of(world.wired.clone(), clock.clone()).await;
    tenant(&world, &node, "acme").await;
    let device = world.principal(&node, "acme", "d-1", PrincipalType::Device, &[]).await;
    let not_after = device.facts().not_after_unix_millis / 1000;
    let left = not_after - clock.clock()().unix_seconds();
    clock.advance(std::time::Duration::from_secs(u64::try_from(left - 5000).unwrap()));
    let mut client = TokenServiceClient::new(world.channel(&node, &device));
    let mut end = async |lifetime_seconds| {
        let made = broker_token(&mut client, Wanted { lifetime_seconds, ..Wanted::default() }).await.unwrap();
        made.expire_time.unwrap().seconds
    };
    assert_eq!(end(86_400).await, not_after);
    assert!(end(0).await < not_after, "an hour");
    node.end().await;
}
