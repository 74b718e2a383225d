//! What ends with the permission alone: an answer that nobody reads, and a request that is sent on and on.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Router, body::Body, extract::Request, routing::any};
use bytes::Bytes;
use futures::StreamExt;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::{body::Frame, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;

use crate::{client::SOON, upstreams::routed, world::World};

const SECOND: Duration = Duration::from_secs(1);

/// Tells when it is dropped.
struct Told(mpsc::Sender<()>);

impl Drop for Told {
    fn drop(&mut self) {
        let _ = self.0.try_send(());
    }
}

struct Server {
    address: SocketAddr,
    /// Parts that it has sent, or received.
    parts: Arc<AtomicUsize>,
    /// What it sends, or receives, has ended.
    ended: mpsc::Receiver<()>,
}

impl Server {
    async fn new(router: impl FnOnce(Arc<AtomicUsize>, mpsc::Sender<()>) -> Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, parts) = (listener.local_addr().unwrap(), Arc::<AtomicUsize>::default());
        let (sender, ended) = mpsc::channel(1);
        let router = router(Arc::clone(&parts), sender);
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, parts, ended }
    }

    /// Answers without an end, as fast as it is read.
    async fn sends() -> Self {
        Self::new(|parts, ended| {
            Router::new().fallback(any(move || async move {
                let told = Told(ended);
                let endless = futures::stream::repeat_with(move || {
                    let _ = &told;
                    parts.fetch_add(1, Ordering::Relaxed);
                    Ok::<_, Infallible>(Bytes::from_static(&[0; 65536]))
                });
                Body::from_stream(endless)
            }))
        })
        .await
    }

    /// Reads what comes. `answers`: at once, and without an end; else when all has come.
    async fn reads(answers: bool) -> Self {
        Self::new(move |parts, ended| {
            Router::new().fallback(any(move |request: Request| async move {
                let mut body = request.into_body();
                let reading = async move {
                    let _told = Told(ended);
                    while let Some(Ok(_)) = body.frame().await {
                        parts.fetch_add(1, Ordering::Relaxed);
                    }
                };
                if !answers {
                    reading.await;
                    return Body::empty();
                }
                tokio::spawn(reading);
                let first = futures::stream::once(async { Ok::<_, Infallible>(Bytes::from_static(b"first")) });
                Body::from_stream(first.chain(futures::stream::pending()))
            }))
        })
        .await
    }

    /// Waits until it is stuck with what nobody reads.
    async fn until_stuck(&self) {
        let begun = Instant::now();
        let mut seen = 0;
        loop {
            sleep(Duration::from_millis(200)).await;
            match self.parts.load(Ordering::Relaxed) {
                0 => {}
                parts if parts == seen => return,
                parts => seen = parts,
            }
            assert!(begun.elapsed() < SOON, "it never stops");
        }
    }

    /// How long it takes after the call until it has ended, once workers may only submit.
    async fn ends_with_the_permission(&mut self, world: &World) -> Duration {
        let before = world.events().len();
        world.grant_only(&["jobs:submit"]).await;
        let told = Instant::now();
        timeout(SOON, self.ended.recv()).await.expect("the server behind is told of the end").unwrap();
        let took = told.elapsed();
        let is_end = |event: &serde_json::Value| event["reason"] == "PERMISSION_MISSING";
        world.event("the end", is_end).await;
        assert_eq!(world.events()[before..].iter().filter(|event| is_end(event)).count(), 1);
        world
            .until_private("/metrics", |_, text| text.contains("signet_gateway_upstream_requests{upstream=\"jobs\"} 0"))
            .await;
        took
    }
}

#[tokio::test]
async fn an_answer_that_nobody_reads_ends_with_the_permission() {
    let mut server = Server::sends().await;
    let world = World::new(&routed(server.address)).await;
    let mut stream = world.worker("w-1").await.tls(&["http/1.1"]).await;
    stream.write_all(b"GET /sse/1 HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    server.until_stuck().await;
    let took = server.ends_with_the_permission(&world).await;
    assert!(took < SECOND, "{took:?}");
    // What was under way is all that comes.
    let mut rest = Vec::new();
    let _ = timeout(SOON, stream.read_to_end(&mut rest)).await.expect("the connection ends");
    assert!(!rest.ends_with(b"0\r\n\r\n"), "it looks whole");
}

fn get(path: &str) -> http::Request<Full<Bytes>> {
    http::Request::get(format!("https://a{path}")).body(Full::default()).unwrap()
}

/// A client over HTTP/2 that takes not a byte of any body.
async fn reads_nothing(world: &World) -> http2::SendRequest<Full<Bytes>> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    let stream = TokioIo::new(world.worker("w-1").await.tls(&["h2"]).await);
    let (sender, connection) = builder.initial_stream_window_size(0).handshake(stream).await.unwrap();
    tokio::spawn(connection);
    sender
}

