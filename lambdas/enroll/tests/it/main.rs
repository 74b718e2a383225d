//! The function as AWS runs it: the real program, zipped, behind the emulator's API Gateway.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod events;

use std::sync::Arc;

use secrecy::ExposeSecret;
use serde_json::{Value, json};
use signet_app::{AuditWindow, Bootstrap, Call, CreateTenant, CreateToken, bootstrap, enrollment::tokens, tenants};
use signet_control_plane::{Config, cli::system_clock, wiring};
use signet_core::{
    Identity, Lifetime, PrincipalType, Serial,
    authorization::{CallerTypes, Permit, Policy, Rule, permit},
    enrollment::PrincipalTemplate,
    store::scope::Housekeeper,
    tenants::Isolation,
};
use signet_testkit::{
    faults::variable,
    fixtures::unique,
    lambda::{deploy, function_url, http_api, invoke, post},
};
use signet_x509::{KeyAndCsr, pem};

fn variables() -> Vec<(&'static str, String)> {
    let prefix = variable("SIGNET_TEST_AWS_PREFIX");
    vec![
        ("AWS_ACCESS_KEY_ID", "test".into()),
        ("AWS_SECRET_ACCESS_KEY", "test".into()),
        ("SIGNET_ENVIRONMENT__NAME", "test".into()),
        ("SIGNET_ENVIRONMENT__TRUST_DOMAIN_SUFFIX", "test.example.com".into()),
        ("SIGNET_STORAGE__KIND", "dynamodb".into()),
        ("SIGNET_STORAGE__PREFIX", prefix.clone()),
        ("SIGNET_KEYS__KIND", "kms".into()),
        ("SIGNET_KEYS__PREFIX", prefix),
        ("SIGNET_SERVER_IDENTITY__KIND", "aws".into()),
        ("SIGNET_SERVER_IDENTITY__PREFIX", "/enroll-test".into()),
        ("SIGNET_TELEMETRY__LOG", "json".into()),
        ("SIGNET_AWS__REGION", "eu-central-1".into()),
        ("SIGNET_AWS__ENDPOINT_URL", variable("SIGNET_TEST_AWS_ENDPOINT")),
    ]
}

fn admin(now: signet_core::Time) -> Permit {
    let identity = Identity {
        tenant: "system".parse().unwrap(),
        principal: "root".parse().unwrap(),
        principal_type: PrincipalType::Admin,
        roles: Vec::new().into(),
        issuer: "system.1".parse().unwrap(),
        serial: Serial::new(now, [0; 10]),
        not_before: now,
        not_after: now.plus(Lifetime::hours(12)),
        spki_sha256: [0; 32],
        certificate_sha256: [0; 32],
    };
    let policy = Policy::new();
    let grants = policy.grants(&identity.tenant, identity.principal_type, &identity.roles);
    let callers = CallerTypes::default().with(PrincipalType::Admin);
    let rule = Rule { operation: "test".into(), permission: policy.permission("tokens.create").unwrap(), callers };
    permit(&Arc::new(identity), &grants, &rule).unwrap()
}

/// A tenant of the test's own with a shared CA, and a join token of it.
async fn tenant_and_token(wired: &wiring::Wired, tenant: &str) -> String {
    let call = Call::process("test", system_clock()());
    let input = Bootstrap {
        keys: wired.environment_keys.clone(),
        server: signet_app::ServerNames { dns: vec!["localhost".into()], ip: Vec::new() },
        server_csr_der: KeyAndCsr::generate().unwrap().csr_der,
        admin: tenant.parse().unwrap(),
        admin_csr_der: KeyAndCsr::generate().unwrap().csr_der,
    };
    bootstrap::bootstrap(&wired.app, &call, &input).await.unwrap();
    let new = CreateTenant {
        id: tenant.parse().unwrap(),
        display_name: String::new(),
        isolation: Isolation::Shared,
        lifetimes: Default::default(),
        subjects: Default::default(),
        max_certificates: 0,
        renewal_grace: Lifetime::default(),
        quotas: Default::default(),
        failure_limit: None,
    };
    tenants::create_tenant(&wired.app, &call, &Housekeeper::appoint().environment(), new).await.unwrap();
    new_token(wired, tenant, PrincipalType::Worker).await
}

