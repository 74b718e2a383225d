//! Envoy's external authorization, rule by rule, asked as Envoy asks.

use std::time::{Duration, Instant};

use signet_agent::{
    Agent, Config,
    report::IdentityReport,
    workload_api::wire::ext_authz::{
        Address, AttributeContext, CheckRequest, CheckResponse, HttpRequest, Peer, Request, SocketAddress,
        authorization_client::AuthorizationClient, check_response::HttpResponse,
    },
};
use signet_client::Identity;
use signet_proto::v1::PrincipalType;
use signet_x509::pem;
use tonic::Code;

use crate::{
    workload_api::{connect, sections, us},
    world::{Reports, World},
};

const RULES: &str = "[identity.ext_authz]\ncontext = [\"source\", \"path\"]\nrules = [\n\
                     { methods = [\"GET\"], path = \"/jobs/*\", permission = \"jobs:read\" },\n\
                     { path = \"/queues/*\", permission = \"jobs:submit\", resource = { type = \"queue\", id_segment = 2 } },\n]\n";

/// An agent with a service that decides for this process.
async fn served(world: &World, rules: &str) -> (Agent, Reports) {
    world.token(PrincipalType::Service, "web-1").await;
    let (agent, mut reports) = world.agent(&(sections(&[("web-1", &us())]) + rules)).await;
    reports.until("it is well", IdentityReport::is_well).await;
    (agent, reports)
}

/// As Envoy sends it: PEM, percent-encoded.
fn certificate(identity: &Identity) -> String {
    let text = identity.with_credentials(|credentials| pem::encode_certificate(&credentials.chain_der()[0]));
    let encode = |c: char| if c.is_ascii_alphanumeric() { c.to_string() } else { format!("%{:02X}", u32::from(c)) };
    text.chars().map(encode).collect()
}

fn request(certificate: &str, method: &str, path: &str) -> CheckRequest {
    let (method, path, host) = (method.into(), path.into(), "api.example.com:8443".into());
    let address = Some(Address { socket_address: Some(SocketAddress { address: "10.0.0.7".into() }) });
    let attributes = AttributeContext {
        source: Some(Peer { address, certificate: certificate.into() }),
        request: Some(Request { http: Some(HttpRequest { method, path, host }) }),
        context_extensions: std::collections::HashMap::new(),
    };
    CheckRequest { attributes: Some(attributes) }
}

/// The HTTP status that the client would get, and the reason; `None` if the request goes on.
fn denial(answer: CheckResponse) -> Option<(i32, String)> {
    let code = answer.status.unwrap().code;
    match answer.http_response.unwrap() {
        HttpResponse::OkResponse(_) => {
            assert_eq!(code, 0);
            None
        }
        HttpResponse::DeniedResponse(denied) => {
            assert_ne!(code, 0);
            let body: serde_json::Value = serde_json::from_str(&denied.body).unwrap();
            Some((denied.status.unwrap().code, body["reason"].as_str().unwrap().to_owned()))
        }
    }
}

async fn ask(world: &World, request: CheckRequest) -> Option<(i32, String)> {
    denial(AuthorizationClient::new(connect(world).await).check(request).await.unwrap().into_inner())
}

