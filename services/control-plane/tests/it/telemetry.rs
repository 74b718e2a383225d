//! Spans reach a collector, and a call that panics is answered and counted.

use std::{
    process::Stdio,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
};
use signet_core::store::Table;
use signet_proto::v1::{WatchTrustBundleRequest, trust_service_client::TrustServiceClient};
use tonic::Code;

use crate::{
    faulty::faulty,
    program::Program,
    status::who_am_i,
    world::{TestClock, World, eventually},
};

type Received = Arc<Mutex<Vec<u8>>>;

/// Answers every gRPC call with an empty message and keeps what it was sent.
async fn collect(State(received): State<Received>, body: Bytes) -> http::Response<Body> {
    received.lock().unwrap().extend_from_slice(&body);
    let headers = http::Response::builder().header("content-type", "application/grpc").header("grpc-status", "0");
    headers.body(Body::empty()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_go_to_the_collector() {
    let received = Received::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let collector = Router::new().fallback(collect).with_state(Arc::clone(&received));
    tokio::spawn(async move { axum::serve(listener, collector).await });
    let world = World::new().await;
    let telemetry = format!("telemetry = {{ otlp_endpoint = '{endpoint}' }}");
    let program = Program::start(&world, &telemetry, Stdio::piped()).await;
    assert!(who_am_i(&program.channel(&world)).await.is_ok());
    let (code, log) = program.end().await;
    assert_eq!(code, Some(0), "{log}");
    let has = |text: &str| received.lock().unwrap().windows(text.len()).any(|window| window == text.as_bytes());
    eventually("the collector has the span", async || has("WhoAmI") && has("signetd")).await;
}

/// Or each deployment would ring the alarm for failed calls.
#[tokio::test]
async fn a_stream_that_ends_with_the_node_is_no_failed_call() {
    let world = World::new().await;
    let program = Program::start(&world, "", Stdio::piped()).await;
    let mut client = TrustServiceClient::new(program.channel(&world));
    let mut open = client.watch_trust_bundle(WatchTrustBundleRequest::default()).await.unwrap().into_inner();
    assert!(open.message().await.unwrap().is_some());
    let (end, last) = tokio::join!(program.end(), async { while let Ok(Some(_)) = open.message().await {} });
    let ((code, log), ()) = (end, last);
    assert_eq!(code, Some(0), "{log}");
    let line = log.lines().find(|line| line.contains("WatchTrustBundle") && line.contains("UNAVAILABLE")).unwrap();
    assert!(line.contains("NODE_DRAINING"), "{line}");
}

#[tokio::test]
async fn a_panic_becomes_an_internal_error_and_the_connection_goes_on() {
    let world = World::new().await;
    let (wired, store) = faulty(&world);
    let node = world.node_of(wired, TestClock::default()).await;
    let channel = world.admin(&node);
    let mut client = signet_proto::v1::principal_service_client::PrincipalServiceClient::new(channel.clone());
    store.panic_on(Some(Table::Principals));
    let request = signet_proto::v1::GetPrincipalRequest::default();
    let status = client.get_principal(request.clone()).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Internal, "internal error"));
    store.panic_on(None);
    assert_eq!(client.get_principal(request).await.unwrap().into_inner().principal_id, "root-admin");
    assert!(node.metrics().await.contains(r#"signet_panics_total{operation="GetPrincipal"} 1"#));
    node.end().await;
}