#[tokio::test]
async fn an_answer_that_nobody_reads_ends_with_the_permission_and_others_on_its_connection_go_on() {
    let mut server = Server::sends().await;
    let world = World::new(&routed(server.address)).await;
    let mut sender = reads_nothing(&world).await;
    let unread = sender.send_request(get("/sse/1")).await.unwrap();
    assert_eq!(unread.status(), 200);
    server.until_stuck().await;
    let took = server.ends_with_the_permission(&world).await;
    assert!(took < SECOND, "{took:?}");
    assert_eq!(sender.send_request(get("/sse/1")).await.unwrap().status(), 403);
    assert_eq!(sender.send_request(get("/jobs/1")).await.unwrap().status(), 200);
    drop(unread);
}

/// Sends parts on and on over HTTP/2; the answer.
async fn upload(world: &World) -> impl Future<Output = hyper::Result<http::Response<hyper::body::Incoming>>> + use<> {
    let worker = world.worker("w-1").await;
    let stream = TokioIo::new(worker.tls(&["h2"]).await);
    let (mut client, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    let (parts, queue) = mpsc::channel(1);
    tokio::spawn(async move {
        while parts.send(Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"part")))).await.is_ok() {
            sleep(Duration::from_millis(10)).await;
        }
    });
    let body = StreamBody::new(ReceiverStream::new(queue));
    let request = http::Request::post("https://a/sse/1").body(body).unwrap();
    async move { client.send_request(request).await }
}

#[tokio::test]
async fn a_request_that_goes_on_after_its_answer_has_begun_ends_with_the_permission() {
    for http2 in [false, true] {
        let mut server = Server::reads(true).await;
        let rest = routed(server.address).replace("xfcc = true", &format!("http2 = {http2}"));
        let world = World::new(&rest).await;
        let mut answer = upload(&world).await.await.unwrap();
        assert_eq!(answer.body_mut().frame().await.unwrap().unwrap().into_data().unwrap(), "first");
        let took = server.ends_with_the_permission(&world).await;
        assert!(took < SECOND, "HTTP/2: {http2}: {took:?}");
        assert!(timeout(SOON, answer.body_mut().frame()).await.unwrap().unwrap().is_err());
        let parts = server.parts.load(Ordering::Relaxed);
        assert!(parts > 0);
    }
}

#[tokio::test]
async fn a_request_that_goes_on_and_has_no_answer_yet_ends_with_the_permission() {
    for http2 in [false, true] {
        let mut server = Server::reads(false).await;
        let rest = routed(server.address).replace("xfcc = true", &format!("http2 = {http2}"));
        let world = World::new(&rest).await;
        let answer = tokio::spawn(upload(&world).await);
        let begun = Instant::now();
        while server.parts.load(Ordering::Relaxed) < 5 {
            assert!(begun.elapsed() < SOON);
            sleep(Duration::from_millis(10)).await;
        }
        let took = server.ends_with_the_permission(&world).await;
        assert!(took < SECOND, "HTTP/2: {http2}: {took:?}");
        assert_eq!(timeout(SOON, answer).await.unwrap().unwrap().unwrap().status(), 403);
    }
}

#[tokio::test]
async fn a_request_that_goes_on_ends_when_its_answer_is_waited_for_no_longer() {
    let mut server = Server::reads(false).await;
    let timeouts = "http2 = true\nconnect_timeout_seconds = 1\nanswer_timeout_seconds = 2";
    let world = World::new(&routed(server.address).replace("xfcc = true", timeouts)).await;
    assert_eq!(timeout(SOON, upload(&world).await).await.unwrap().unwrap().status(), 504);
    timeout(SECOND, server.ended.recv()).await.unwrap().unwrap();
}

/// What has come as a whole is in memory until it is read.
#[tokio::test]
async fn who_does_not_read_a_whole_answer_is_given_up() {
    let server = Server::new(|_, _| Router::new().fallback(any(|| async { Body::from(vec![0; 2048]) }))).await;
    let world = World::new(&routed(server.address).replace("xfcc = true", "idle_timeout_seconds = 1")).await;
    let mut sender = reads_nothing(&world).await;
    let unread = sender.send_request(get("/sse/1")).await.unwrap();
    world.event("the end", |event| event["reason"] == "UPSTREAM_IDLE").await;
    drop(unread);
}

/// Who stops to read holds nothing for longer than the server behind may be silent.
#[tokio::test]
async fn who_does_not_read_for_long_is_given_up() {
    let mut server = Server::sends().await;
    let world = World::new(&routed(server.address).replace("xfcc = true", "idle_timeout_seconds = 1")).await;
    let mut sender = reads_nothing(&world).await;
    let unread = sender.send_request(get("/sse/1")).await.unwrap();
    timeout(SOON, server.ended.recv()).await.unwrap().unwrap();
    world.event("the end", |event| event["reason"] == "UPSTREAM_IDLE").await;
    drop(unread);
}
