//! The JWT profile of the SPIFFE Workload API. Tests that begin with an id are the other side of the client's rule of
//! that id in the catalogue of arndt-s/spiffe-conformance-test-suite.

use std::{
    collections::BTreeSet,
    process::Command,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use prost_types::value::Kind;
use serde_json::Value;
use signet_agent::workload_api::wire::spiffe::{
    JwtBundlesRequest, JwtBundlesResponse, Jwtsvid, JwtsvidRequest, ValidateJwtsvidRequest, ValidateJwtsvidResponse,
    spiffe_workload_api_client::SpiffeWorkloadApiClient,
};
use signet_proto::v1::PrincipalType;
use tonic::{Code, Streaming, transport::Channel};

use crate::{
    spiffe_clients::judge,
    workload_api::{call, connect, served},
    world::World,
};

const ISSUER: &str = "tokens = { issuer = \"https://id.example.com\" }";
const DOMAIN: &str = "spiffe://acme.test.example.com";
const SOON: Duration = Duration::from_secs(10);

async fn fetch(channel: &Channel, audience: &[&str], spiffe_id: &str) -> Result<Vec<Jwtsvid>, Code> {
    let audience = audience.iter().map(ToString::to_string).collect();
    let request = JwtsvidRequest { audience, spiffe_id: spiffe_id.into() };
    let answer = SpiffeWorkloadApiClient::new(channel.clone()).fetch_jwtsvid(call(request)).await;
    answer.map(|answer| answer.into_inner().svids).map_err(|status| status.code())
}

async fn one(channel: &Channel, audience: &[&str]) -> String {
    fetch(channel, audience, "").await.unwrap().remove(0).svid
}

async fn validate(channel: &Channel, audience: &str, svid: &str) -> Result<ValidateJwtsvidResponse, String> {
    let request = ValidateJwtsvidRequest { audience: audience.into(), svid: svid.into() };
    let answer = SpiffeWorkloadApiClient::new(channel.clone()).validate_jwtsvid(call(request)).await;
    answer.map(tonic::Response::into_inner).map_err(|status| {
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        status.message().to_owned()
    })
}

async fn bundles(channel: &Channel) -> Streaming<JwtBundlesResponse> {
    SpiffeWorkloadApiClient::new(channel.clone())
        .fetch_jwt_bundles(call(JwtBundlesRequest {}))
        .await
        .unwrap()
        .into_inner()
}

/// The `kid`s of the first message that has others than `before`.
async fn next(stream: &mut Streaming<JwtBundlesResponse>, before: &BTreeSet<String>) -> BTreeSet<String> {
    loop {
        let kids = kids(stream).await;
        if kids != *before {
            return kids;
        }
    }
}

async fn kids(stream: &mut Streaming<JwtBundlesResponse>) -> BTreeSet<String> {
    let message = tokio::time::timeout(SOON, stream.message()).await.unwrap().unwrap().unwrap();
    assert_eq!(message.bundles.keys().collect::<Vec<_>>(), [DOMAIN]);
    let set: Value = serde_json::from_slice(&message.bundles[DOMAIN]).unwrap();
    let keys = set["keys"].as_array().unwrap();
    assert!(keys.iter().all(|key| key["use"] == "jwt-svid" && key["kty"] == "EC"), "{set}");
    keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

fn header(token: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap()).unwrap()
}

fn kid(token: &str) -> String {
    header(token)["kid"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn jf_a_token_of_each_identity_or_of_the_one_that_is_named() {
    let world = World::with(ISSUER).await;
    let (agent, _) = served(&world, &["web-2", "web-1"]).await;
    let channel = connect(&world).await;
    let all = fetch(&channel, &["billing"], "").await.unwrap();
    let told: Vec<_> = all.iter().map(|svid| (svid.hint.as_str(), svid.spiffe_id.as_str())).collect();
    let ids = ["web-2", "web-1"].map(|id| format!("{DOMAIN}/service/{id}"));
    assert_eq!(told, [("web-2", ids[0].as_str()), ("web-1", ids[1].as_str())]);
    let named = fetch(&channel, &["billing"], &ids[1]).await.unwrap();
    assert_eq!(named, all[1..], "the same one: it is kept");
    assert_eq!(fetch(&channel, &["billing"], &format!("{DOMAIN}/service/web-3")).await, Err(Code::PermissionDenied));
    for wrong in [&[][..], &[""], &["billing", ""], &["a", "b", "c", "d", "e", "f", "g", "h", "i"]] {
        assert_eq!(fetch(&channel, wrong, "").await, Err(Code::InvalidArgument), "{wrong:?}");
    }
    // JWT-SVID section 2: no header but these.
    let token = header(&all[0].svid);
    assert_eq!(token.as_object().unwrap().keys().collect::<Vec<_>>(), ["alg", "kid", "typ"]);
    let both = one(&channel, &["a", "b"]).await;
    assert_eq!(both, one(&channel, &["b", "a"]).await, "the same audiences");
    for audience in ["a", "b"] {
        let found = validate(&channel, audience, &both).await.unwrap();
        assert_eq!(found.spiffe_id, ids[0]);
        let claims = found.claims.unwrap().fields;
        let Some(Kind::ListValue(audiences)) = &claims["aud"].kind else { panic!("{claims:?}") };
        assert!(audiences.values.len() == 2 && claims.contains_key("exp") && claims.contains_key("sub"));
    }
    agent.stop().await;
}

#[tokio::test]
async fn jv_only_tokens_of_the_callers_tenant_for_that_audience_are_good() {
    let world = World::with(ISSUER).await;
    world.tenant("globex").await;
    let (agent, _) = served(&world, &["web-1"]).await;
    let channel = connect(&world).await;
    let token = one(&channel, &["billing"]).await;
    assert_eq!(validate(&channel, "billing", &token).await.unwrap().spiffe_id, format!("{DOMAIN}/service/web-1"));
    let other = world.enrolled("globex", PrincipalType::Worker, "w-9").await;
    let foreign = other.tokens().jwt_svid(&["billing"]).await.unwrap();
    let peer = world.enrolled("acme", PrincipalType::Worker, "w-1").await;
    let own = peer.tokens().jwt_svid(&["billing"]).await.unwrap();
    assert_eq!(validate(&channel, "billing", own.secret()).await.unwrap().spiffe_id, format!("{DOMAIN}/worker/w-1"));
    world.authorize(&["jobs:submit"], "").await;
    let access = {
        let tokens = peer.tokens();
        let asked = Instant::now();
        loop {
            match tokens.access_token("jobs", &[]).await {
                Ok(token) => break token,
                Err(error) => assert!(asked.elapsed() < SOON, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let (text, rest) = token.split_once('.').unwrap();
    let mut none = header(&token);
    none["alg"] = "none".into();
    let none = format!("{}.{rest}", URL_SAFE_NO_PAD.encode(none.to_string()));
    let mut last = token.clone();
    let end = if last.pop() == Some('A') { 'Q' } else { 'A' };
    for (svid, audience, why) in [
        (foreign.secret(), "billing", "has its kid"),
        (&token, "shipping", "another audience"),
        (&token, "", "audience and svid are required"),
        ("", "billing", "audience and svid are required"),
        (access.secret(), "jobs", "another kind of token"),
        (&none, "billing", "no signed JSON Web Token"),
        (&format!("{last}{end}"), "billing", "signature"),
        (&format!("{text}.e30.e30"), "billing", "signature"),
    ] {
        let told = validate(&channel, audience, svid).await.unwrap_err();
        assert!(told.contains(why), "{why}: {told}");
    }
    agent.stop().await;
}

#[tokio::test]
async fn jb_the_bundle_has_a_key_before_it_signs_and_loses_one_that_is_replaced() {
    let world = World::with(ISSUER).await;
    let (agent, _) = served(&world, &["web-1"]).await;
    let channel = connect(&world).await;
    // Nobody has asked for a token of this tenant yet.
    let mut stream = bundles(&channel).await;
    let first = kids(&mut stream).await;
    let token = one(&channel, &["billing"]).await;
    assert_eq!(first, [kid(&token)].into());
    world.rotate_svid_keys(false).await;
    let both = next(&mut stream, &first).await;
    assert!(both.len() == 2 && both.is_superset(&first), "{both:?}");
    assert_eq!(kid(&one(&channel, &["other"]).await), kid(&token), "the next key does not sign yet");
    let replaced = Instant::now();
    world.rotate_svid_keys(true).await;
    let last = next(&mut stream, &both).await;
    println!("a replaced key reaches programs after {} ms", replaced.elapsed().as_millis());
    assert!(last.len() == 1 && last.is_disjoint(&both), "{last:?}");
    // What it signed is neither good nor handed out any more.
    assert!(validate(&channel, "billing", &token).await.unwrap_err().contains("kid"));
    let anew = one(&channel, &["billing"]).await;
    assert!(last.contains(&kid(&anew)) && validate(&channel, "billing", &anew).await.is_ok());
    agent.stop().await;
}

#[tokio::test]
async fn one_process_does_not_use_up_the_identitys_share() {
    let world = World::with(ISSUER).await;
    let (agent, _) = served(&world, &["web-1"]).await;
    let channel = connect(&world).await;
    let kept = one(&channel, &["billing"]).await;
    let mut refused = None;
    for number in 0..60 {
        if let Err(code) = fetch(&channel, &[&number.to_string()], "").await {
            refused = Some(code);
            break;
        }
    }
    assert_eq!(refused, Some(Code::ResourceExhausted));
    assert_eq!(one(&channel, &["billing"]).await, kept, "what is there is for everybody");
    assert_eq!(fetch(&connect(&world).await, &["anew"], "").await, Err(Code::ResourceExhausted), "the same process");
    agent.stop().await;
}

/// What the agent gives, judged by the PyPI package `spiffe`: by itself with the bundle, and by the agent.
const PYTHON: &str = "import sys
from spiffe import JwtSvid, WorkloadApiClient
client = WorkloadApiClient(sys.argv[1])
svid = client.fetch_jwt_svid(audience={'billing', 'shipping'})
bundle = client.fetch_jwt_bundles().get_bundle_for_trust_domain(svid.spiffe_id.trust_domain)
own = JwtSvid.parse_and_validate(svid.token, bundle, {'billing'})
theirs = client.validate_jwt_svid(svid.token, 'shipping')
print(own.spiffe_id, theirs.spiffe_id, sorted(theirs.audience))
for audience, token in [('other', svid.token), ('billing', svid.token[:-4] + 'AAAA')]:
    try:
        client.validate_jwt_svid(token, audience)
        print('taken')
    except Exception as error:
        print(type(error).__name__)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pythons_spiffe_takes_and_validates_them() {
    let world = World::with(ISSUER).await;
    let (agent, _) = served(&world, &["web-1"]).await;
    let mut command = Command::new(judge("python"));
    command.args(["-c", PYTHON]).arg(format!("unix://{}", world.path("workload.sock").display()));
    let told = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let id = format!("{DOMAIN}/service/web-1");
    let expected = format!("{id} {id} ['billing', 'shipping']\nValidateJwtSvidError\nValidateJwtSvidError\n");
    assert_eq!(String::from_utf8_lossy(&told.stdout), expected, "{}", String::from_utf8_lossy(&told.stderr));
    agent.stop().await;
}
