//! What goes on ends with the permission: server-sent events, gRPC, WebSocket, a request that waits.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use signet_client::PeerPolicy;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::timeout,
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::{
    client::{Client, SOON, get},
    upstreams::{echo, routed, websocket},
    world::World,
};

/// Reads parts until the body ends; how many, and whether it broke off.
async fn until_end(mut body: hyper::body::Incoming) -> (usize, bool) {
    let mut parts = 0;
    loop {
        match timeout(SOON, body.frame()).await.expect("events, or the end") {
            Some(Ok(_)) => parts += 1,
            Some(Err(_)) => return (parts, true),
            None => return (parts, false),
        }
    }
}

#[tokio::test]
async fn server_sent_events_end_within_a_second_after_the_suspension() {
    let world = World::new(&routed(echo().await)).await;
    let (one, other) = (world.worker("w-1").await, world.worker("w-2").await);
    for http2 in [false, true] {
        let body = match http2 {
            false => one.http1().await.send(get("/sse/1")).await.into_body(),
            true => {
                let request = http::Request::get("https://a/sse/1").body(Default::default()).unwrap();
                other.http2().await.send(request).await.into_body()
            }
        };
        let reader = tokio::spawn(until_end(body));
        let id = if http2 { "w-2" } else { "w-1" };
        let begun = Instant::now();
        world.suspend(id).await;
        let told = begun.elapsed();
        let (parts, broke_off) = reader.await.unwrap();
        let took = begun.elapsed();
        println!("HTTP/{}: the call took {told:?}, the stream ended after {took:?}", if http2 { 2 } else { 1 });
        assert!(parts > 0 && broke_off, "{parts}");
        assert!(
            took.saturating_sub(told) < Duration::from_secs(1),
            "{took:?} after the call began, which took {told:?}"
        );
        let is_it = |event: &serde_json::Value| {
            event["event"] == "stream" && event["spiffe_id"].as_str().is_some_and(|whose| whose.ends_with(id))
        };
        assert_eq!(world.event("the end", is_it).await["reason"], "PRINCIPAL_DENIED");
    }
}

#[tokio::test]
async fn a_revoked_certificate_ends_its_streams_and_gets_nothing_more() {
    let world = World::new(&routed(echo().await)).await;
    let worker = world.worker("w-1").await;
    let reader = tokio::spawn(until_end(worker.http1().await.send(get("/sse/1")).await.into_body()));
    world.revoke(&worker.identity).await;
    assert!(reader.await.unwrap().1);
    let answer = worker.get("/jobs/1").await;
    assert_eq!((answer.status, answer.reason().as_str()), (403, "CERTIFICATE_REVOKED"));
}

#[tokio::test]
async fn who_hangs_up_before_the_answer_is_in_the_audit_log() {
    let world = World::new(&routed(echo().await).replace("/open/*", "/never")).await;
    let mut connection = world.worker("w-1").await.http1().await;
    let waiting = tokio::spawn(async move { connection.get("/never").await });
    world
        .until_private("/metrics", |_, text| text.contains("signet_gateway_upstream_requests{upstream=\"jobs\"} 1"))
        .await;
    waiting.abort();
    let event = world.event("the request", |event| event["path"] == "/never").await;
    assert_eq!((&event["outcome"], &event["reason"]), (&"failure".into(), &"CALLER_GONE".into()));
}

#[tokio::test]
async fn an_event_stream_ends_when_the_permission_is_taken_away_and_nobody_elses_does() {
    let world = World::new(&routed(echo().await)).await;
    let worker = world.worker("w-1").await;
    let watching = worker.http1().await.send(get("/sse/1")).await.into_body();
    let submitting = worker.http1().await.send(get("/jobs/1")).await;
    let reader = tokio::spawn(until_end(watching));
    world.grant_only(&["jobs:submit"]).await;
    assert!(reader.await.unwrap().1);
    assert_eq!(submitting.status(), 200);
    assert_eq!(worker.get("/sse/1").await.status, 403);
    assert_eq!(worker.get("/jobs/1").await.status, 200);
}

/// gRPC's health service, whose `Watch` goes on.
async fn grpc() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (_, service) = tonic_health::server::health_reporter();
    let server = tonic::transport::Server::builder().add_service(service);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    address
}

#[tokio::test]
async fn grpc_passes_and_its_streams_end_with_a_status() {
    let rest = format!(
        "[[upstream]]\nname = \"grpc\"\nurl = \"http://{}\"\nhttp2 = true\n\
         [[route]]\npath = \"/grpc.health.v1.Health/Check\"\nupstream = \"grpc\"\npermission = \"jobs:submit\"\n\
         [[route]]\npath = \"/grpc.health.v1.Health/*\"\nupstream = \"grpc\"\npermission = \"jobs:watch\"\n",
        grpc().await
    );
    let world = World::new(&rest).await;
    let worker = world.worker("w-1").await;
    let channel = worker.identity.channel_to(&format!("https://{}", world.address()), PeerPolicy::anybody()).unwrap();
    let mut client = HealthClient::new(channel.clone());
    client.check(HealthCheckRequest::default()).await.unwrap();
    let missing = client.check(HealthCheckRequest { service: "none".into() }).await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound, "the server's own status: {missing:?}");
    let mut stream = client.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert!(timeout(SOON, stream.message()).await.unwrap().unwrap().is_some());
    world.suspend("w-1").await;
    let status = timeout(SOON, stream.message()).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    assert!(status.message().contains("PRINCIPAL_DENIED"), "{status:?}");
    let status = client.check(HealthCheckRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
}

