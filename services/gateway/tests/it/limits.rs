//! Nobody takes the server behind from the others, and a server that is down costs nobody time.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use crate::{
    client::SOON,
    upstreams::{bytes, echo, nobody, routed},
    world::World,
};

#[tokio::test]
async fn a_principal_has_a_limit_of_its_own() {
    let limits = "[limits]\nprincipal = { per_second = 1, burst = 3 }\n";
    let world = World::new(&format!("{limits}{}", routed(echo().await))).await;
    let (one, other) = (world.worker("w-1").await, world.worker("w-2").await);
    let mut connection = one.http1().await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        let answer = connection.get("/jobs/1").await;
        statuses.push(answer.status);
        if answer.status == 429 {
            assert!(answer.headers.contains_key("retry-after"));
        }
    }
    assert_eq!(statuses, [200, 200, 200, 429]);
    // Also for what it may not, and on another connection.
    assert_eq!(one.get("/forbidden/1").await.status, 429);
    assert_eq!(other.get("/jobs/1").await.status, 200);
    world.event("the refusal", |event| event["reason"] == "TOO_MANY_CALLS").await;
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_rests() {
    let address = nobody().await;
    let rest = routed(address).replace("xfcc = true", "failures = 2\nrest_seconds = 3600");
    let world = World::new(&rest).await;
    let mut connection = world.worker("w-1").await.http1().await;
    for _ in 0..2 {
        let answer = connection.get("/jobs/1").await;
        assert_eq!((answer.status, answer.reason().as_str()), (502, "UPSTREAM_UNREACHABLE"));
    }
    let answer = connection.get("/jobs/1").await;
    assert_eq!((answer.status, answer.reason().as_str()), (503, "UPSTREAM_UNREACHABLE"));
    let (_, metrics) = world.private("/metrics").await;
    assert!(metrics.contains("signet_gateway_upstream_open{upstream=\"jobs\"} 1"), "{metrics}");
}

#[tokio::test]
async fn more_requests_than_the_server_takes_are_told_at_once() {
    let rest =
        routed(echo().await).replace("xfcc = true", "max_requests = 8\nmax_waiting = 0").replace("/open/*", "/never");
    let world = World::new(&rest).await;
    let mut waiting = Vec::new();
    let mut workers = Vec::new();
    for number in 0..8 {
        let worker = world.worker(&format!("w-{number}")).await;
        let mut connection = worker.http1().await;
        waiting.push(tokio::spawn(async move { connection.get("/never").await }));
        workers.push(worker);
    }
    let all = "signet_gateway_upstream_requests{upstream=\"jobs\"} 8";
    world.until_private("/metrics", |_, text| text.contains(all)).await;
    // One who has its share, and one for whom nothing is left.
    let answer = timeout(SOON, workers[0].get("/jobs/1")).await.unwrap();
    assert_eq!((answer.status, answer.reason().as_str()), (429, "TOO_MANY_CALLS"));
    let begun = Instant::now();
    let newcomer = world.worker("w-9").await;
    let answer = timeout(SOON, newcomer.get("/jobs/1")).await.unwrap();
    assert_eq!((answer.status, answer.reason().as_str()), (503, "UPSTREAM_FULL"));
    assert!(begun.elapsed() < Duration::from_secs(4));
    // Who goes away gives its place back.
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
    let begun = Instant::now();
    while newcomer.get("/jobs/1").await.status != 200 {
        assert!(begun.elapsed() < SOON);
    }
}

#[tokio::test]
async fn a_principal_gets_an_eighth_of_the_connections_that_are_passed_on() {
    let (address, _headers) = bytes().await;
    let world = World::new(&format!(
        "[[l4]]\nname = \"mqtt\"\nlisten = \"127.0.0.1:0\"\nupstream = \"{address}\"\npermission = \"mqtt:connect\"\n\
         max_connections = 16\n"
    ))
    .await;
    let at = world.gateway().l4()[0];
    let (one, other) = (world.worker("w-1").await.at(at), world.worker("w-2").await.at(at));
    let echoed = async |client: &crate::client::Client| {
        let mut stream = client.tls(&[]).await;
        stream.write_all(b"hello").await.unwrap();
        let mut back = [0; 5];
        let came = timeout(SOON, stream.read_exact(&mut back)).await.unwrap();
        came.map(|_| stream)
    };
    let held = [echoed(&one).await.unwrap(), echoed(&one).await.unwrap()];
    assert!(echoed(&one).await.is_err());
    let event = world.event("the refusal", |event| event["event"] == "l4" && event["outcome"] == "failure").await;
    assert_eq!(event["reason"], "TOO_MANY_CALLS");
    drop(echoed(&other).await.unwrap());
    drop(held);
    let begun = Instant::now();
    while echoed(&one).await.is_err() {
        assert!(begun.elapsed() < SOON, "a place is not given back");
    }
}

/// RFC 9113 section 6.5.2, as README.md says.
#[tokio::test]
async fn a_connection_of_http2_has_200_streams_at_most() {
    let world = World::new(&routed(echo().await)).await;
    let mut stream = world.worker("w-1").await.tls(&["h2"]).await;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut head = [0; 9];
    timeout(SOON, stream.read_exact(&mut head)).await.unwrap().unwrap();
    assert_eq!(head[3], 4, "SETTINGS come first");
    let mut settings = vec![0; usize::from(u16::from_be_bytes([head[1], head[2]]))];
    timeout(SOON, stream.read_exact(&mut settings)).await.unwrap().unwrap();
    assert!(settings.chunks(6).any(|one| one == [0, 3, 0, 0, 0, 200]), "{settings:?}");
}
