//! Clients that are stuck, garbage, too many or too fast; the others do not notice.

use std::{
    future::Future,
    net::SocketAddr,
    time::{Duration, Instant},
};

use signet_mtls::{AcceptSettings, Rate};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use crate::{
    client::{Client, Greeted},
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

/// A connection from one of loopback's other addresses, which is a source of its own.
async fn from(host: u8, address: SocketAddr, bytes: &[u8]) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 1, host], 0).into()).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream
}

/// The default limits, and nobody is saved by the time.
fn patient() -> AcceptSettings {
    let (hello_timeout, handshake_timeout) = (Duration::from_secs(3600), Duration::from_secs(3600));
    AcceptSettings { hello_timeout, handshake_timeout, ..AcceptSettings::default() }
}

async fn gets_in(world: &World, client: impl Future<Output = std::io::Result<Greeted>>) {
    let greeted = tokio::time::timeout(Duration::from_secs(30), client).await.unwrap().unwrap();
    assert_eq!(greeted.greeting, "acme/w-1");
    let others = world.observer.refusals();
    assert!(others.iter().all(|reason| *reason == "CONNECTION_EVICTED"), "{others:?}");
}

#[tokio::test]
async fn those_who_are_silent_hold_up_nobody() {
    let world = World::new();
    let address = world.start(patient()).await;
    let client = Client::new(&world.pki, Some(&world.pki.worker(&world.acme, "w-1")));
    let mut stuck = Vec::new();
    for host in 1..=6 {
        for _ in 0..100 {
            stuck.push(from(host, address, &[]).await);
            // The start of a record that never comes.
            stuck.push(from(host, address, &[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]).await);
        }
    }
    gets_in(&world, client.greet(address)).await;
    eventually("the oldest have made room", || world.observer.refusals().len() >= 1200 - 1024).await;
}

#[tokio::test]
async fn those_who_stop_within_the_handshake_and_fill_all_places_hold_up_nobody() {
    let world = World::new();
    let address = world.start(patient()).await;
    let client = Client::new(&world.pki, Some(&world.pki.worker(&world.acme, "w-1")));
    let (hello, mut stuck) = (client.hello(), Vec::new());
    for host in 1..=9 {
        for _ in 0..40 {
            stuck.push(from(host, address, &hello).await);
        }
    }
    // 32 of each address, so 256 altogether, which is all there are.
    eventually("handshakes under way fill their places", || world.observer.refusals().len() >= 9 * 32 - 256).await;
    gets_in(&world, client.greet(address)).await;
}

#[tokio::test]
async fn those_who_stop_within_the_handshake_do_not_even_hold_up_their_own_source() {
    let world = World::new();
    let address = world.start(patient()).await;
    let client = Client::new(&world.pki, Some(&world.pki.worker(&world.acme, "w-1")));
    let (hello, mut stuck) = (client.hello(), Vec::new());
    for _ in 0..100 {
        stuck.push(send(address, &hello).await);
    }
    gets_in(&world, client.greet(address)).await;
}

#[tokio::test]
async fn who_does_not_say_hello_is_dropped_in_time() {
    let world = World::new();
    let hello_timeout = Duration::from_millis(50);
    let address = world.start(AcceptSettings { hello_timeout, ..patient() }).await;
    let stuck = [TcpStream::connect(address).await.unwrap(), send(address, &[0x16, 0x03, 0x01]).await];
    for stream in stuck {
        assert!(closed(stream).await.is_empty());
    }
    assert_eq!(world.observer.refusals(), ["HANDSHAKE_TIMEOUT"; 2]);
}

