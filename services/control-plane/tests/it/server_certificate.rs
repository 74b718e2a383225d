//! The server's certificate: waited for, judged, swapped without dropping a call, renewed by itself.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use secrecy::SecretString;
use signet_app::{Call, ServerNames, bootstrap};
use signet_control_plane::{
    PublicMaterial, ServerCredentials, ServerIdentityError, ServerIdentityStore, cli::system_clock, wiring::Wired,
};
use signet_x509::{KeyAndCsr, bundle::to_pem};

use crate::{
    status::who_am_i,
    world::{Node, TestClock, World, eventually},
};

async fn readiness(node: &Node) -> serde_json::Value {
    serde_json::from_str(&node.http("/readyz").await.1).unwrap()
}

async fn expires(node: &Node) -> String {
    readiness(node).await["server_certificate_expires"].as_str().unwrap_or_default().to_owned()
}

async fn fault(node: &Node) -> Option<String> {
    readiness(node).await["server_certificate_fault"].as_str().map(str::to_owned)
}

/// A new certificate of this environment for these names.
async fn issue(world: &World, names: &ServerNames) -> ServerCredentials {
    let KeyAndCsr { key, csr_der } = KeyAndCsr::generate().unwrap();
    let call = Call::process("test", system_clock()());
    let chain = bootstrap::issue_server_certificate(&world.wired.app, &call, names, &csr_der).await.unwrap();
    ServerCredentials {
        chain_pem: to_pem(chain.iter().map(Vec::as_slice)),
        key_pem: SecretString::from(key.to_pkcs8_pem().as_str()),
    }
}

/// As in AWS: somebody else renews.
#[derive(Debug)]
struct RenewedElsewhere(Arc<dyn ServerIdentityStore>);

