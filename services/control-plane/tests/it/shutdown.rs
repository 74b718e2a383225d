//! The end in order.

use std::{process::Stdio, time::Duration};

use signet_proto::v1::{self as pb, trust_service_client::TrustServiceClient};
use tonic::Code;

use crate::{
    program::Program,
    status::who_am_i,
    world::{World, reason},
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
async fn the_program_ends_well_on_sigterm_and_logs_a_line_a_call() {
    let world = World::new().await;
    let program = Program::start(&world, "telemetry = { log = 'json' }", Stdio::piped()).await;
    eprintln!("ready after {:?}", program.ready_after);
    assert_eq!(who_am_i(&program.channel(&world)).await.unwrap().principal_id, "root-admin");
    let (code, log) = program.end().await;
    assert_eq!(code, Some(0), "{log}");
    let call = log.lines().find(|line| line.contains("WhoAmI")).unwrap_or_else(|| panic!("{log}"));
    let call: serde_json::Value = serde_json::from_str(call).unwrap();
    assert_eq!((&call["code"], &call["span"]["principal"]), (&"OK".into(), &"root-admin".into()));
    assert!(call["duration_ms"].as_f64().unwrap() < 5000.0);
    assert!(!log.contains("PRIVATE KEY"));
}
