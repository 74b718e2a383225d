//! Tokens of others, exchanged by whoever has a certificate (RFC 8693).

use signet_app::{
    Call,
    enrollment::exchange::{Exchanged, exchange_token},
    principals,
};
use signet_core::{Error, enrollment::rule::Source};
use signet_testkit::fixtures::later;

use crate::{
    attestor::{ISSUER, oidc},
    rules::{oidc_rule, rule},
    world::*,
};

const KEY: &str = "aa";

async fn exchange(world: &World, token: &str, key: &str) -> Result<Exchanged, Error> {
    let call = Call { source: Some([192, 0, 2, 1].into()), ..call("ExchangeToken") };
    exchange_token(&world.app, &call, &acme(), token.to_owned(), key.to_owned()).await
}

/// The CI system's jobs are the worker `ci-bot`.
async fn world() -> World {
    let world = World::new().await;
    let source = Source::Oidc { issuer: ISSUER.into(), audience: "signet".into() };
    world.rule(rule("ci", source, &[("sub", "ci-*")], "ci-bot")).await;
    world.attestor.proves(oidc("ci-1"));
    world
}

fn refusals(world: &World) -> Vec<String> {
    world.outcomes("ExchangeToken").into_iter().filter(|outcome| outcome != "OK").collect()
}

#[tokio::test]
async fn a_token_speaks_for_the_principal_of_its_rule_until_it_ends() {
    let world = world().await;
    world.principal("ci-bot").await;
    let exchanged = exchange(&world, "h.c.s", KEY).await.unwrap();
    assert_eq!((exchanged.principal.id, exchanged.not_after), (pid("ci-bot"), later(3600)));
    assert_eq!(world.outcomes("ExchangeToken"), ["OK"]);
    let asked = world.attestor.asked();
    assert_eq!((asked[0].tenant.as_str(), asked[0].key_sha256.as_str()), ("acme", KEY));
}

/// Whoever steals it has another key.
#[tokio::test]
async fn a_token_serves_one_key_only() {
    let world = world().await;
    world.principal("ci-bot").await;
    exchange(&world, "h.c.s", KEY).await.unwrap();
    exchange(&world, "h.c.s", KEY).await.unwrap();
    let stolen = exchange(&world, "h.c.s", "bb").await.unwrap_err();
    assert_eq!(stolen, Error::ProofRefused { reason: "PROOF_REPLAYED" });
    assert_eq!(world.outcomes("ExchangeToken"), ["OK", "OK", "PROOF_REPLAYED"]);
    // Another token of the same job.
    exchange(&world, "h.d.s", "bb").await.unwrap();
}

#[tokio::test]
async fn who_is_not_there_suspended_or_of_no_rule_is_refused_without_a_word() {
    let world = world().await;
    let told = async || exchange(&world, "h.c.s", KEY).await.unwrap_err().to_string();
    assert_eq!(told().await, "enrollment refused");
    world.principal("ci-bot").await;
    principals::suspend_principal(&world.app, &call("Suspend"), &admin(), &acme(), &pid("ci-bot")).await.unwrap();
    assert_eq!(told().await, "enrollment refused");
    world.attestor.proves(oidc("somebody"));
    assert_eq!(told().await, "enrollment refused");
    assert_eq!(refusals(&world), ["NOT_FOUND", "PRINCIPAL_SUSPENDED", "NO_RULE_MATCHES"]);
}

/// A caller chooses some of its facts: an id made of them opens only what the rule itself made.
#[tokio::test]
async fn an_id_that_is_made_of_facts_does_not_open_a_principal_that_somebody_else_made() {
    let world = World::new().await;
    world.rule(oidc_rule("ci")).await;
    world.attestor.proves(oidc("ci-1"));
    world.principal("ci-1").await;
    assert!(exchange(&world, "h.c.s", KEY).await.is_err());
    assert_eq!(refusals(&world), ["PRINCIPAL_EXISTS"]);
}
