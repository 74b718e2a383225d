//! The end in order.

use std::{process::Stdio, time::Duration};

use signet_proto::v1::{self as pb, trust_service_client::TrustServiceClient};
use tonic::Code;

use crate::{
    status::who_am_i,
    world::{World, eventually, reason},
};

#[tokio::test]
async fn a_drain_tells_streams_and_refuses_newcomers() {
    let world = World::new().await;
    let node = world.node().await;
    let channel = world.admin(&node);
    let mut client = TrustServiceClient::new(channel.clone());
    let mut stream = client.watch_trust_bundle(pb::WatchTrustBundleRequest::default()).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    let connector = world.connector(&node, Some(&world.admin));
    let started = std::time::Instant::now();
    node.stop.cancel();
    let end = stream.message().await.unwrap_err();
    assert_eq!((end.code(), reason(&end).as_str()), (Code::Unavailable, "NODE_DRAINING"));
    drop((stream, client));
    node.running.ended().await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert!(connector.connect().await.is_err());
    assert!(who_am_i(&channel).await.is_err());
}

#[tokio::test]
async fn the_program_ends_well_on_sigterm() {
    let world = World::new().await;
    let file = world.dir.path().join("signet.toml");
    let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (grpc, public) = (free(), free());
    let config = format!(
        "environment = {{ name = 'test', trust_domain_suffix = 'test.example.com' }}\n\
         storage = {{ kind = 'sqlite', path = 'signet.db' }}\n\
         keys = {{ kind = 'softkey', dir = 'keys', passphrase_file = 'passphrase' }}\n\
         server_identity = {{ kind = 'files', dir = 'server' }}\n\
         listen = {{ grpc = '{grpc}', public = '{public}', metrics = '127.0.0.1:0' }}\n\
         telemetry = {{ log = 'json' }}"
    );
    std::fs::write(&file, config).unwrap();
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_signetd"))
        .arg("--config")
        .arg(&file)
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let took = eventually("signetd is ready", async || crate::world::http(public, "/readyz").await.0 == 200).await;
    eprintln!("ready after {took:?}");
    let endpoint = format!("https://localhost:{}", grpc.port());
    let connector = signet_client::Connector::new(&endpoint, &world.roots, Some(&world.admin)).unwrap();
    assert_eq!(who_am_i(&connector.channel()).await.unwrap().principal_id, "root-admin");
    let pid = child.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let mut stderr = child.stderr.take().unwrap();
    let mut log = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut stderr, &mut log).await.unwrap();
    assert_eq!(child.wait().await.unwrap().code(), Some(0), "{log}");
    let call = log.lines().find(|line| line.contains("WhoAmI")).unwrap_or_else(|| panic!("{log}"));
    let call: serde_json::Value = serde_json::from_str(call).unwrap();
    assert_eq!((&call["code"], &call["span"]["principal"]), (&"OK".into(), &"root-admin".into()));
    assert!(call["duration_ms"].as_f64().unwrap() < 5000.0);
    assert!(!log.contains("PRIVATE KEY"));
}
