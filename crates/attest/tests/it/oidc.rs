//! Tokens of OpenID Connect issuers: whom is believed, keys that rotate, and issuers at their worst.

use std::{pin::pin, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use signet_attest::Attestors;
use signet_core::{
    Lifetime, Time,
    enrollment::{attestation::Evidence, rule::Source},
};
use signet_testkit::drops::dropped_once;

use crate::{
    oidc_issuer::{AUDIENCE, Issuer, Key, Mood},
    world::{NOW, attest, outcome, quick, value},
};

fn later(seconds: u32) -> Time {
    NOW.plus(Lifetime::seconds(seconds))
}

/// Claims of a token made at `now`.
fn claims_at(issuer: &Issuer, now: Time) -> Value {
    let mut claims = issuer.claims();
    (claims["iat"], claims["exp"]) = (json!(now.unix_seconds()), json!(now.unix_seconds() + 300));
    claims
}

#[tokio::test]
async fn every_allowed_algorithm_is_verified_by_its_own_key() {
    use Algorithm::{ES256, ES384, EdDSA, PS384, RS256};
    let keys = [("r", RS256), ("p", PS384), ("e", ES256), ("f", ES384), ("d", EdDSA)].map(|(id, a)| Key::new(id, a));
    let issuer = Issuer::start(&keys.each_ref()).await;
    let attestors = issuer.attestors();
    for key in &keys {
        let facts = attest(&attestors, &key.token(&issuer.claims()), &issuer.sources(), NOW).await.unwrap();
        assert_eq!((value(&facts, "sub"), value(&facts, "iss")), ("somebody", issuer.name().as_str()));
        let Evidence::Oidc { token } = key.token(&issuer.claims()) else { panic!("another kind of proof") };
        let (head, signature) = token.rsplit_once('.').unwrap();
        let mut signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        *signature.last_mut().unwrap() ^= 1;
        let forged = Evidence::Oidc { token: format!("{head}.{}", URL_SAFE_NO_PAD.encode(signature)) };
        let result = attest(&attestors, &forged, &issuer.sources(), NOW).await;
        assert_eq!(outcome(&result), "OIDC_BAD_SIGNATURE", "{:?}", key.algorithm);
    }
    assert_eq!(issuer.requests(), 2, "discovery and keys, once for all");
}

#[tokio::test]
async fn tokens_that_are_none_or_choose_their_own_algorithm_are_refused_unasked() {
    let key = Key::new("k", Algorithm::RS256);
    let issuer = Issuer::start(&[&key]).await;
    let (attestors, claims) = (issuer.attestors(), issuer.claims().to_string());
    let raw = |header: Value| {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        Evidence::Oidc { token: format!("{}.{}.c2ln", part(&header.to_string()), part(&claims)) }
    };
    // The oldest trick: the public key as an HMAC secret.
    let secret = EncodingKey::from_secret(key.jwk()["n"].as_str().unwrap().as_bytes());
    let hs256 = encode(&Header { kid: Some("k".into()), ..Header::default() }, &issuer.claims(), &secret).unwrap();
    let text = |token: &str| Evidence::Oidc { token: token.to_owned() };
    for (evidence, reason) in [
        (text(&hs256), "OIDC_ALGORITHM_NOT_ALLOWED"),
        (raw(json!({ "alg": "none" })), "OIDC_ALGORITHM_NOT_ALLOWED"),
        (raw(json!({ "alg": "None", "kid": "k" })), "OIDC_ALGORITHM_NOT_ALLOWED"),
        (raw(json!({ "alg": "ES256K", "kid": "k" })), "OIDC_ALGORITHM_NOT_ALLOWED"),
        (raw(json!({ "kid": "k" })), "OIDC_TOKEN_MALFORMED"),
        (raw(json!({ "alg": "RS256", "kid": "k", "crit": ["b64"], "b64": false })), "OIDC_TOKEN_MALFORMED"),
        (text(""), "OIDC_TOKEN_MALFORMED"),
        (text("a.b"), "OIDC_TOKEN_MALFORMED"),
        (text("a.b.c.d.e"), "OIDC_TOKEN_MALFORMED"),
        (text("!.!.!"), "OIDC_TOKEN_MALFORMED"),
        (text(&"x".repeat(20_000)), "OIDC_TOKEN_MALFORMED"),
    ] {
        let result = attest(&attestors, &evidence, &issuer.sources(), NOW).await;
        assert_eq!(outcome(&result), reason, "{result:?}");
    }
    assert_eq!(issuer.requests(), 0);
    // A good key, but of another kind than the token says.
    let ec = raw(json!({ "alg": "ES256", "kid": "k" }));
    assert_eq!(outcome(&attest(&attestors, &ec, &issuer.sources(), NOW).await), "OIDC_UNKNOWN_KEY");
}

#[tokio::test]
async fn only_issuers_of_the_rules_are_asked_and_only_where_they_may_be() {
    let key = Key::new("k", Algorithm::ES256);
    let issuer = Issuer::start(&[&key]).await;
    let token = key.token(&issuer.claims());
    let other = [Source::Oidc { issuer: issuer.name().trim_end_matches('/').into(), audience: AUDIENCE.into() }];
    let result = attest(&issuer.attestors(), &token, &other, NOW).await;
    assert_eq!(outcome(&result), "OIDC_ISSUER_NOT_TRUSTED");
    assert_eq!(outcome(&attest(&issuer.attestors(), &token, &[], NOW).await), "OIDC_ISSUER_NOT_TRUSTED");
    // A tenant's admin names an address inside: plain HTTP is refused, HTTPS finds nobody.
    let unlisted = Attestors::new(quick()).unwrap();
    let result = attest(&unlisted, &token, &issuer.sources(), NOW).await;
    assert_eq!(outcome(&result), "OIDC_ISSUER_NOT_ALLOWED");
    let port = issuer.name().rsplit(':').next().unwrap().to_owned();
    for (host, why) in [("127.0.0.1", "not public"), ("localhost", "no public address"), ("[::1]", "not public")] {
        let name = format!("https://{host}:{port}");
        let mut claims = issuer.claims();
        claims["iss"] = json!(name);
        let sources = [Source::Oidc { issuer: name, audience: AUDIENCE.into() }];
        let result = attest(&unlisted, &key.token(&claims), &sources, NOW).await;
        assert!(outcome(&result) == "UNAVAILABLE" && format!("{result:?}").contains(why), "{host}: {result:?}");
    }
    assert_eq!(issuer.requests(), 0);
    let result = attest(&issuer.attestors(), &token, &issuer.sources(), NOW).await;
    assert_eq!(outcome(&result), "OK");
}

#[tokio::test]
async fn audience_and_times_are_checked_against_the_given_now() {
    let key = Key::new("k", Algorithm::ES256);
    let issuer = Issuer::start(&[&key]).await;
    let attestors = issuer.attestors();
    let mut other = issuer.claims();
    other["aud"] = json!("somebody-else");
    for (claims, now, expected) in [
        (issuer.claims(), later(359), "OK"),
        (issuer.claims(), later(360), "OIDC_TOKEN_EXPIRED"),
        (issuer.claims(), NOW.minus(Lifetime::seconds(61)), "OIDC_TOKEN_NOT_YET_VALID"),
        (other, NOW, "OIDC_OTHER_AUDIENCE"),
    ] {
        assert_eq!(outcome(&attest(&attestors, &key.token(&claims), &issuer.sources(), now).await), expected);
    }
    // Two rules with an audience each.
    let mut sources = issuer.sources();
    sources.push(Source::Oidc { issuer: issuer.name(), audience: "somebody-else".into() });
    let mut both = issuer.claims();
    both["aud"] = json!(["somebody-else", "nobody"]);
    let facts = attest(&attestors, &key.token(&both), &sources, NOW).await.unwrap();
    assert_eq!(facts.values["aud"], ["somebody-else", "nobody"]);
}

#[tokio::test]
async fn a_new_key_is_found_when_a_token_names_it() {
    let (old, new) = (Key::new("old", Algorithm::ES256), Key::new("new", Algorithm::ES256));
    let issuer = Issuer::start(&[&old]).await;
    let (attestors, sources) = (issuer.attestors(), issuer.sources());
    assert_eq!(outcome(&attest(&attestors, &old.token(&issuer.claims()), &sources, NOW).await), "OK");
    issuer.publishes(&[new.jwk()]);
    // Asked at most every ten seconds, for whichever key.
    assert_eq!(
        outcome(&attest(&attestors, &new.token(&issuer.claims()), &sources, later(9)).await),
        "OIDC_UNKNOWN_KEY"
    );
    assert_eq!(outcome(&attest(&attestors, &new.token(&issuer.claims()), &sources, later(11)).await), "OK");
    // The withdrawn one no longer counts.
    assert_eq!(
        outcome(&attest(&attestors, &old.token(&issuer.claims()), &sources, later(22)).await),
        "OIDC_UNKNOWN_KEY"
    );
    assert_eq!(issuer.requests(), 6);
}

#[tokio::test]
async fn made_up_key_ids_make_no_storm() {
    let key = Key::new("k", Algorithm::ES256);
    let issuer = Issuer::start(&[&key]).await;
    let (attestors, sources) = (issuer.attestors(), issuer.sources());
    for n in 0..200 {
        let header = Header { kid: Some(format!("made-up-{n}")), ..Header::new(Algorithm::ES256) };
        let token = key.token_with(&header, &issuer.claims());
        assert_eq!(outcome(&attest(&attestors, &token, &sources, NOW).await), "OIDC_UNKNOWN_KEY");
    }
    assert_eq!(issuer.requests(), 2);
    // Nor do many at once with nothing known yet.
    let issuer = Issuer::start(&[&key]).await;
    let (attestors, sources) = (issuer.attestors(), issuer.sources());
    let token = key.token(&issuer.claims());
    let all = futures::future::join_all((0..100).map(|_| attest(&attestors, &token, &sources, NOW))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(issuer.requests(), 2);
}

#[tokio::test]
async fn without_a_key_id_the_only_fitting_key_is_meant() {
    let (a, b, other) =
        (Key::new("a", Algorithm::ES256), Key::new("b", Algorithm::ES256), Key::new("o", Algorithm::EdDSA));
    let issuer = Issuer::start(&[&a, &other]).await;
    let (attestors, sources) = (issuer.attestors(), issuer.sources());
    let token = a.token_with(&Header::new(Algorithm::ES256), &issuer.claims());
    assert_eq!(outcome(&attest(&attestors, &token, &sources, NOW).await), "OK");
    issuer.publishes(&[a.jwk(), b.jwk()]);
    let (attestors, now) = (issuer.attestors(), later(10));
    assert_eq!(outcome(&attest(&attestors, &token, &sources, now).await), "OIDC_UNKNOWN_KEY");
}

#[tokio::test]
async fn keys_that_must_not_sign_do_not_count_and_strange_ones_do_not_hide_others() {
    let (good, weak) = (Key::new("good", Algorithm::ES256), Key::new("weak", Algorithm::RS256));
    let issuer = Issuer::start(&[]).await;
    let mut encrypting = good.jwk();
    encrypting["use"] = json!("enc");
    encrypting["kid"] = json!("encrypting");
    let mut other_algorithm = good.jwk();
    (other_algorithm["alg"], other_algorithm["kid"]) = (json!("ES384"), json!("other"));
    let mut short = weak.jwk();
    short["n"] = json!(URL_SAFE_NO_PAD.encode([0xff; 128]));
    let strange = json!({ "kty": "ML-DSA", "kid": "strange", "alg": "ML-DSA-44", "pub": "x" });
    issuer.publishes(&[strange, json!("no key"), encrypting, other_algorithm, short, good.jwk()]);
    let (attestors, sources) = (issuer.attestors(), issuer.sources());
    assert_eq!(outcome(&attest(&attestors, &good.token(&issuer.claims()), &sources, NOW).await), "OK");
    for id in ["encrypting", "other", "strange"] {
        let header = Header { kid: Some(id.into()), ..Header::new(Algorithm::ES256) };
        let token = good.token_with(&header, &issuer.claims());
        assert_eq!(outcome(&attest(&attestors, &token, &sources, NOW).await), "OIDC_UNKNOWN_KEY", "{id}");
    }
    let token = weak.token(&issuer.claims());
    assert_eq!(outcome(&attest(&attestors, &token, &sources, NOW).await), "OIDC_UNKNOWN_KEY");
}

#[tokio::test]
async fn known_keys_outlive_an_outage_of_the_issuer_for_a_day() {
    let key = Key::new("k", Algorithm::ES256);
    let issuer = Issuer::start(&[&key]).await;
    let (attestors, sources) = (issuer.attestors(), issuer.sources());
    let at = async |now: Time| outcome(&attest(&attestors, &key.token(&claims_at(&issuer, now)), &sources, now).await);
    assert_eq!(at(NOW).await, "OK");
    issuer.becomes(Mood::Failing);
    assert_eq!((at(later(3600)).await, issuer.requests()), ("OK", 2));
    assert_eq!((at(later(3601)).await, issuer.requests()), ("OK", 3));
    assert_eq!((at(later(3602)).await, issuer.requests()), ("OK", 3));
    assert_eq!(at(later(86_400)).await, "OK");
    assert_eq!(at(later(86_401)).await, "UNAVAILABLE");
    // A key that it may have published meanwhile: nobody knows.
    let unknown = Key::new("unknown", Algorithm::ES256);
    let now = later(80_000);
    let result = attest(&attestors, &unknown.token(&claims_at(&issuer, now)), &sources, now).await;
    assert_eq!(outcome(&result), "UNAVAILABLE");
    issuer.becomes(Mood::Honest);
    assert_eq!(at(later(86_420)).await, "OK");
    // A clock that is set back asks again rather than believing for ever.
    let before = issuer.requests();
    assert_eq!((at(NOW).await, issuer.requests()), ("OK", before + 2));
}

#[tokio::test]
async fn issuers_may_be_slow_down_lying_or_endless() {
    let key = Key::new("k", Algorithm::ES256);
    for mood in [Mood::Silent, Mood::Failing, Mood::Lying, Mood::Redirecting, Mood::Huge, Mood::Elsewhere, Mood::Empty]
    {
        let issuer = Issuer::start(&[&key]).await;
        issuer.becomes(mood);
        let (attestors, sources) = (issuer.attestors(), issuer.sources());
        let token = key.token(&issuer.claims());
        let all = futures::future::join_all((0..50).map(|_| attest(&attestors, &token, &sources, NOW))).await;
        assert!(all.iter().all(|result| outcome(result) == "UNAVAILABLE"), "{mood:?}: {all:?}");
        assert!(issuer.requests() <= 2, "{mood:?}: {}", issuer.requests());
        // It recovers, and is asked again after the pause, which begins when the call has ended.
        issuer.becomes(Mood::Honest);
        assert_eq!(outcome(&attest(&attestors, &token, &sources, later(9)).await), "UNAVAILABLE", "{mood:?}");
        assert_eq!(outcome(&attest(&attestors, &token, &sources, later(12)).await), "OK", "{mood:?}");
    }
}

/// Whoever hangs up while the issuer is asked takes nothing away: the answer serves the others.
#[tokio::test]
async fn a_caller_that_hangs_up_does_not_end_the_call_for_others() {
    let key = Key::new("k", Algorithm::ES256);
    let issuer = Issuer::start(&[&key]).await;
    issuer.becomes(Mood::Held);
    let (attestors, sources) = (issuer.attestors(), issuer.sources());
    let token = key.token(&issuer.claims());
    let asked = dropped_once(|| issuer.requests() == 1, attest(&attestors, &token, &sources, NOW)).await;
    assert!(asked.is_none());
    issuer.releases();
    assert_eq!(outcome(&attest(&attestors, &token, &sources, NOW).await), "OK");
    assert_eq!(issuer.requests(), 2, "it was asked again");
}

/// A token with a made-up key id makes us ask; those with known keys do not wait for that.
#[tokio::test]
async fn fresh_keys_serve_while_the_issuer_is_asked() {
    let key = Key::new("k", Algorithm::ES256);
    let issuer = Issuer::start(&[&key]).await;
    let (attestors, sources) = (issuer.attestors(), issuer.sources());
    let token = key.token(&issuer.claims());
    assert_eq!(outcome(&attest(&attestors, &token, &sources, NOW).await), "OK");
    issuer.becomes(Mood::Held);
    let header = Header { kid: Some("made-up".into()), ..Header::new(Algorithm::ES256) };
    let made_up = key.token_with(&header, &issuer.claims());
    let mut guess = pin!(attest(&attestors, &made_up, &sources, later(15)));
    assert!(dropped_once(|| issuer.requests() == 3, guess.as_mut()).await.is_none());
    let good = attest(&attestors, &token, &sources, later(15));
    tokio::select! {
        biased;
        _ = guess => panic!("nothing was answered yet"),
        good = good => assert_eq!(outcome(&good), "OK"),
    }
    issuer.releases();
}

/// A caller that hangs up while the issuer is asked does not let the next one ask again at once.
#[tokio::test]
async fn callers_that_give_up_are_counted() {
    let key = Key::new("k", Algorithm::ES256);
    let issuer = Issuer::start(&[&key]).await;
    issuer.becomes(Mood::Silent);
    let (attestors, sources) = (issuer.attestors(), issuer.sources());
    let token = key.token(&issuer.claims());
    for _ in 0..20 {
        let call = attest(&attestors, &token, &sources, NOW);
        let _gave_up_or_not = tokio::time::timeout(Duration::from_millis(20), call).await;
    }
    assert!(issuer.requests() <= 1, "{}", issuer.requests());
}

/// The claims of the two issuers that most rules will name.
#[tokio::test]
async fn claims_of_github_and_kubernetes_become_facts() {
    let key = Key::new("k", Algorithm::RS256);
    let issuer = Issuer::start(&[&key]).await;
    let (attestors, sources) = (issuer.attestors(), issuer.sources());
    let facts = async |more: Value| {
        let mut claims = issuer.claims();
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        attest(&attestors, &key.token(&claims), &sources, NOW).await.unwrap()
    };
    let github = json!({
        "sub": "repo:octo-org/octo-repo:environment:prod", "repository": "octo-org/octo-repo", "repository_id": "74",
        "ref": "refs/heads/main", "ref_protected": "true", "run_attempt": "2", "event_name": "workflow_dispatch",
        "job_workflow_ref": "octo-org/octo-automation/.github/workflows/oidc.yml@refs/heads/main",
    });
    let github = facts(github).await;
    assert_eq!(value(&github, "repository"), "octo-org/octo-repo");
    assert_eq!(value(&github, "exp"), (NOW.unix_seconds() + 300).to_string());
    let kubernetes = json!({
        "aud": [AUDIENCE], "sub": "system:serviceaccount:jobs:crawler",
        "kubernetes.io": { "namespace": "jobs", "node": { "name": "n1", "uid": "u1" }, "pod": { "name": "p", "uid": "u2" },
            "serviceaccount": { "name": "crawler", "uid": "u3" }, "warnafter": 1_795_330_800 },
    });
    let kubernetes = facts(kubernetes).await;
    assert_eq!(value(&kubernetes, "kubernetes.io.namespace"), "jobs");
    assert_eq!(value(&kubernetes, "kubernetes.io.serviceaccount.name"), "crawler");
}