/// Asks until the answer is that, at most so long.
async fn until(world: &World, request: &CheckRequest, expected: Option<(i32, &str)>, limit: Duration) {
    let started = Instant::now();
    loop {
        let found = ask(world, request.clone()).await;
        if found.as_ref().map(|(status, reason)| (*status, reason.as_str())) == expected {
            return;
        }
        assert!(started.elapsed() < limit, "{found:?} and not {expected:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

const SOON: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_certificate_and_the_rules_decide() {
    let world = World::new().await;
    world.tenant("globex").await;
    let policies = r#"forbid (principal, action == Action::"jobs:submit", resource is Resource)
        unless { resource.id == "default" };
        forbid (principal, action == Action::"jobs:read", resource)
        when { context has source && context.source == ip("10.0.0.66") };"#;
    world.authorize(&["jobs:read", "jobs:submit"], policies).await;
    let (agent, _) = served(&world, RULES).await;
    let worker = certificate(&world.enrolled("acme", PrincipalType::Worker, "w-1").await);
    let device = certificate(&world.enrolled("acme", PrincipalType::Device, "d-1").await);
    let foreign = certificate(&world.enrolled("globex", PrincipalType::Worker, "w-1").await);
    until(&world, &request(&worker, "GET", "/jobs/7?all"), None, SOON).await;

    let mut elsewhere = request(&worker, "GET", "/jobs/7");
    let source = elsewhere.attributes.as_mut().and_then(|all| all.source.as_mut()).unwrap();
    source.address.as_mut().unwrap().socket_address.as_mut().unwrap().address = "10.0.0.66".into();
    let mut as_route = request(&worker, "GET", "/else");
    let route = |request: &mut CheckRequest, name: &str, value: &str| {
        request.attributes.as_mut().unwrap().context_extensions.insert(name.into(), value.into());
    };
    route(&mut as_route, "signet_permission", "jobs:read");
    let mut other_route = as_route.clone();
    route(&mut other_route, "signet_permission", "jobs:admin");
    let mut no_http = request(&worker, "GET", "/jobs/7");
    no_http.attributes.as_mut().unwrap().request = None;
    for (asked, expected) in [
        (request(&worker, "POST", "/queues/default"), None),
        (as_route, None),
        (other_route, Some((403, "UNKNOWN_PERMISSION"))),
        (request(&worker, "POST", "/queues/other"), Some((403, "POLICY_FORBIDS"))),
        (elsewhere, Some((403, "POLICY_FORBIDS"))),
        (request(&worker, "PUT", "/jobs/7"), Some((403, "NO_AUTHORIZATION_RULE"))),
        (request(&worker, "GET", "/"), Some((403, "NO_AUTHORIZATION_RULE"))),
        (request(&device, "GET", "/jobs/7"), Some((403, "PERMISSION_MISSING"))),
        (request(&foreign, "GET", "/jobs/7"), Some((403, "FOREIGN_TENANT"))),
        (request("", "GET", "/jobs/7"), Some((401, "CERTIFICATE_REQUIRED"))),
        (request("a certificate", "GET", "/jobs/7"), Some((401, "CERTIFICATE_MALFORMED"))),
        (request(&worker, "GET", "/jobs/../queues/default"), Some((400, "REQUEST_NOT_NORMAL"))),
        (request(&worker, "GET", "/jobs/%2e%2e"), Some((400, "REQUEST_NOT_NORMAL"))),
        (request(&worker, "GET", &format!("/jobs/{}", "7".repeat(512))), Some((400, "REQUEST_NOT_NORMAL"))),
        (request(&worker, "get", "/jobs/7"), Some((400, "REQUEST_NOT_NORMAL"))),
        (no_http, Some((400, "REQUEST_NOT_NORMAL"))),
        (CheckRequest { attributes: None }, Some((401, "CERTIFICATE_REQUIRED"))),
    ] {
        let found = ask(&world, asked.clone()).await;
        assert_eq!(found.as_ref().map(|(status, reason)| (*status, reason.as_str())), expected, "{asked:?}");
    }
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_and_other_rules_count_at_once() {
    let world = World::new().await;
    world.authorize(&["jobs:read"], "").await;
    let (mut agent, mut reports) = served(&world, RULES).await;
    let identity = world.enrolled("acme", PrincipalType::Worker, "w-1").await;
    let asked = request(&certificate(&identity), "GET", "/jobs/7");
    until(&world, &asked, None, SOON).await;

    // Other rules of the agent, with the certificate that it has.
    let before = reports.until("it is well", IdentityReport::is_well).await[0].serial_number.clone();
    let config = |rules: &str| Config::load(&world.configure(&(sections(&[("web-1", &us())]) + rules))).unwrap();
    agent.reload(config(&RULES.replace("/jobs/*", "/tasks/*"))).await;
    assert_eq!(ask(&world, asked.clone()).await, Some((403, "NO_AUTHORIZATION_RULE".into())));
    agent.reload(config(RULES)).await;
    assert_eq!(ask(&world, asked.clone()).await, None);
    assert_eq!(reports.until("it is well", IdentityReport::is_well).await[0].serial_number, before);

    // Other rules of the tenant.
    world.authorize(&["jobs:write"], "").await;
    until(&world, &asked, Some((403, "UNKNOWN_PERMISSION")), SOON).await;
    world.authorize(&["jobs:read"], "").await;
    until(&world, &asked, None, SOON).await;

    world.revoke_leaf(&identity).await;
    until(&world, &asked, Some((403, "CERTIFICATE_REVOKED")), Duration::from_secs(1)).await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whom_no_rule_admits_is_told_nothing() {
    let world = World::new().await;
    world.token(PrincipalType::Service, "web-1").await;
    let (agent, _) = world.agent(&(sections(&[("web-1", "{ uid = \"4242\" }")]) + RULES)).await;
    let client = world.enrolled("acme", PrincipalType::Worker, "w-1").await;
    let asked = request(&certificate(&client), "GET", "/jobs/7");
    let error = AuthorizationClient::new(connect(&world).await).check(asked.clone()).await.unwrap_err();
    assert_eq!(error.code(), Code::PermissionDenied);
    agent.stop().await;

    // An identity that is for this process, and decides on nothing.
    let (agent, _) = world.agent(&sections(&[("web-1", &us())])).await;
    assert_eq!(ask(&world, asked).await, Some((403, "NO_AUTHORIZATION_RULE".into())));
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_be_asked_about_is_denied() {
    let world = World::new().await;
    world.authorize(&["jobs:read"], "").await;
    let (agent, _) = served(&world, RULES).await;
    let client = world.enrolled("acme", PrincipalType::Worker, "w-1").await;
    world.stop_node();
    let asked = request(&certificate(&client), "GET", "/jobs/7");
    until(&world, &asked, Some((503, "CONTROL_PLANE_UNAVAILABLE")), SOON).await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_identity_that_has_no_certificate_yet_denies() {
    let world = World::new().await;
    let rules = sections(&[("web-1", &us())]) + RULES;
    // Without its token, it waits.
    let agent = Agent::start(Config::load(&world.configure(&rules)).unwrap()).await.unwrap();
    let client = world.enrolled("acme", PrincipalType::Worker, "w-1").await;
    assert_eq!(
        ask(&world, request(&certificate(&client), "GET", "/jobs/7")).await,
        Some((503, "CONTROL_PLANE_UNAVAILABLE".into()))
    );
    agent.stop().await;
}
