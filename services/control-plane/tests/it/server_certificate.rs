//! The server's certificate: waited for, swapped without dropping a call, renewed by itself.

use std::time::Duration;

use secrecy::SecretString;
use signet_app::Call;
use signet_control_plane::{ServerCredentials, cli::system_clock};
use signet_x509::{KeyAndCsr, bundle::to_pem};

use crate::{
    status::who_am_i,
    world::{Node, TestClock, World, eventually},
};

async fn expires(node: &Node) -> String {
    let (_, body) = node.http("/readyz").await;
    let readiness: serde_json::Value = serde_json::from_str(&body).unwrap();
    readiness["server_certificate_expires"].as_str().unwrap_or_default().to_owned()
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
        let KeyAndCsr { key, csr_der } = KeyAndCsr::generate().unwrap();
        let call = Call::process("test", system_clock()());
        let chain = world.wired.app.issue_server_certificate(&call, &world.config().server, &csr_der).await.unwrap();
        let credentials = ServerCredentials {
            chain_pem: to_pem(chain.iter().map(Vec::as_slice)),
            key_pem: SecretString::from(key.to_pkcs8_pem().as_str()),
        };
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
