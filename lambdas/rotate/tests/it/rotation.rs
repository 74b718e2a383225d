//! The four steps, also twice at once, and a node that serves what they made.

use std::time::{Duration, Instant};

use aws_sdk_secretsmanager::primitives::Blob;
use serde_json::{Value, json};
use signet_app::bootstrap;
use signet_control_plane::{cli::system_clock, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use crate::world::World;

impl World {
    fn event(&self, step: &str, token: &str) -> Value {
        json!({ "Step": step, "SecretId": self.secret, "ClientRequestToken": token })
    }

    /// Labels a version without a value, as Secrets Manager does when it begins a rotation.
    async fn begin(&self, token: &str) {
        let put = self.secrets.put_secret_value().secret_id(&self.secret).client_request_token(token);
        // The emulator keeps no version without a value, and lets it be replaced.
        put.secret_binary(Blob::new([0])).version_stages("AWSPENDING").send().await.unwrap();
    }

    async fn labels(&self, version: &str) -> Vec<String> {
        let found = self.secrets.describe_secret().secret_id(&self.secret).send().await.unwrap();
        found.version_ids_to_stages.unwrap().remove(version).unwrap_or_default()
    }
}

async fn readyz(address: std::net::SocketAddr) -> String {
    let Ok(mut stream) = tokio::net::TcpStream::connect(address).await else { return String::new() };
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let expires = answer.split("\"server_certificate_expires\":\"").nth(1).unwrap_or_default();
    expires.split('"').next().unwrap_or_default().to_owned()
}

async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let started = Instant::now();
    while !is_so().await {
        assert!(started.elapsed() < Duration::from_secs(20), "not within twenty seconds: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn four_steps_replace_the_certificate_once_and_a_running_node_takes_it() {
    let world = World::new().await;
    let stop = CancellationToken::new();
    let node = serve(world.config.clone(), world.wired.clone(), stop.clone(), system_clock()).await.unwrap();
    until("the node is up", async || !readyz(node.public_addr).await.is_empty()).await;
    let (before, served, token) =
        (world.chain().await, readyz(node.public_addr).await, "11111111-1111-4111-8111-111111111111");

    let early = world.invoke(world.event("finishSecret", token)).await;
    assert!(early["errorMessage"].as_str().is_some_and(|text| text.contains("AWSPENDING")), "{early}");
    let own_choice = world.invoke(world.event("createSecret", token)).await;
    assert!(own_choice["errorMessage"].as_str().is_some_and(|text| text.contains("AWSPENDING")), "{own_choice}");
    assert!(world.labels(token).await.is_empty(), "nobody but Secrets Manager begins a rotation");
    world.begin(token).await;
    let untested = world.invoke(world.event("finishSecret", token)).await;
    assert!(untested["errorMessage"].is_string(), "{untested}");
    let (one, other) = tokio::join!(
        world.invoke(world.event("createSecret", token)),
        world.invoke(world.event("createSecret", token))
    );
    assert!(one["outcome"].is_string() && other["outcome"].is_string(), "{one} {other}");
    assert_eq!(world.labels(token).await, ["AWSPENDING"]);
    assert_eq!(world.chain().await, before, "nobody is served the pending one");
    let again = world.invoke(world.event("createSecret", token)).await;
    assert_eq!(again["outcome"], "the pending version has its value already");
    assert!(world.invoke(world.event("setSecret", token)).await["outcome"].is_string());
    let tested = world.invoke(world.event("testSecret", token)).await;
    assert_eq!(tested["outcome"], "a TLS connection with the pending pair succeeded", "{tested}");
    let (one, other) = tokio::join!(
        world.invoke(world.event("finishSecret", token)),
        world.invoke(world.event("finishSecret", token))
    );
    assert!(one["outcome"].is_string() && other["outcome"].is_string(), "{one} {other}");
    assert!(world.labels(token).await.contains(&"AWSCURRENT".to_owned()));
    assert_ne!(world.chain().await, before);

    node.reload.notify_one();
    until("the node serves it", async || readyz(node.public_addr).await > served).await;
    stop.cancel();
    node.ended().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_pending_value_never_becomes_the_current_one() {
    let world = World::new().await;
    let put = async |token: &str, text: &str| {
        let put = world.secrets.put_secret_value().secret_id(&world.secret).client_request_token(token);
        put.secret_string(text).version_stages("AWSPENDING").send().await.unwrap();
    };
    let message = async |step, token| {
        let answer = world.invoke(world.event(step, token)).await;
        answer["errorMessage"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    };
    let broken = "22222222-2222-4222-8222-222222222222";
    put(broken, r#"{"private_key_pem":"hunter2","certificate_chain_pem":""}"#).await;
    let told = message("testSecret", broken).await;
    assert!(told.contains("holds no private key") && !told.contains("hunter2"), "{told}");
    // A pair that is good in itself, for another name: what the clients connect to is not in it.
    let other = "33333333-3333-4333-8333-333333333333";
    let app = &world.wired.app;
    let signet_x509::KeyAndCsr { key, csr_der } = signet_x509::KeyAndCsr::generate().unwrap();
    let names = signet_app::ServerNames { dns: vec!["elsewhere.example.com".into()], ip: Vec::new() };
    let call = signet_app::Call::process("test", system_clock()());
    let chain = bootstrap::issue_server_certificate(app, &call, &names, &csr_der).await.unwrap();
    let chain_pem = signet_x509::bundle::to_pem(chain.iter().map(Vec::as_slice));
    let text = json!({ "private_key_pem": key.to_pkcs8_pem().as_str(), "certificate_chain_pem": chain_pem });
    put(other, &text.to_string()).await;
    // Nobody says whether the test was passed; what would fail it is not finished either.
    for step in ["testSecret", "finishSecret"] {
        let told = message(step, other).await;
        assert!(told.contains("localhost"), "{step}: {told}");
    }
    assert_eq!(world.labels(other).await, ["AWSPENDING"]);
    let foreign = json!({ "Step": "createSecret", "SecretId": "/nowhere/server", "ClientRequestToken": broken });
    assert!(world.invoke(foreign).await["errorMessage"].is_string());
}

/// The records of certificates end before the list of those that their holder has.
#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_whose_certificates_are_forgotten_comes_back_by_bootstrap() {
    let world = World::new().await;
    let mut now = system_clock()();
    for days in [31, 45] {
        now = now.plus(signet_core::Lifetime::days(days));
        let call = signet_app::Call { now, ..signet_app::Call::process("bootstrap", now) };
        let report = bootstrap::bootstrap(&world.wired.app, &call, &world.bootstrap).await.unwrap();
        let made = report.items.iter().filter(|item| item.made).map(|item| item.what.as_str());
        let admin = format!("certificate of admin {}", world.bootstrap.admin);
        assert_eq!(made.collect::<Vec<_>>(), ["server certificate", admin.as_str()]);
    }
}
