//! The keys: made when they are first asked for, published, replaced.

use std::collections::BTreeSet;

use serde_json::Value;
use signet_jwt::{Algorithm, Token};
use signet_proto::v1::{RotateTokenKeysRequest, TokenAlgorithm, TokenUse, token_service_client::TokenServiceClient};

use super::{ISSUER, Site, access_token, parsed, tenant};
use crate::world::{World, eventually, reason};

const KEYS: &str = "/t/acme/jwks.json";

fn now(for_use: TokenUse) -> RotateTokenKeysRequest {
    RotateTokenKeysRequest { r#use: for_use.into(), now: true, ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_replaced_key_signed_is_refused_everywhere_and_the_next_key_is_published_first() {
    let site = Site::new().await;
    let other = site.world.node_apart().await;
    let token = site.token(&site.worker).await.access_token;
    let before = parsed(&token).key_id().unwrap().to_owned();
    // The next one waits for an hour, and is there to be seen.
    let rotated = site.rotate(RotateTokenKeysRequest { now: false, ..now(TokenUse::AccessToken) }).await.unwrap();
    assert_eq!(rotated.len(), 2);
    let wait = rotated[1].sign_time.unwrap().seconds - rotated[1].publish_time.unwrap().seconds;
    assert_eq!(wait, 3600);
    eventually("the next key is published", async || site.node.http(KEYS).await.1.contains(&rotated[1].key_id)).await;
    assert_eq!(parsed(&site.token(&site.worker).await.access_token).key_id().unwrap(), before);
    let twice = site.rotate(RotateTokenKeysRequest { now: false, ..now(TokenUse::AccessToken) }).await;
    assert_eq!(reason(&twice.unwrap_err()), "TOKEN_KEY_WAITS");
    // At once: nothing of the old ones is left.
    assert!(site.look(&token).await.is_ok());
    let rotated = site.rotate(now(TokenUse::AccessToken)).await.unwrap();
    assert_eq!(rotated.len(), 1);
    assert_eq!(site.look(&token).await.unwrap_err(), "ACCESS_TOKEN_KEY_UNKNOWN");
    eventually("the other node has it, too", async || {
        let (_, body) = other.http(KEYS).await;
        body.contains(&rotated[0].key_id) && !body.contains(&before)
    })
    .await;
    let next = site.token(&site.worker).await.access_token;
    assert_eq!(parsed(&next).key_id().unwrap(), rotated[0].key_id);
    assert!(site.look(&next).await.is_ok());
    other.end().await;
    site.node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_may_choose_rsa_and_each_kind_has_keys_of_its_own() {
    let site = Site::new().await;
    let rsa = RotateTokenKeysRequest { algorithm: TokenAlgorithm::Rs256.into(), ..now(TokenUse::AccessToken) };
    let rotated = site.rotate(rsa).await.unwrap();
    let text = site.token(&site.worker).await.access_token;
    let token = Token::parse(&text, &[Algorithm::RS256]).unwrap();
    assert_eq!(token.key_id().unwrap(), rotated[0].key_id);
    let key = site.published(KEYS, &rotated[0].key_id).await;
    assert!(token.verify::<Value>(&key).is_ok());
    assert!(site.look(&text).await.is_ok());
    // It stays the tenant's choice.
    let next = site.rotate(now(TokenUse::AccessToken)).await.unwrap();
    assert_eq!(next[0].algorithm, i32::from(TokenAlgorithm::Rs256));
    // Nobody has asked for an SVID yet.
    let (_, svids) = site.node.http("/t/acme/svid/jwks.json").await;
    assert_eq!(svids, r#"{"keys":[]}"#);
    site.node.end().await;
}

/// Eight first tokens over two nodes are signed with one key.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_need_the_first_key_at_once_make_one() {
    let world = World::with_config(ISSUER).await;
    let nodes = [world.node().await, world.node_apart().await];
    world.tenant(&nodes[0], "acme", signet_proto::v1::Isolation::Dedicated).await;
    let worker = world.principal(&nodes[0], "acme", "w-1", signet_core::PrincipalType::Worker, &[]).await;
    eventually("the other node knows the tenant", async || nodes[1].http(KEYS).await.0 == 200).await;
    let svid = async |node| {
        let mut client = TokenServiceClient::new(world.channel(node, &worker));
        let request = signet_proto::v1::CreateJwtSvidRequest { audiences: vec!["x".into()], lifetime_seconds: 0 };
        client.create_jwt_svid(request).await.unwrap().into_inner().svid
    };
    let made = futures::future::join_all((0..8).map(|n| svid(&nodes[n % 2]))).await;
    let keys: BTreeSet<_> = made.iter().map(|svid| parsed(svid).key_id().unwrap().to_owned()).collect();
    assert_eq!(keys.len(), 1, "{keys:?}");
    for node in nodes {
        node.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_published_with_what_caches_go_by() {
    let site = Site::new().await;
    let fetch = async |more: &[&str]| site.world.curl(&site.node, None, KEYS, more, None).await;
    let first = fetch(&[]).await;
    assert_eq!((first.status, first.header("cache-control")), (200, Some("public, max-age=300")));
    assert_eq!(first.header("content-type"), Some("application/jwk-set+json"));
    let known = format!("if-none-match: {}", first.header("etag").unwrap());
    assert_eq!(fetch(&["-H", &known]).await.status, 304);
    for path in ["/t/nobody/jwks.json", "/t/ACME/jwks.json", "/t/a%2Fb/jwks.json"] {
        assert_eq!(site.node.http(path).await.0, 404, "{path}");
    }
    site.node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_admin_sees_its_keys_and_nobody_elses() {
    let site = Site::new().await;
    let [other, ..] = tenant(&site.world, &site.node, "globex").await;
    let list = async |who, tenant: &str| {
        let request = signet_proto::v1::GetTokenKeysRequest { tenant_id: tenant.into() };
        site.tokens(who).get_token_keys(request).await.map(|found| found.into_inner().keys)
    };
    let own = list(&site.admin, "").await.unwrap();
    assert_eq!(own.len(), 1);
    assert_eq!(list(&other, "acme").await.unwrap_err().code(), tonic::Code::NotFound);
    let made = access_token(&mut site.tokens(&site.worker), "jobs", &[], 0).await.unwrap();
    assert_eq!(parsed(&made.access_token).key_id().unwrap(), own[0].key_id);
    site.node.end().await;
}