const UPGRADE: &str = "GET /jobs/ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

async fn upgraded(client: &Client) -> tokio_rustls::client::TlsStream<tokio::net::TcpStream> {
    let mut stream = client.tls(&["http/1.1"]).await;
    stream.write_all(UPGRADE.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(SOON, stream.read_u8()).await.unwrap().unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    assert!(head.starts_with("http/1.1 101") && head.contains("upgrade: websocket"), "{head}");
    stream
}

#[tokio::test]
async fn a_websocket_carries_anything_and_ends_with_the_principal() {
    let world = World::new(&routed(websocket().await)).await;
    let worker = world.worker("w-1").await;
    let mut stream = upgraded(&worker).await;
    // Not HTTP any more: nothing in it is looked at.
    for text in ["\0\r\nGET / HTTP/1.1\n\n", "hello"] {
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut back = vec![0; text.len()];
        timeout(SOON, stream.read_exact(&mut back)).await.unwrap().unwrap();
        assert_eq!(back, text.as_bytes());
    }
    let begun = Instant::now();
    world.suspend("w-1").await;
    let told = begun.elapsed();
    let ended = timeout(SOON, stream.read_u8()).await.unwrap();
    assert!(ended.is_err());
    assert!(begun.elapsed().saturating_sub(told) < Duration::from_secs(1), "{:?}", begun.elapsed());
    world.event("the end", |event| event["event"] == "stream" && event["reason"] == "PRINCIPAL_DENIED").await;
}

#[tokio::test]
async fn no_other_protocol_is_let_through() {
    let world = World::new(&routed(echo().await)).await;
    let worker = world.worker("w-1").await;
    let h2c = "GET /jobs/1 HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\n\
               HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n";
    let answer = worker.raw(h2c.as_bytes(), "\0").await.to_lowercase();
    assert!(answer.starts_with("http/1.1 200") && !answer.contains("h2c") && !answer.contains("http2-settings"));
}

#[tokio::test]
async fn a_request_that_waits_for_its_answer_ends_too() {
    let rest = routed(echo().await).replace("/open/*", "/never");
    let world = World::new(&rest.replace("permission = \"none\"", "permission = \"jobs:watch\"")).await;
    let mut connection = world.worker("w-1").await.http1().await;
    let waiting = tokio::spawn(async move { connection.get("/never").await });
    world
        .until_private("/metrics", |_, text| text.contains("signet_gateway_upstream_requests{upstream=\"jobs\"} 1"))
        .await;
    world.suspend("w-1").await;
    let answer = timeout(SOON, waiting).await.unwrap().unwrap();
    assert_eq!((answer.status, answer.reason().as_str()), (403, "PRINCIPAL_DENIED"));
}

#[tokio::test]
async fn a_silent_server_is_given_up() {
    let idle = "http://{}\"\nidle_timeout_seconds = 1\nconnect_timeout_seconds = 1\nanswer_timeout_seconds = 2";
    let address = echo().await;
    let rest = routed(address).replace(&format!("http://{address}\""), &idle.replace("{}", &address.to_string()));
    let rest =
        rest.replace("/open/*", "/silent").replace("/forbidden/*", "/never").replace("jobs:delete", "jobs:submit");
    let world = World::new(&rest).await;
    let worker = world.worker("w-1").await;
    let body = worker.http1().await.send(get("/silent")).await.into_body();
    let (parts, broke_off) = until_end(body).await;
    assert!(parts >= 1 && broke_off);
    world.event("the end", |event| event["reason"] == "UPSTREAM_IDLE").await;
    let answer = worker.get("/never").await;
    assert_eq!((answer.status, answer.reason().as_str()), (504, "UPSTREAM_TIMEOUT"));
}

/// A certificate's end is its connections' end, whatever goes on there.
#[tokio::test]
async fn streams_end_with_their_certificate() {
    let world = World::new(&routed(echo().await)).await;
    world.shorten_workers().await;
    let worker = world.worker("w-1").await;
    let until = worker.identity.status().borrow().facts.not_after_unix_millis;
    let mut connection = worker.http1().await;
    let mut body = connection.send(get("/sse/1")).await.into_body();
    // A minute is the shortest that a certificate lasts.
    let ended = timeout(Duration::from_secs(75), async { while let Some(Ok(_)) = body.frame().await {} }).await;
    assert!(ended.is_ok());
    let now = (signet_client::system_clock())().unix_millis();
    assert!((until - 1000..until + 3000).contains(&now), "{}", now - until);
}

/// Also with what it does not read, and what it goes on sending.
#[tokio::test]
async fn a_suspended_principals_connections_end_with_all_that_is_open_on_them() {
    let world = World::new(&routed(echo().await)).await;
    let worker = world.worker("w-1").await;
    let mut idle = worker.tls(&["http/1.1"]).await;
    idle.write_all(b"GET /jobs/1 HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut head = [0; 12];
    idle.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    // Nobody reads what comes.
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let stream = TokioIo::new(worker.tls(&["h2"]).await);
    let (mut sender, unread) = builder.initial_stream_window_size(0).handshake(stream).await.unwrap();
    let unread = tokio::spawn(unread);
    let request = http::Request::get("https://a/sse/1").body(Full::<Bytes>::default()).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    world.suspend("w-1").await;
    let mut rest = Vec::new();
    // A reset is as good as an end.
    let _ = timeout(SOON, idle.read_to_end(&mut rest)).await.expect("the idle connection is closed");
    let _ = timeout(SOON, unread).await.expect("the connection with an unread answer is closed");
    drop(answer);
}
