//! Security events by poll (RFC 8936, OpenID Shared Signals Framework 1.0, CAEP 1.0), asked for by curl.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use signet_client::Credentials;
use signet_core::PrincipalType;
use signet_proto::v1::{
    self as pb, certificate_service_client::CertificateServiceClient, principal_service_client::PrincipalServiceClient,
};
use signet_testkit::faulty::Op;

use super::{ISSUER, Site, WORKER, parsed, tenant};
use crate::{
    faulty::faulty,
    world::{Answer, Node, TestClock, World, eventually, wire_type},
};

pub(super) const POLL: &str = "/security-events/poll";
pub(super) const KEYS: &str = "/t/acme/security-events/jwks.json";
pub(super) const SERVICE: &str = "spiffe://acme.test.example.com/service/api";
const REVOKED: &str = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";
const BEGINS: &str = "https://schemas.openid.net/secevent/ssf/event-type/stream-updated";

async fn poll(world: &World, node: &Node, who: &Credentials, body: &Value) -> Answer {
    let json = ["-H", "content-type: application/json", "--max-time", "60"];
    world.curl(node, Some(who), POLL, &json, Some(&body.to_string())).await
}

/// The tokens of an answer that comes at once, by their `jti`.
async fn now(world: &World, node: &Node, who: &Credentials, ack: &[&str]) -> Vec<(String, String)> {
    let answer = poll(world, node, who, &json!({ "returnImmediately": true, "ack": ack })).await;
    assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")), "{answer:?}");
    sets(&answer)
}

fn sets(answer: &Answer) -> Vec<(String, String)> {
    let sets = answer.body["sets"].as_object().unwrap_or_else(|| panic!("{answer:?}"));
    sets.iter().map(|(id, set)| (id.clone(), set.as_str().unwrap().to_owned())).collect()
}

/// Makes the stream and says that its beginning is known.
async fn begun(world: &World, node: &Node, who: &Credentials) {
    let first = now(world, node, who, &[]).await;
    assert_eq!(first.len(), 1, "{first:?}");
    let claims: Value = parsed(&first[0].1).claimed().unwrap();
    assert_eq!(claims["events"][BEGINS]["status"], "enabled", "{claims}");
    assert_eq!(now(world, node, who, &[&first[0].0]).await, []);
}

