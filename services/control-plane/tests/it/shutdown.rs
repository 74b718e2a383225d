//! The end in order.

use std::process::Stdio;

use signet_proto::v1::{
    self as pb, enrollment_service_client::EnrollmentServiceClient, principal_service_client::PrincipalServiceClient,
    trust_service_client::TrustServiceClient,
};
use signet_x509::KeyAndCsr;
use tonic::Code;

use crate::{
    faulty::faulty,
    program::Program,
    status::who_am_i,
    world::{TestClock, World, eventually, reason},
};

#[tokio::test]
async fn a_drain_tells_streams_and_refuses_newcomers() {
    // A node that waited for its streams would wait until the test is ended.
    let world = World::with_config("limits = { drain_seconds = 600 }").await;
    let node = world.node().await;
    let channel = world.admin(&node);
    let mut client = TrustServiceClient::new(channel.clone());
    let mut stream = client.watch_trust_bundle(pb::WatchTrustBundleRequest::default()).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    let connector = world.connector(&node, Some(&world.admin));
    node.stop.cancel();
    let end = stream.message().await.unwrap_err();
    assert_eq!((end.code(), reason(&end).as_str()), (Code::Unavailable, "NODE_DRAINING"));
    drop((stream, client));
    node.running.ended().await.unwrap();
    assert!(connector.connect().await.is_err());
    assert!(who_am_i(&channel).await.is_err());
}

fn create(id: &str) -> pb::CreatePrincipalRequest {
    let principal = pb::Principal { principal_id: id.into(), principal_type: 3, ..Default::default() };
    pb::CreatePrincipalRequest { principal: Some(principal), request_id: signet_client::request_id() }
}

#[tokio::test]
async fn a_call_under_way_is_finished_and_the_node_says_that_it_drains() {
    let world = World::new().await;
    let (wired, store) = faulty(&world);
    let node = world.node_of(wired, TestClock::default()).await;
    let mut client = PrincipalServiceClient::new(world.admin(&node));
    client.get_principal(pb::GetPrincipalRequest::default()).await.unwrap();
    store.hold();
    let call = tokio::spawn(async move { client.create_principal(create("w-1")).await });
    eventually("the call is under way", async || {
        node.metrics().await.contains(r#"signet_rpc_in_flight{operation="CreatePrincipal"} 1"#)
    })
    .await;
    node.stop.cancel();
    eventually("the node drains", async || {
        let (status, body) = node.http("/readyz").await;
        status == 503 && body.contains("NODE_DRAINING")
    })
    .await;
    assert!(world.connector(&node, Some(&world.admin)).connect().await.is_err(), "a newcomer");
    store.release();
    assert_eq!(call.await.unwrap().unwrap().into_inner().principal_id, "w-1");
    node.running.ended().await.unwrap();
}

#[tokio::test]
async fn a_call_that_does_not_end_is_cut_at_the_limit() {
    let world = World::with_config("limits = { drain_seconds = 1, request_timeout_seconds = 120 }").await;
    let (wired, store) = faulty(&world);
    let node = world.node_of(wired, TestClock::default()).await;
    let mut client = PrincipalServiceClient::new(world.admin(&node));
    client.get_principal(pb::GetPrincipalRequest::default()).await.unwrap();
    store.hold();
    let call = tokio::spawn(async move { client.create_principal(create("w-1")).await });
    eventually("the call is under way", async || {
        node.metrics().await.contains(r#"signet_rpc_in_flight{operation="CreatePrincipal"} 1"#)
    })
    .await;
    node.stop.cancel();
    node.running.ended().await.unwrap();
    // Not by its own time limit.
    assert_ne!(call.await.unwrap().unwrap_err().code(), Code::DeadlineExceeded);
}

/// Whoever hangs up after a refusal does not get rid of its record by the node's end either.
#[tokio::test]
async fn what_a_caller_that_is_gone_has_set_going_is_finished_first() {
    let world = World::new().await;
    let (wired, store) = faulty(&world);
    let node = world.node_of(wired, TestClock::default()).await;
    let mut client = EnrollmentServiceClient::new(world.connector(&node, None).channel());
    store.hold();
    let request = pb::EnrollRequest {
        csr_der: KeyAndCsr::generate().unwrap().csr_der,
        request_id: "one".into(),
        proof: Some(pb::enroll_request::Proof::JoinToken("sgt_wrong".into())),
        ..Default::default()
    };
    let call = tokio::spawn(async move { client.enroll(request).await });
    eventually("the refusal is being written", async || store.waiting() > 0).await;
    call.abort();
    eventually("the caller is gone", async || {
        node.metrics().await.contains(r#"signet_rpc_in_flight{operation="Enroll"} 0"#)
    })
    .await;
    node.stop.cancel();
    eventually("the node drains", async || node.http("/readyz").await.1.contains("NODE_DRAINING")).await;
    assert_eq!(store.waiting(), 1, "the refusal is still to be written, and the node is still there");
    store.release();
    node.running.ended().await.unwrap();
    assert_eq!(store.waiting(), 0, "the node ended before the refusal was written");
}

#[tokio::test]
async fn a_call_has_a_time_limit() {
    let world = World::with_config("limits = { request_timeout_seconds = 1 }").await;
    let (wired, store) = faulty(&world);
    let node = world.node_of(wired, TestClock::default()).await;
    let mut client = PrincipalServiceClient::new(world.admin(&node));
    store.hold();
    let status = client.create_principal(create("w-1")).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::DeadlineExceeded, "TIMED_OUT"));
    store.release();
    assert!(client.get_principal(pb::GetPrincipalRequest::default()).await.is_ok());
    node.end().await;
}

#[tokio::test]
async fn the_program_ends_well_on_sigterm_and_logs_a_line_a_call() {
    let world = World::new().await;
    let program = Program::start(&world, "telemetry = { log = 'json' }", Stdio::piped()).await;
    eprintln!("ready after {:?}", program.ready_after);
    assert_eq!(who_am_i(&program.channel(&world)).await.unwrap().principal_id, "root-admin");
    let checked = program.check().await;
    let told = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success(), "{checked:?}");
    assert!(told.contains("tokens           none are given: set tokens.issuer"), "{told}");
    let unread = program.check_of_nobody().await;
    assert!(unread.status.success() && unread.stderr.is_empty(), "{unread:?}");
    assert!(told.contains("signetd is running here and has them open") && !told.contains('{'), "{told}");
    let (code, log) = program.end().await;
    assert_eq!(code, Some(0), "{log}");
    let call = log.lines().find(|line| line.contains("WhoAmI")).unwrap_or_else(|| panic!("{log}"));
    let call: serde_json::Value = serde_json::from_str(call).unwrap();
    assert_eq!((&call["code"], &call["span"]["principal"]), (&"OK".into(), &"root-admin".into()));
    assert!(call["duration_ms"].as_f64().unwrap() < 5000.0);
    assert!(!log.contains("PRIVATE KEY"));
}
