//! Health in its three forms, reflection, public material and metrics.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use signet_control_plane::{
    Config,
    cli::system_clock,
    config::Keys,
    serve,
    wiring::{self, Wired},
};
use signet_core::PrincipalType;
use signet_proto::v1::Isolation;
use tokio_util::sync::CancellationToken;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::{
    status::who_am_i,
    world::{Node, TestClock, World, http, reason},
};

#[tokio::test]
async fn health_and_public_material_are_for_everybody() {
    let world = World::new().await;
    let node = world.node().await;
    world.tenant(&node, "acme", Isolation::Dedicated).await;
    assert_eq!(node.http("/healthz").await, (200, "ok\n".to_owned()));
    let (status, body) = node.http("/readyz").await;
    let readiness: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &readiness["ready"], &readiness["stale"]), (200, &true.into(), &false.into()));
    assert!(readiness["staleness_ms"].as_i64().unwrap() < 5000);
    assert!(readiness["server_certificate_expires"].as_str().unwrap().contains('T'));

    let (status, root) = node.http("/v1/ca.pem").await;
    assert_eq!((status, signet_x509::pem::decode_certificates(&root).unwrap()), (200, world.roots.clone()));
    let (status, anchor) = node.http("/v1/server-anchor.pem").await;
    assert_eq!((status, signet_x509::pem::decode_certificates(&anchor).unwrap()), (200, world.roots[..1].to_vec()));
    let (status, anchors) = node.http("/v1/tenants/acme/bundle.pem").await;
    assert_eq!((status, signet_x509::pem::decode_certificates(&anchors).unwrap().len()), (200, 1));
    let (by_id, by_domain) = (
        node.http("/v1/tenants/acme/bundle.json").await,
        node.http("/v1/tenants/acme.test.example.com/bundle.json").await,
    );
    assert_eq!(by_id, by_domain);
    let bundle: serde_json::Value = serde_json::from_str(&by_id.1).unwrap();
    assert_eq!((&bundle["keys"][0]["use"], &bundle["spiffe_sequence"]), (&"x509-svid".into(), &2.into()));
    for unknown in ["/v1/tenants/nobody/bundle.pem", "/v1/tenants/A%2F/bundle.json", "/metrics", "/"] {
        assert_eq!(node.http(unknown).await.0, 404, "{unknown}");
    }

    let (status, checked) = node.checked(&[]).await;
    assert_eq!((status, checked.contains("\"ready\":true")), (200, true));
    let health = node.running.health_addr.unwrap();
    assert_eq!(http(health, "/healthz").await, (200, "ok\n".to_owned()));
    assert_eq!(http(health, "/v1/ca.pem").await.0, 404);

    let mut health = HealthClient::new(world.connector(&node, None).channel());
    for service in ["", "signet.v1.TenantService"] {
        let answer = health.check(HealthCheckRequest { service: service.into() }).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving);
    }
    // A stream would keep something of the node for somebody whom nobody knows.
    let refused = health.watch(HealthCheckRequest::default()).await.unwrap_err();
    assert_eq!(reason(&refused), "CERTIFICATE_REQUIRED");
    HealthClient::new(world.admin(&node)).watch(HealthCheckRequest::default()).await.unwrap();
    let metrics = node.metrics().await;
    for name in [
        "signet_ready 1",
        "signet_feed_staleness_seconds",
        r#"operation="CreateTenant",code="OK"} 1"#,
        "signet_feed_missing_total 0",
        "signet_feed_heads_mended_total 0",
    ] {
        assert!(metrics.contains(name), "{name}: {metrics}");
    }
    node.end().await;
}

#[tokio::test]
async fn reflection_is_for_admins() {
    let world = World::new().await;
    let node = world.node().await;
    world.tenant(&node, "acme", Isolation::Shared).await;
    let worker = world.principal(&node, "acme", "w-1", PrincipalType::Worker, &[]).await;
    let list = || {
        let request = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        tokio_stream::once(request)
    };
    for (channel, refusal) in [
        (world.connector(&node, None).channel(), "CERTIFICATE_REQUIRED"),
        (world.channel(&node, &worker), "CALLER_TYPE_DENIED"),
    ] {
        let status = ServerReflectionClient::new(channel).server_reflection_info(list()).await.unwrap_err();
        assert_eq!(reason(&status), refusal);
    }
    let mut client = ServerReflectionClient::new(world.admin(&node));
    let mut answers = client.server_reflection_info(list()).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(services) = answer else { panic!("{answer:?}") };
    let names: Vec<_> = services.service.into_iter().map(|service| service.name).collect();
    assert!(names.contains(&"signet.v1.PrincipalService".to_owned()), "{names:?}");
    drop(answers);
    node.end().await;
}