/// A token of `tenant`, good for one.
async fn new_token(wired: &wiring::Wired, tenant: &str, principal_type: PrincipalType) -> String {
    let call = Call::process("test", system_clock()());
    let template = PrincipalTemplate { principal_type, id: None, roles: Vec::new() };
    let (ttl, source_networks) = (Lifetime::hours(1), Vec::new());
    let token = CreateToken { template, ttl, uses: 1, id_pattern: None, source_networks };
    let scope = Housekeeper::appoint().tenant(&tenant.parse().unwrap());
    let made = tokens::create_token(&wired.app, &call, &admin(call.now), &scope, token).await.unwrap();
    made.secret.expose_secret().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_redeemed_through_the_api_gateway_once() {
    let variables = variables();
    let config = Config::from_pairs(variables.iter().map(|(name, value)| (*name, value.as_str()))).unwrap();
    let (wired, tenant) = (wiring::open(&config).await.unwrap(), unique("t-"));
    let token = tenant_and_token(&wired, &tenant).await;
    deploy(&tenant, env!("CARGO_BIN_EXE_signet-enroll"), &variables);
    let host = http_api(&tenant, &["POST /v1/enroll", "POST /v1/renew"]);
    let enroll = |request_id: &str| {
        let csr = pem::encode(pem::CERTIFICATE_REQUEST, &KeyAndCsr::generate().unwrap().csr_der);
        let proof = json!({ "join_token": token });
        json!({ "request_id": request_id, "principal_id": "w-1", "csr_pem": csr, "proof": proof }).to_string()
    };
    let bad = post(&host, "/v1/enroll", "{}");
    assert!(bad.status == 400 && bad.head.contains("application/problem+json"), "{bad:?}");
    let first = enroll("r-1");
    let good = post(&host, "/v1/enroll", &first);
    assert_eq!(good.status, 200, "{good:?}");
    let url = function_url(&tenant);
    let again = post(&url, "/v1/enroll", &first);
    assert_eq!((again.status, &again.body), (200, &good.body), "the function's own URL: {again:?}");
    let elsewhere = post(&url, "/v1/../%zz/%00", &first);
    assert!(elsewhere.status == 404 && elsewhere.head.contains("application/problem+json"), "{elsewhere:?}");
    // What is no call at all fails the invocation, and the function lives on.
    let context = json!({ "http": { "method": "POST", "path": "/", "sourceIp": "192.0.2.1" }, "requestId": "r", "stage": "$default" });
    let hostile = json!({ "version": "2.0", "rawPath": "/", "headers": { "host": "a b", "x-forwarded-proto": "¬" }, "requestContext": context });
    for event in [json!({}), json!({ "version": "1.0", "path": "/v1/enroll", "httpMethod": "POST" })] {
        let failed = invoke(&tenant, &event.to_string());
        assert!(failed.contains("errorMessage"), "{event}: {failed}");
    }
    let answered: Value = serde_json::from_str(&invoke(&tenant, &hostile.to_string())).unwrap();
    assert_eq!(answered["statusCode"], 404, "{answered}");
    let issued: Value = serde_json::from_str(&good.body).unwrap();
    assert_eq!(issued["spiffe_id"], format!("spiffe://{tenant}.test.example.com/worker/w-1"));
    assert_eq!(pem::decode_certificates(issued["chain_pem"].as_str().unwrap()).unwrap().len(), 2);
    let used = post(&host, "/v1/enroll", &enroll("r-2"));
    assert_eq!(used.status, 403, "{used:?}");
    let problem: Value = serde_json::from_str(&used.body).unwrap();
    let id = problem["correlation_id"].as_str().unwrap();

    // The operator finds by that id what the caller was not told, and whom API Gateway has seen.
    let call = Call::process("test", system_clock()());
    let window = AuditWindow::new(None, None, call.now).unwrap();
    let scope = Housekeeper::appoint().tenant(&tenant.parse().unwrap());
    let page = signet_app::audit::events::list_audit_events(&wired.app, &call, &scope, &window, &Default::default())
        .await
        .unwrap();
    let found = page.events.iter().find(|event| event.payload.contains(id)).unwrap();
    let event: Value = serde_json::from_str(&found.payload).unwrap();
    assert_eq!((&event["outcome"], &event["source"]), (&json!("TOKEN_USED_UP"), &json!("127.0.0.1")));
}
