//! Keys for tokens over time, and what faults and a restore make of them.

use std::sync::Arc;

use signet_app::{
    Call, Chore,
    tokens::{self, RotateTokenKeys},
};
use signet_core::{
    Error, Lifetime, Time,
    store::{Body, Entity as _},
    tokens::{KEY_LIFETIME, PUBLISH_LEAD, TokenKeys, TokenUse},
};
use signet_jwt::{PublicKey, Token};
use signet_testkit::{faulty::Op, fixtures::NOW};

use crate::world::*;

const USE: TokenUse = TokenUse::AccessToken;

async fn advance(world: &World, now: Time) -> Result<TokenKeys, Error> {
    tokens::advance(&world.app, &Chore::new("token-keys", now), &tid("acme"), USE).await
}

/// As many as are published.
async fn count(world: &World, now: Time) -> usize {
    advance(world, now).await.unwrap().keys.len()
}

#[tokio::test]
async fn each_key_is_published_before_it_signs_and_stays_until_its_last_token_is_over() {
    let world = World::new().await;
    assert_eq!(count(&world, NOW).await, 1);
    let due = NOW.plus(KEY_LIFETIME).minus(PUBLISH_LEAD);
    assert_eq!(count(&world, due.minus(Lifetime::seconds(1))).await, 1);
    let two = advance(&world, due).await.unwrap();
    assert_eq!((two.keys.len(), two.keys[1].signs_at), (2, due.plus(PUBLISH_LEAD)));
    assert_eq!(count(&world, due).await, 2, "once");
    let signs = two.keys[1].signs_at;
    let at = |now| tokens::signing_key(&world.app, &two, now);
    assert_eq!(at(signs.minus(Lifetime::seconds(1))).await.unwrap().id(), two.keys[0].id);
    assert_eq!(at(signs).await.unwrap().id(), two.keys[1].id);
    assert_eq!(count(&world, signs.plus(Lifetime::minutes(20)).minus(Lifetime::seconds(1))).await, 2);
    let left = advance(&world, signs.plus(Lifetime::minutes(20))).await.unwrap();
    assert_eq!((left.keys.len(), &left.keys[0].id), (1, &two.keys[1].id));
    assert!(left.generation > two.generation);
}

#[tokio::test]
async fn nodes_that_advance_at_once_make_one_key() {
    let world = Arc::new(World::new().await);
    let before = world.key_faults.count(&[Op::Create]);
    let advanced = futures::future::join_all((0..8).map(|_| advance(&world, NOW))).await;
    assert_eq!(world.key_faults.count(&[Op::Create]) - before, 1, "a pair of keys is dear");
    let ids: std::collections::BTreeSet<_> =
        advanced.into_iter().map(|keys| keys.unwrap().keys[0].id.clone()).collect();
    assert_eq!(ids.len(), 1);
}

#[tokio::test]
async fn what_a_key_signs_its_published_half_verifies() {
    let world = World::new().await;
    let keys = advance(&world, NOW).await.unwrap();
    let key = tokens::signing_key(&world.app, &keys, NOW).await.unwrap();
    let text = key.sign("at+jwt", &serde_json::json!({ "sub": "x" })).unwrap();
    let public = PublicKey::from_spki(&keys.keys[0].spki_der).unwrap().decoding_key().unwrap();
    let token = Token::parse(&text, &[signet_jwt::Algorithm::ES256]).unwrap();
    assert!(token.verify::<serde_json::Value>(&public).is_ok());
}

#[tokio::test]
async fn a_private_key_that_is_published_no_more_leaves_the_memory() {
    let world = World::new().await;
    let keys = advance(&world, NOW).await.unwrap();
    let key = Arc::downgrade(&tokens::signing_key(&world.app, &keys, NOW).await.unwrap());
    tokens::forget_keys(&world.app, |tenant, _, id| *tenant == tid("acme") && id == keys.keys[0].id);
    assert!(key.upgrade().is_some());
    tokens::forget_keys(&world.app, |_, _, _| false);
    assert!(key.upgrade().is_none());
}

/// A record of another tenant's key, put under this tenant's name, signs nothing here.
#[tokio::test]
async fn another_tenants_key_does_not_sign() {
    let world = World::new().await;
    world.tenant("globex").await;
    let foreign = tokens::advance(&world.app, &Chore::new("token-keys", NOW), &tid("globex"), USE).await.unwrap();
    let copied = TokenKeys { tenant: tid("acme"), ..foreign.clone() };
    assert!(tokens::signing_key(&world.app, &copied, NOW).await.is_err());
    assert!(Body::from(foreign).require_key(&copied.key()).is_err());
}

#[tokio::test]
async fn a_suspended_tenant_makes_no_keys() {
    let world = World::new().await;
    signet_app::tenants::suspend_tenant(&world.app, &call("Suspend"), &environment(), &tid("acme")).await.unwrap();
    assert_eq!(advance(&world, NOW).await.unwrap_err().reason(), "TENANT_SUSPENDED");
}

/// KMS makes few keys for all tenants together.
#[tokio::test]
async fn the_admins_of_a_tenant_have_few_keys_made_in_a_minute() {
    let world = Arc::new(World::new().await);
    world.tenant("globex").await;
    let rotate = async |tenant: &str, request: &str, now: Time| {
        let scope = scope(tenant);
        let input = RotateTokenKeys { for_use: USE, algorithm: None, now: true };
        let call = Call { now, ..call_with_id("RotateTokenKeys", request) };
        tokens::rotate_token_keys(&world.app, &call, &scope, input).await
    };
    for number in 0..12 {
        rotate("acme", &format!("r-{number}"), NOW).await.unwrap();
    }
    let refused = rotate("acme", "r-12", NOW).await.unwrap_err();
    assert!(matches!(refused, Error::Exhausted { reason: "TOO_MANY_TOKEN_KEYS", .. }), "{refused}");
    rotate("acme", "r-0", NOW).await.expect("what was done before is answered again");
    rotate("globex", "g-0", NOW).await.expect("another tenant's are its own");
    rotate("acme", "r-12", NOW.plus(Lifetime::seconds(5))).await.expect("one more every five seconds");
}
