//! The PROXY header: needed from balancers, refused from all others.

use std::{net::SocketAddr, time::Duration};

use signet_mtls::{AcceptSettings, proxy::SIGNATURE};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::{
    client::Client,
    world::{Event, World, eventually},
};

pub(crate) fn header(source: [u8; 4]) -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    bytes.extend([0x21, 0x11, 0, 19]);
    bytes.extend(source);
    bytes.extend([127, 0, 0, 1, 0x30, 0x39, 0x01, 0xbb]);
    // A TLV as NLB adds it.
    bytes.extend([0xea, 0, 4, 1, b'v', b'p', b'c']);
    bytes
}

fn behind_balancer() -> AcceptSettings {
    let handshake_timeout = Duration::from_millis(500);
    AcceptSettings { proxies: vec!["127.0.0.0/8".parse().unwrap()], handshake_timeout, ..AcceptSettings::default() }
}

pub(crate) async fn dial(address: SocketAddr, first: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(first).await.unwrap();
    stream
}

#[tokio::test]
async fn a_balancers_client_is_known_by_its_own_address() {
    let world = World::new();
    let address = world.start(behind_balancer()).await;
    let holder = world.pki.worker(&world.acme, "w-1");
    let client = Client::new(&world.pki, Some(&holder));
    let greeted = client.greet_over(dial(address, &header([192, 0, 2, 1])).await).await.unwrap();
    assert_eq!(greeted.greeting, "acme/w-1");
    // Refused ones are reported with it, too.
    world.revoke(&holder);
    let fresh = Client::new(&world.pki, Some(&holder));
    assert!(fresh.greet_over(dial(address, &header([192, 0, 2, 7])).await).await.is_err());
    eventually("the client's address", || {
        let is =
            |event: &Event| matches!(event, Event::Refused { remote, .. } if remote.to_string() == "192.0.2.7:12345");
        world.observer.events().iter().any(is)
    })
    .await;
}

#[tokio::test]
async fn a_balancers_own_health_check_gets_in_as_itself() {
    let world = World::new();
    let address = world.start(behind_balancer()).await;
    let mut local = SIGNATURE.to_vec();
    local.extend([0x20, 0, 0, 0]);
    let holder = world.pki.worker(&world.acme, "w-1");
    let greeted = Client::new(&world.pki, Some(&holder)).greet_over(dial(address, &local).await).await.unwrap();
    assert_eq!(greeted.greeting, "acme/w-1");
}

#[tokio::test]
async fn a_balancers_network_must_send_the_header_whole_and_in_time() {
    let world = World::new();
    let address = world.start(behind_balancer()).await;
    let holder = world.pki.worker(&world.acme, "w-1");
    let client = Client::new(&world.pki, Some(&holder));
    assert!(client.greet(address).await.is_err());
    eventually("TLS without a header", || world.observer.refusals() == ["BAD_PROXY_HEADER"]).await;
    let slow = dial(address, &header([192, 0, 2, 1])[..20]).await;
    eventually("half a header", || world.observer.refusals() == ["BAD_PROXY_HEADER", "HANDSHAKE_TIMEOUT"]).await;
    drop(slow);
}

#[tokio::test]
async fn those_who_are_silent_behind_a_balancer_hold_up_nobody() {
    let world = World::new();
    let never = Duration::from_secs(3600);
    let address =
        world.start(AcceptSettings { hello_timeout: never, handshake_timeout: never, ..behind_balancer() }).await;
    let mut silent = Vec::new();
    for host in 0..3000_u16 {
        // Balancers send the header with the client's first bytes, or before; all come from the balancer's address.
        let [high, low] = host.to_be_bytes();
        let first = if host % 3 == 0 { header([198, 51, high, low]) } else { Vec::new() };
        silent.push(dial(address, &first).await);
    }
    let client = Client::new(&world.pki, Some(&world.pki.worker(&world.acme, "w-1")));
    let good = async { client.greet_over(dial(address, &header([192, 0, 2, 1])).await).await };
    let greeted = tokio::time::timeout(Duration::from_secs(30), good).await.expect("held up by others").unwrap();
    assert_eq!(greeted.greeting, "acme/w-1");
    assert!(world.observer.refusals().iter().all(|reason| *reason == "CONNECTION_EVICTED"));
}

#[tokio::test]
async fn others_may_not_speak_for_anybody() {
    let world = World::new();
    let address = world.start(AcceptSettings::default()).await;
    let holder = world.pki.worker(&world.acme, "w-1");
    let client = Client::new(&world.pki, Some(&holder));
    assert!(client.greet_over(dial(address, &header([10, 0, 0, 1])).await).await.is_err());
    assert!(client.greet_over(dial(address, b"PROXY TCP4 10.0.0.1 127.0.0.1 1 2\r\n").await).await.is_err());
    assert_eq!(world.observer.refusals(), ["UNTRUSTED_PROXY_HEADER"; 2]);
    assert_eq!(client.greet(address).await.unwrap().greeting, "acme/w-1");
}
