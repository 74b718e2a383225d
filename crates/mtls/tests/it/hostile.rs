//! Clients that are stuck, garbage, too many or too fast; the others do not notice.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use signet_mtls::{Rate, Settings};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    client::Client,
    world::{World, eventually},
};

/// Reads until the server closes.
async fn closed(mut stream: TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    // A reset is as good as an end.
    let _ = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await.unwrap();
    answer
}

async fn send(address: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream
}

#[tokio::test]
async fn stuck_clients_are_dropped_in_time_and_others_come_in_meanwhile() {
    let world = World::new();
    let handshake_timeout = Duration::from_millis(1500);
    let address = world.start(Settings { handshake_timeout, ..Settings::default() }).await;
    let started = Instant::now();
    let mut stuck = Vec::new();
    for _ in 0..20 {
        stuck.push(TcpStream::connect(address).await.unwrap());
        // The start of a record that never comes.
        stuck.push(send(address, &[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]).await);
    }
    let holder = world.pki.worker(&world.acme, "w-1");
    let mut other = Client::new(&world.pki, Some(&holder)).greet(address).await.unwrap();
    assert!(started.elapsed() < handshake_timeout, "held up by others: {:?}", started.elapsed());
    for stream in stuck {
        assert!(closed(stream).await.is_empty());
    }
    assert!(started.elapsed() >= handshake_timeout);
    assert_eq!(world.observer.refusals(), vec!["HANDSHAKE_TIMEOUT"; 40]);
    assert_eq!(other.echo("still here").await.unwrap(), "still here");
}

#[tokio::test]
async fn garbage_is_named_and_closed_at_once() {
    let world = World::new();
    let address = world.start(Settings::default()).await;
    closed(send(address, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await).await;
    closed(send(address, &[0xff; 4096]).await).await;
    // A TLS record that holds no ClientHello.
    closed(send(address, &[&[0x16, 0x03, 0x01, 0x00, 0x10][..], &[0; 16]].concat()).await).await;
    drop(TcpStream::connect(address).await.unwrap());
    eventually("all are named", || {
        let mut reasons = world.observer.refusals();
        reasons.sort_unstable();
        reasons == ["CLOSED_EARLY", "HANDSHAKE_FAILED", "NOT_TLS", "NOT_TLS"]
    })
    .await;
    assert!(world.registry.is_empty());
}

#[tokio::test]
async fn only_http_2_is_spoken() {
    let world = World::new();
    let address = world.start(Settings::default()).await;
    let holder = world.pki.worker(&world.acme, "w-1");
    let certificate = (holder.chain_der.clone(), holder.key.pkcs8_der().to_vec());
    let client = Client::raw(&world.pki, Some(certificate), b"http/1.1");
    assert_eq!(client.alert(address).await, "NoApplicationProtocol");
    eventually("a refusal", || world.observer.refusals() == ["NO_HTTP2"]).await;
}

#[tokio::test]
async fn the_connection_limit_closes_newcomers_and_frees_places() {
    let world = World::new();
    let address = world.start(Settings { max_connections: 2, ..Settings::default() }).await;
    let holder = world.pki.worker(&world.acme, "w-1");
    let client = Client::new(&world.pki, Some(&holder));
    let mut one = client.greet(address).await.unwrap();
    let two = client.greet(address).await.unwrap();
    assert!(client.greet(address).await.is_err());
    assert_eq!(world.observer.refusals(), ["TOO_MANY_CONNECTIONS"]);
    assert_eq!(one.echo("unharmed").await.unwrap(), "unharmed");
    drop(two);
    eventually("the place is free", || world.registry.len() == 1).await;
    // The permit goes with the connection, a moment after its registration.
    let deadline = Instant::now() + Duration::from_secs(5);
    while client.greet(address).await.is_err() {
        assert!(Instant::now() < deadline);
    }
}

#[tokio::test]
async fn strangers_do_not_take_the_places_of_those_we_know() {
    let world = World::new();
    let address = world.start(Settings { anonymous: true, max_anonymous: 2, ..Settings::default() }).await;
    let stranger = Client::new(&world.pki, None);
    let held = (stranger.greet(address).await.unwrap(), stranger.greet(address).await.unwrap());
    assert!(stranger.greet(address).await.is_err());
    assert_eq!(world.observer.refusals(), ["TOO_MANY_CONNECTIONS"]);
    let known = Client::new(&world.pki, Some(&world.pki.worker(&world.acme, "w-1")));
    assert_eq!(known.greet(address).await.unwrap().greeting, "acme/w-1");
    drop(held);
}

#[tokio::test]
async fn a_source_that_hurries_is_held_back() {
    let world = World::new();
    let one = 1.try_into().unwrap();
    let rate = Rate { per_second: one, burst: 3.try_into().unwrap() };
    let address = world.start(Settings { rate, ..Settings::default() }).await;
    let holder = world.pki.worker(&world.acme, "w-1");
    let client = Client::new(&world.pki, Some(&holder));
    let mut accepted = 0;
    for _ in 0..6 {
        accepted += usize::from(client.greet(address).await.is_ok());
    }
    assert!((3..=4).contains(&accepted), "{accepted}");
    assert!(world.observer.refusals().iter().all(|reason| *reason == "CONNECTION_THROTTLED"));
}

#[tokio::test]
async fn a_flood_of_handshakes_is_taken_in_turns() {
    let world = World::new();
    let rate = Rate { per_second: 10_000.try_into().unwrap(), burst: 10_000.try_into().unwrap() };
    let address = world.start(Settings { max_handshakes: 2, rate, ..Settings::default() }).await;
    let holder = world.pki.worker(&world.acme, "w-1");
    let client = Client::new(&world.pki, Some(&holder));
    let greeted = futures::future::join_all((0..50).map(|_| client.greet(address))).await;
    assert!(greeted.iter().all(Result::is_ok));
    assert_eq!(world.registry.len(), 50);
}