#[async_trait]
impl ServerIdentityStore for RenewedElsewhere {
    async fn get(&self) -> Result<Option<ServerCredentials>, ServerIdentityError> {
        self.0.get().await
    }
    async fn put(&self, credentials: &ServerCredentials) -> Result<(), ServerIdentityError> {
        self.0.put(credentials).await
    }
    async fn get_public(&self, what: PublicMaterial) -> Result<Option<String>, ServerIdentityError> {
        self.0.get_public(what).await
    }
    async fn put_public(&self, what: PublicMaterial, pem: &str) -> Result<(), ServerIdentityError> {
        self.0.put_public(what, pem).await
    }
    fn renewed_by_server(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn a_certificate_that_clients_would_refuse_is_not_taken_and_the_present_one_goes_on() {
    let (world, elsewhere) = (World::new().await, World::new().await);
    let server_identity = Arc::new(RenewedElsewhere(Arc::clone(&world.wired.server_identity)));
    let wired = Wired { server_identity, ..world.wired.clone() };
    let node = world.node_of(wired, TestClock::default()).await;
    let mut present = expires(&node).await;
    let names = world.config().server;
    let foreign = elsewhere.wired.server_identity.get().await.unwrap().unwrap();
    let evil = ServerNames { dns: vec!["evil.example".into()], ..names.clone() };
    let short = issue(&world, &ServerNames { ip: Vec::new(), ..names.clone() }).await;
    let later = issue(&world, &evil).await;
    for (credentials, reason) in [
        (&foreign, "SERVER_CERTIFICATE_FOREIGN"),
        (&short, "SERVER_CERTIFICATE_LACKS_NAME"),
        (&later, "SERVER_CERTIFICATE_LACKS_NAME"),
    ] {
        world.wired.server_identity.put(credentials).await.unwrap();
        node.running.reload.notify_one();
        eventually(reason, async || fault(&node).await.as_deref() == Some(reason)).await;
        assert!(who_am_i(&world.admin(&node)).await.is_ok(), "{reason}");
        assert_eq!((expires(&node).await, node.http("/readyz").await.0), (present.clone(), 200));
        assert!(node.metrics().await.contains("signet_server_certificate_faulty 1"));
        let good = issue(&world, &names).await;
        world.wired.server_identity.put(&good).await.unwrap();
        node.running.reload.notify_one();
        eventually("the good one is taken", async || fault(&node).await.is_none()).await;
        present = expires(&node).await;
        world.wired.server_identity.put(credentials).await.unwrap();
        node.running.reload.notify_one();
        eventually(reason, async || fault(&node).await.as_deref() == Some(reason)).await;
        assert!(who_am_i(&world.admin(&node)).await.is_ok(), "{reason}");
    }
    node.end().await;
}

#[tokio::test]
async fn a_node_that_finds_another_environments_certificate_serves_none_and_says_why() {
    let (world, elsewhere) = (World::new().await, World::new().await);
    let own = world.wired.server_identity.get().await.unwrap().unwrap();
    let foreign = elsewhere.wired.server_identity.get().await.unwrap().unwrap();
    world.wired.server_identity.put(&foreign).await.unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let running =
        signet_control_plane::serve(world.config(), world.wired.clone(), stop.clone(), system_clock()).await.unwrap();
    let node = Node { running, stop };
    eventually("it says why", async || {
        let (status, body) = node.http("/readyz").await;
        status == 503 && body.contains("\"reason\":\"SERVER_CERTIFICATE_FOREIGN\"")
    })
    .await;
    world.wired.server_identity.put(&own).await.unwrap();
    node.running.reload.notify_one();
    node.until_ready().await;
    assert!(who_am_i(&world.admin(&node)).await.is_ok());
    node.end().await;
}

#[tokio::test]
async fn another_certificate_is_swapped_in_and_calls_go_on() {
    let world = World::new().await;
    let node = world.node().await;
    let open = world.admin(&node);
    assert!(who_am_i(&open).await.is_ok());
    let before = expires(&node).await;
    // Seconds tell certificates apart here.
    eventually("a second has passed", async || {
        let credentials = issue(&world, &world.config().server).await;
        world.wired.server_identity.put(&credentials).await.unwrap();
        node.running.reload.notify_one();
        expires(&node).await != before
    })
    .await;
    assert!(who_am_i(&open).await.is_ok(), "the connection that was open");
    assert!(who_am_i(&world.admin(&node)).await.is_ok(), "a new one");
    // A broken one is not taken.
    std::fs::write(world.dir.path().join("server/server.pem"), "no PEM").unwrap();
    node.running.reload.notify_one();
    assert!(who_am_i(&world.admin(&node)).await.is_ok());
    node.end().await;
}

#[tokio::test]
async fn the_embedded_default_renews_its_certificate_in_its_last_third() {
    let world = World::new().await;
    let clock = TestClock::default();
    let node = world.node_of(world.wired.clone(), clock.clone()).await;
    let before = expires(&node).await;
    let stored = world.wired.server_identity.get().await.unwrap().unwrap().chain_pem;
    node.running.reload.notify_one();
    tokio::task::yield_now().await;
    assert_eq!(expires(&node).await, before);
    clock.advance(Duration::from_secs(5 * 24 * 3600));
    node.running.reload.notify_one();
    eventually("the certificate is renewed", async || expires(&node).await > before).await;
    assert_ne!(world.wired.server_identity.get().await.unwrap().unwrap().chain_pem, stored);
    node.end().await;
}

#[tokio::test]
async fn a_node_without_a_certificate_waits_and_says_so() {
    let world = World::new().await;
    let place = world.dir.path().join("server/server.pem");
    let credentials = std::fs::read(&place).unwrap();
    std::fs::remove_file(&place).unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let running =
        signet_control_plane::serve(world.config(), world.wired.clone(), stop.clone(), system_clock()).await.unwrap();
    let node = Node { running, stop };
    let (status, body) = node.http("/readyz").await;
    assert!(status == 503 && body.contains("NO_SERVER_CERTIFICATE") && body.contains("principal bootstrap"), "{body}");
    std::fs::write(&place, credentials).unwrap();
    node.running.reload.notify_one();
    node.until_ready().await;
    assert!(who_am_i(&world.admin(&node)).await.is_ok());
    node.end().await;
}

#[tokio::test]
async fn a_new_name_in_the_configuration_gets_a_certificate() {
    let world = World::with_config("server = { dns_names = [\"localhost\", \"signet.internal\"] }").await;
    let node = world.node().await;
    let named = world.connector(&node, Some(&world.admin)).with_server_name("signet.internal").unwrap();
    eventually("the certificate has the new name", async || named.connect().await.is_ok()).await;
    assert!(who_am_i(&world.admin(&node)).await.is_ok());
    node.end().await;
}

/// No client would take it.
#[tokio::test]
async fn a_node_whose_certificate_is_not_valid_yet_is_not_ready() {
    let (world, clock) = (World::new().await, TestClock::default());
    let node = world.node_of(world.wired.clone(), clock.clone()).await;
    node.until_ready().await;
    clock.step(-3_600_000);
    let (status, body) = node.http("/readyz").await;
    assert!(status == 503 && body.contains("\"reason\":\"SERVER_CERTIFICATE_NOT_YET_VALID\""), "{body}");
    node.end().await;
}
