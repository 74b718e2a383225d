//! The plain listeners under strangers who hold connections: a balancer's check and other clients are answered.

use std::{future::Future, net::SocketAddr, time::Duration};

use signet_mtls::proxy::SIGNATURE;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};
use tokio_util::sync::CancellationToken;

use crate::world::{Node, TestClock, World, http_after};

/// A connection from one of loopback's other addresses, which is a source of its own.
pub async fn from(host: u8, address: SocketAddr, bytes: &[u8]) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 2, host], 0).into()).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream
}

/// A PROXY v2 header, as a balancer sends it for this client.
fn header(client: [u8; 4]) -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    bytes.extend([0x21, 0x11, 0, 12]);
    bytes.extend(client);
    bytes.extend([127, 0, 0, 1, 0x30, 0x39, 0x00, 0x50]);
    bytes
}

const ALIVE: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: test\r\n\r\n";

/// Less than it takes until silent clients are dropped for their silence.
async fn at_once(answer: impl Future<Output = (u16, String)>) -> u16 {
    tokio::time::timeout(Duration::from_secs(5), answer).await.expect("kept waiting by others").0
}

#[tokio::test]
async fn strangers_who_hold_connections_keep_neither_a_balancer_nor_others_waiting() {
    let world = World::new().await;
    let node = world.node().await;
    let mut held = Vec::new();
    for host in 1..=9 {
        for _ in 0..40 {
            held.push(from(host, node.running.public_addr, &[]).await);
            held.push(from(host, node.running.public_addr, ALIVE).await);
        }
    }
    assert_eq!(at_once(node.http("/v1/ca.pem")).await, 200);
    let local = [&SIGNATURE[..], &[0x20, 0, 0, 0]].concat();
    for first in [&[][..], &local, &header([10, 0, 0, 7])] {
        assert_eq!(at_once(node.checked(first)).await, 200);
    }
    drop(held);
    node.end().await;
}

#[tokio::test]
async fn clients_behind_a_balancer_are_told_apart() {
    let world = World::new().await;
    let mut config = world.config();
    config.listen.proxy_protocol_from = vec!["127.0.0.0/8".parse().unwrap()];
    let stop = CancellationToken::new();
    let clock = TestClock::default().clock();
    let running = signet_control_plane::serve(config, world.wired.clone(), stop.clone(), clock).await.unwrap();
    let node = Node { running, stop };
    node.until_ready().await;
    let mut greedy = Vec::new();
    for _ in 0..600 {
        greedy.push(from(1, node.running.public_addr, &header([192, 0, 2, 2])).await);
    }
    assert_eq!(at_once(http_after(node.running.public_addr, &header([192, 0, 2, 3]), "/healthz")).await, 200);
    // A header that is none, and another one behind the first.
    for bad in [&SIGNATURE[..4], &[header([192, 0, 2, 4]), header([192, 0, 2, 5])].concat()] {
        assert_ne!(http_after(node.running.public_addr, bad, "/healthz").await.0, 200);
    }
    node.end().await;
}

#[tokio::test]
async fn a_connection_is_closed_after_so_many_answers() {
    let world = World::new().await;
    let node = world.node().await;
    let mut stream = TcpStream::connect(node.running.public_addr).await.unwrap();
    let mut answers = Vec::new();
    for asked in 1..=100 {
        stream.write_all(ALIVE).await.unwrap();
        while String::from_utf8_lossy(&answers).matches("ok\n").count() < asked {
            assert_ne!(stream.read_buf(&mut answers).await.unwrap(), 0, "closed after {asked}");
        }
    }
    assert_eq!(stream.read_buf(&mut answers).await.unwrap(), 0);
    assert_eq!(String::from_utf8_lossy(&answers).matches("connection: close").count(), 1);
    node.end().await;
}