#[tokio::test]
async fn garbage_is_named_and_closed_at_once() {
    let world = World::new();
    let address = world.start(AcceptSettings::default()).await;
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
async fn http_2_and_http_1_1_are_spoken_and_nothing_else() {
    let world = World::new();
    let address = world.start(AcceptSettings::default()).await;
    let holder = world.pki.worker(&world.acme, "w-1");
    let client = |alpn: &[u8]| {
        let certificate = (holder.chain_der.clone(), holder.key.pkcs8_der().to_vec());
        Client::raw(&world.pki, Some(certificate), alpn)
    };
    assert_eq!(client(b"spdy/3").alert(address).await, "NoApplicationProtocol");
    eventually("a refusal", || world.observer.refusals() == ["NO_COMMON_PROTOCOL"]).await;
    for client in [client(b"h2"), client(b"http/1.1"), Client::silent(&world.pki, &holder)] {
        assert_eq!(client.greet(address).await.unwrap().greeting, "acme/w-1");
    }
    assert_eq!(world.observer.refusals(), ["NO_COMMON_PROTOCOL"]);
}

/// Told in the words of the protocol that the client speaks.
#[tokio::test]
async fn who_has_too_many_connections_is_told_so_over_http_1_1() {
    let world = World::new();
    let address = world.start(AcceptSettings { max_connections: 16, ..AcceptSettings::default() }).await;
    let client = Client::silent(&world.pki, &world.pki.worker(&world.acme, "w-1"));
    let _held = [client.greet(address).await.unwrap(), client.greet(address).await.unwrap()];
    let mut tls = client.dial(TcpStream::connect(address).await.unwrap()).await.unwrap();
    let mut answer = String::new();
    tls.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("connection: close"), "{head}");
    assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
    assert!(body.contains(r#""reason":"TOO_MANY_CONNECTIONS_OF_PRINCIPAL""#), "{body}");
}

#[tokio::test]
async fn a_principal_and_a_tenant_get_their_share_and_are_told() {
    let world = World::new();
    let address = world.start(AcceptSettings { max_connections: 16, ..AcceptSettings::default() }).await;
    let client = |name| Client::new(&world.pki, Some(&world.pki.worker(&world.acme, name)));
    let one = client("w-1");
    let mut held = vec![one.greet(address).await.unwrap(), one.greet(address).await.unwrap()];
    let told = |greeted: Greeted| greeted.greeting;
    assert!(told(one.greet(address).await.unwrap()).ends_with("TOO_MANY_CONNECTIONS_OF_PRINCIPAL"));
    for name in ["w-2", "w-3", "w-4"] {
        let other = client(name);
        held.extend([other.greet(address).await.unwrap(), other.greet(address).await.unwrap()]);
    }
    assert!(told(client("w-5").greet(address).await.unwrap()).ends_with("TOO_MANY_CONNECTIONS_OF_TENANT"));
    assert!(held.iter().all(|greeted| greeted.greeting.starts_with("acme/w-")));
    let foreign = Client::new(&world.pki, Some(&world.pki.worker(&world.globex, "w-1")));
    assert_eq!(told(foreign.greet(address).await.unwrap()), "globex/w-1");
    assert_eq!(held[0].echo("unharmed").await.unwrap(), "unharmed");
    let refused = ["TOO_MANY_CONNECTIONS_OF_PRINCIPAL", "TOO_MANY_CONNECTIONS_OF_TENANT"];
    assert_eq!(world.observer.refusals(), refused);
    drop(held.remove(0));
    // The place goes with the connection, a moment after it.
    let deadline = Instant::now() + Duration::from_secs(5);
    while told(one.greet(address).await.unwrap()) != "acme/w-1" {
        assert!(Instant::now() < deadline);
    }
}

#[tokio::test]
async fn strangers_take_neither_the_places_of_those_we_know_nor_of_other_strangers() {
    let world = World::new();
    let address = world.start(AcceptSettings { anonymous: true, max_anonymous: 16, ..AcceptSettings::default() }).await;
    let stranger = Client::new(&world.pki, None);
    let mut other = stranger.greet_over(from(1, address, &[]).await).await.unwrap();
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(stranger.greet(address).await.unwrap());
    }
    eventually("its oldest have made room", || world.observer.endings().len() == 8).await;
    assert!(held[7].echo("?").await.is_err());
    assert_eq!(held[8].echo("the newest stay").await.unwrap(), "the newest stay");
    assert_eq!(other.echo("unharmed").await.unwrap(), "unharmed");
    let known = Client::new(&world.pki, Some(&world.pki.worker(&world.acme, "w-1")));
    assert_eq!(known.greet(address).await.unwrap().greeting, "acme/w-1");
}

#[tokio::test]
async fn a_source_that_hurries_is_held_back() {
    let world = World::new();
    let one = 1.try_into().unwrap();
    let rate = Rate { per_second: one, burst: 3.try_into().unwrap() };
    let address = world.start(AcceptSettings { rate, ..AcceptSettings::default() }).await;
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
    let address = world.start(AcceptSettings { rate, ..patient() }).await;
    let holder = world.pki.worker(&world.acme, "w-1");
    let client = Client::new(&world.pki, Some(&holder));
    let greeted = futures::future::join_all((0..200).map(|_| client.greet(address))).await;
    assert!(greeted.iter().all(|greeted| greeted.as_ref().is_ok_and(|greeted| greeted.greeting == "acme/w-1")));
    assert_eq!(world.registry.len(), 200);
}