/// Waits until so many tokens were told.
pub(super) async fn until_told(node: &Node, number: u32) {
    let text = format!(r#"signet_security_events_total{{outcome="told"}} {number}"#);
    eventually("they are told", async || node.metrics().await.contains(&text)).await;
}

/// Asks until there is one.
async fn next(world: &World, node: &Node, who: &Credentials) -> (String, String) {
    let found = std::sync::Mutex::new(None);
    eventually("there is an event", async || {
        *found.lock().unwrap() = now(world, node, who, &[]).await.pop();
        found.lock().unwrap().is_some()
    })
    .await;
    found.into_inner().unwrap().unwrap()
}

pub(super) async fn suspend(world: &World, node: &Node, tenant: &str, id: &str) {
    let request = pb::SuspendPrincipalRequest {
        tenant_id: tenant.into(),
        principal_id: id.into(),
        request_id: signet_client::request_id(),
    };
    PrincipalServiceClient::new(world.admin(node)).suspend_principal(request).await.unwrap();
}

async fn revoke(world: &World, node: &Node, who: &Credentials) {
    let request = pb::RevokeCertificateRequest {
        tenant_id: "acme".into(),
        issuer_id: "acme.1".into(),
        serial_number: who.facts().serial_number.clone(),
        reason: pb::RevocationReason::KeyCompromise.into(),
        request_id: signet_client::request_id(),
        ..Default::default()
    };
    CertificateServiceClient::new(world.admin(node)).revoke_certificate(request).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_is_told_as_access_tokens_name_it() {
    let site = Site::new().await;
    let Site { world, node, worker, service, .. } = &site;
    let access: Value = parsed(&site.token(worker).await.access_token).claimed().unwrap();
    begun(world, node, service).await;
    revoke(world, node, worker).await;
    let (id, set) = next(world, node, service).await;
    let token = parsed(&set);
    assert_eq!(token.typ(), Some("secevent+jwt"));
    let claims: Value = token.verify(&site.published(KEYS, token.key_id().unwrap()).await).unwrap();
    assert_eq!((&claims["iss"], &claims["aud"], &claims["jti"]), (&access["iss"], &SERVICE.into(), &id.into()));
    let user = json!({ "format": "iss_sub", "iss": access["iss"], "sub": access["sub"] });
    let session = json!({ "format": "opaque", "id": access["certificate"] });
    assert_eq!(claims["sub_id"], json!({ "format": "complex", "user": user, "session": session }));
    let event = &claims["events"][REVOKED];
    assert_eq!((&event["event_timestamp"], &claims["toe"]), (&claims["toe"], &event["event_timestamp"]));
    assert!(claims["toe"].is_i64() && claims["txn"].is_string(), "{claims}");
    assert_eq!(event["reason_admin"]["en"], "the certificate was revoked: key_compromise");
    // Nothing takes it for a token that lets somebody in (SSF section 4.1).
    assert_eq!((claims.get("sub"), claims.get("exp")), (None, None));
    assert!(site.look(&set).await.is_err());
    let access_keys = node.http("/t/acme/jwks.json").await.1;
    assert!(!access_keys.contains(token.key_id().unwrap()), "a key of its own");
    // Metadata lead there.
    let (status, found) = node.http("/.well-known/ssf-configuration/t/acme").await;
    let found: Value = serde_json::from_str(&found).unwrap();
    assert_eq!((status, &found["issuer"], &found["spec_version"]), (200, &access["iss"], &"1_0".into()));
    assert_eq!(found["jwks_uri"], format!("https://id.example.com{KEYS}"));
    assert_eq!(found["delivery_methods_supported"], json!(["urn:ietf:rfc:8936"]));
    site.node.end().await;
}

/// At least once: an answer may be lost, a node end, a balancer choose another.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_told_by_any_node_until_it_is_acknowledged_to_any() {
    let site = Site::new().await;
    let Site { world, node, worker, service, admin, .. } = &site;
    let other = world.node_apart().await;
    begun(world, node, service).await;
    begun(world, &other, admin).await;
    assert_eq!(now(world, &other, service, &[]).await, []);
    suspend(world, node, "acme", "w-1").await;
    revoke(world, node, worker).await;
    let told = |node| async move {
        eventually("both are told", async || now(world, node, service, &[]).await.len() == 2).await;
        let mut all = now(world, node, service, &[]).await;
        all.sort();
        all
    };
    let ids = |all: &[(String, String)]| all.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>();
    let first = told(node).await;
    assert_eq!(ids(&told(&other).await), ids(&first));
    // One of them, and not the earlier one.
    let later = first.iter().find(|(_, set)| {
        let claims: Value = parsed(set).claimed().unwrap();
        assert_eq!(claims["sub_id"]["user"]["sub"], WORKER);
        claims["sub_id"].get("session").is_some()
    });
    let later = later.unwrap().0.as_str();
    let left = now(world, &other, service, &[later]).await;
    assert!(left.len() == 1 && left[0].0 != later, "{left:?}");
    let third = world.node_apart().await;
    assert_eq!(ids(&now(world, &third, service, &[]).await), ids(&left), "a node that was not there");
    assert_eq!(now(world, &third, service, &[&left[0].0]).await, []);
    eventually("all nodes know", async || now(world, &other, service, &[]).await.is_empty()).await;
    // Each receiver has its own.
    let of_admin = now(world, node, admin, &[]).await;
    assert_eq!(of_admin.len(), 2);
    assert!(of_admin.iter().all(|(id, _)| !ids(&first).contains(id)));
    for node in [other, third, site.node] {
        node.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_is_told_within_a_second_and_of_its_own_tenant_only() {
    let site = Site::new().await;
    let Site { world, node, service, .. } = &site;
    let [_, _, foreign] = tenant(world, node, "globex").await;
    begun(world, node, service).await;
    begun(world, node, &foreign).await;
    let wait = json!({});
    let waiting = async {
        let answer = poll(world, node, service, &wait).await;
        (Instant::now(), answer)
    };
    let deed = async {
        eventually("the wait has begun", async || {
            let text = node.metrics().await;
            text.contains(r#"signet_rpc_in_flight{operation="PollSecurityEvents"} 1"#)
        })
        .await;
        let began = Instant::now();
        suspend(world, node, "acme", "w-1").await;
        began
    };
    let ((ended, answer), began) = tokio::join!(waiting, deed);
    assert_eq!(sets(&answer).len(), 1, "{answer:?}");
    let took = ended - began;
    println!("told {took:?} after the suspension was asked for");
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!(now(world, node, &foreign, &[]).await, []);
    site.node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_ends_with_the_node_and_with_the_receivers_right() {
    let site = Site::new().await;
    let Site { world, node, service, admin, .. } = &site;
    for who in [service, admin] {
        begun(world, node, who).await;
    }
    let waits = |number| async move {
        let text = format!(r#"signet_rpc_in_flight{{operation="PollSecurityEvents"}} {number}"#);
        eventually("it waits", async || node.metrics().await.contains(&text)).await;
    };
    let json = ["-H", "content-type: application/json", "--max-time", "60"];
    // Whose right ends loses its connection; curl may have been answered before.
    let cut = async {
        let waiting = world.run_curl(node, Some(service), POLL, &json, Some("{}"));
        let deed = async {
            waits(1).await;
            suspend(world, node, "acme", "api").await;
        };
        tokio::join!(waiting, deed);
    };
    let began = Instant::now();
    cut.await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(!world.run_curl(node, Some(service), POLL, &json, Some("{}")).await.status.success(), "it is let in");
    let first = now(world, node, admin, &[]).await;
    assert_eq!(now(world, node, admin, &[&first[0].0]).await, []);
    let body = json!({});
    let began = Instant::now();
    let stop = async {
        waits(1).await;
        node.stop.cancel();
    };
    let (answer, ()) = tokio::join!(poll(world, node, admin, &body), stop);
    assert_eq!((answer.status, &answer.body), (200, &json!({ "sets": {} })), "{answer:?}");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    site.node.end().await;
}

/// A poll weighs eight; sixteen of those would be all that a principal may have.
#[tokio::test(flavor = "multi_thread")]
async fn who_waits_takes_one_place() {
    const WAITS: usize = 20;
    let site = Site::new().await;
    let Site { world, node, service, .. } = &site;
    begun(world, node, service).await;
    let body = json!({});
    let stop = async {
        let text = format!(r#"signet_rpc_in_flight{{operation="PollSecurityEvents"}} {WAITS}"#);
        eventually("all wait", async || node.metrics().await.contains(&text)).await;
        node.stop.cancel();
    };
    let waits = futures::future::join_all((0..WAITS).map(|_| poll(world, node, service, &body)));
    let (answers, ()) = tokio::join!(waits, stop);
    for answer in answers {
        assert_eq!((answer.status, &answer.body), (200, &json!({ "sets": {} })), "{answer:?}");
    }
    site.node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn services_and_admins_may_and_no_others() {
    let site = Site::new().await;
    let Site { world, node, worker, .. } = &site;
    let user = world.principal(node, "acme", "ann", PrincipalType::User, &["operator"]).await;
    let device = world.principal(node, "acme", "d-1", PrincipalType::Device, &[]).await;
    for who in [worker, &user, &device] {
        let refused = poll(world, node, who, &json!({ "returnImmediately": true })).await;
        assert_eq!(refused.status, 403, "{refused:?}");
    }
    let refused = world.curl(node, None, POLL, &["-H", "content-type: application/json"], Some("{}")).await;
    assert_eq!(refused.status, 403, "{refused:?}");
    assert_eq!(wire_type(PrincipalType::Service), i32::from(pb::PrincipalType::Service));
    site.node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_poll_request_is_refused_and_errors_are_counted() {
    let site = Site::new().await;
    let Site { world, node, service, .. } = &site;
    begun(world, node, service).await;
    let long = format!(r#"{{"ack":["{}"]}}"#, "x".repeat(70_000));
    let json = ["-H", "content-type: application/json"];
    for (bad, more) in [
        ("", &json[..]),
        ("[1,true]", &json),
        ("{", &json),
        (r#"{"maxEvents":-1}"#, &json),
        (r#"{"maxEvents":"5"}"#, &json),
        (r#"{"ack":"x"}"#, &json),
        (r#"{"ack":[1]}"#, &json),
        (r#"{"returnImmediately":1}"#, &json),
        (r#"{"ack":[],"ack":[]}"#, &json),
        (r#"{"setErrs":["x"]}"#, &json),
        (r#"{"setErrs":{"x":{}}}"#, &json),
        (&long, &json),
        ("{}", &["-H", "content-type: text/plain"]),
    ] {
        let refused = world.curl(node, Some(service), POLL, more, Some(bad)).await;
        assert_eq!((refused.status, &refused.body["err"]), (400, &"invalid_request".into()), "{bad:.60}: {refused:?}");
    }
    suspend(world, node, "acme", "w-1").await;
    let (id, _) = next(world, node, service).await;
    // What it has no key for yet it is told again; what it refuses otherwise is done with.
    let report =
        |err: &str| json!({ "returnImmediately": true, "setErrs": { &id: { "err": err, "description": "x" } } });
    assert_eq!(sets(&poll(world, node, service, &report("invalid_key")).await).len(), 1);
    let only = json!({ "maxEvents": 0, "later": true });
    let none = poll(world, node, service, &only).await;
    assert_eq!((none.status, &none.body), (200, &json!({ "sets": {}, "moreAvailable": true })), "acknowledges only");
    assert_eq!(sets(&poll(world, node, service, &report("invalid_audience")).await).len(), 0);
    // What it was never told it cannot refuse: neither of these counts.
    let never = json!({ "returnImmediately": true, "setErrs": { &id: { "err": "invalid_audience" }, "x": { "err": "access_denied" } } });
    assert_eq!(poll(world, node, service, &never).await.status, 200);
    let metrics = node.metrics().await;
    assert!(!metrics.contains(r#"err="access_denied""#), "{metrics}");
    for counted in [
        r#"signet_security_event_errors_total{err="invalid_key"} 1"#,
        r#"signet_security_event_errors_total{err="invalid_audience"} 1"#,
        r#"signet_security_events_total{outcome="acknowledged"} 2"#,
    ] {
        assert!(metrics.contains(counted), "{counted}: {metrics}");
    }
    let begun = world.audit(node, "acme").await.into_iter().filter(|event| event["operation"] == "PollSecurityEvents");
    assert_eq!(begun.count(), 1, "that it began is audited, and no more");
    site.node.end().await;
}

/// A fleet of receivers costs the store nothing.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_poll_reads_and_writes_nothing() {
    let world = World::with_config(ISSUER).await;
    let (wired, store) = faulty(&world);
    let node = world.node_of(wired, TestClock::default()).await;
    let [_, _, service] = tenant(&world, &node, "acme").await;
    begun(&world, &node, &service).await;
    assert_eq!(now(&world, &node, &service, &[]).await, []);
    let before = (store.count(&[Op::Get]), store.count(&[Op::Transact]));
    for _ in 0..5 {
        assert_eq!(now(&world, &node, &service, &[]).await, []);
    }
    let after = (store.count(&[Op::Get]), store.count(&[Op::Transact]));
    println!("store: {before:?} before, {after:?} after");
    assert!(after.0 - before.0 < 5 && after.1 - before.1 < 5, "{before:?}, {after:?}");
    node.end().await;
}