/// The clients of other languages ask for this one.
#[tokio::test]
async fn reflection_v1alpha_is_for_admins_too() {
    use tonic_reflection::pb::v1alpha::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let world = World::new().await;
    let node = world.node().await;
    let list = || {
        let request = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        tokio_stream::once(request)
    };
    let stranger = world.connector(&node, None).channel();
    let refused = ServerReflectionClient::new(stranger).server_reflection_info(list()).await.unwrap_err();
    assert_eq!(reason(&refused), "CERTIFICATE_REQUIRED");
    let mut client = ServerReflectionClient::new(world.admin(&node));
    let mut answers = client.server_reflection_info(list()).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(services) = answer else { panic!("{answer:?}") };
    let names: Vec<_> = services.service.into_iter().map(|service| service.name).collect();
    for version in ["v1", "v1alpha"] {
        assert!(names.contains(&format!("grpc.reflection.{version}.ServerReflection")), "{names:?}");
    }
    drop(answers);
    node.end().await;
}

#[tokio::test]
async fn a_full_store_is_not_ready_and_still_lets_the_operator_in() {
    let world = World::new().await;
    let full = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&full);
    let wired = Wired { store_is_full: Arc::new(move || asked.load(Ordering::Acquire)), ..world.wired.clone() };
    let node = world.node_of(wired, TestClock::default()).await;
    full.store(true, Ordering::Release);
    let (status, body) = node.http("/readyz").await;
    let readiness: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &readiness["reasons"][0]["reason"]), (503, &"STORE_FULL".into()));
    who_am_i(&world.admin(&node)).await.unwrap();
    full.store(false, Ordering::Release);
    assert_eq!(node.http("/readyz").await.0, 200);
    node.end().await;
}

/// A new audit key would sign what nobody can verify.
#[tokio::test]
async fn an_environment_that_has_keys_gets_no_others_from_a_mistyped_folder() {
    let world = World::new().await;
    let keys = world.dir.path().join("kyes");
    let mut config = world.config();
    let Keys::Softkey { dir, .. } = &mut config.keys else { panic!("{:?}", config.keys) };
    dir.clone_from(&keys);
    let refused = wiring::open(&config).await.unwrap_err().to_string();
    assert!(refused.contains("kyes has no audit key") && refused.contains("RestoreStore"), "{refused}");
    assert!(!keys.join("audit.1.pem").exists());
}

/// A wrong path, or a copy without its log: nobody could be let in, and it must not look healthy.
#[tokio::test]
async fn a_store_that_is_empty_or_of_another_environment_is_refused_where_the_environment_was_made_before() {
    let world = World::new().await;
    let serve_as = async |suffix: &str, store: &str, keys: &str, server: &str| {
        let text = format!(
            "environment = {{ name = 'test', trust_domain_suffix = '{suffix}' }}
             storage = {{ kind = 'sqlite', path = '{store}' }}
             keys = {{ kind = 'softkey', dir = '{keys}', passphrase_file = 'passphrase' }}
             server_identity = {{ kind = 'files', dir = '{server}' }}
             listen = {{ grpc = '127.0.0.1:0', public = '127.0.0.1:0', metrics = '127.0.0.1:0' }}"
        );
        let config = Config::from_toml(&text, world.dir.path()).unwrap();
        let wired = wiring::open(&config).await.unwrap();
        let stop = CancellationToken::new();
        (serve(config, wired, stop.clone(), system_clock()).await, stop)
    };
    let serve_on =
        async |store: &str, keys: &str, server: &str| serve_as("test.example.com", store, keys, server).await;
    for (keys, server, what) in [("other", "server", "a server certificate"), ("keys", "none", "the root's key")] {
        let (refused, _) = serve_on("empty.db", keys, server).await;
        let told = refused.unwrap_err().to_string();
        assert!(told.contains(what) && told.contains("not this environment's"), "{told}");
    }
    let (refused, _) = serve_as("prod.example.com", "signet.db", "keys", "server").await;
    let told = refused.unwrap_err().to_string();
    assert!(told.contains("root.1 belongs to another environment") && told.contains("prod.example.com"), "{told}");
    let (running, stop) = serve_on("new.db", "new", "none").await;
    let node = Node { running: running.unwrap(), stop };
    let (status, body) = node.http("/readyz").await;
    assert!(status == 503 && body.contains("NO_ROOT") && body.contains("principal bootstrap"), "{body}");
    node.end().await;
}
