//! Ways into the broker on which it does not ask the plugin, or asks as if it knew who comes.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use rustls::ClientConfig;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::{
    broker::{Broker, free_port},
    mqtt::{Hello, Mqtt, Refusal},
    world::World,
};

/// Reloads that somebody tries to get in during. Without the plugin's check, one of the first three let somebody in.
const RELOADS: usize = 6;
/// Connections that each time are at the door.
const AT_THE_DOOR: usize = 60;

/// A broker with one more listener: its settings after `listener`.
async fn world_with(listener: impl Fn(u16, &str) -> String) -> (World, u16) {
    let mut world = World::without_broker("").await;
    let (dir, port) = (world.environment.dir.path().to_owned(), free_port());
    let more = listener(port, &dir.display().to_string());
    world.restart_broker_with(Broker::spawn_with(&dir, |recipe| format!("{recipe}\n{more}\n")).listening().await);
    world.broker().says("following the control plane for tenant acme").await;
    (world, port)
}

async fn victim(world: &World) -> (Arc<ClientConfig>, Mqtt) {
    let device = world.device("d1").await;
    let tls = world.tls(Some(&device), false);
    let mut victim = Mqtt::connect(&tls, world.broker().port, &Hello::of("acme/d1")).await.unwrap();
    assert_eq!(victim.subscribe("tenant/acme/device/d1/commands").await, 1);
    (tls, victim)
}

/// A client of RFC 6455 that has shaken hands and said nothing of MQTT yet.
async fn websocket(port: u16) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let hello = "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Protocol: mqtt\r\n\r\n";
    stream.write_all(hello.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
    stream
}

/// One short packet in a binary frame, masked with zeros.
fn frame(packet: &[u8]) -> Vec<u8> {
    [&[0x82, 0x80 | u8::try_from(packet.len()).unwrap(), 0, 0, 0, 0], packet].concat()
}

/// The code of CONNACK; `None`: the connection ended.
async fn connack(stream: &mut TcpStream) -> Option<u8> {
    let mut answer = [0; 6];
    let read = timeout(Duration::from_secs(10), stream.read_exact(&mut answer)).await.expect("an answer or an end");
    read.is_ok_and(|_| answer[2] == 0x20).then_some(answer[5])
}

/// While the broker reloads it asks for everybody whom it knows, by the name that the plugin gave; whoever comes at
/// that moment says that name itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_comes_in_by_its_own_word_while_the_broker_reloads() {
    let (mut world, port) = world_with(|port, _| format!("listener {port}\nprotocol websockets")).await;
    let (_, mut victim) = victim(&world).await;
    let liar = Hello { username: Some("acme/d1"), password: Some("x"), ..Hello::of("acme/d1") };
    let connect = frame(&liar.packet());
    for reload in 0..RELOADS {
        let mut waiting = join_all((0..AT_THE_DOOR).map(|_| websocket(port))).await;
        for (number, stream) in waiting.iter_mut().enumerate() {
            stream.write_all(&connect).await.unwrap();
            if number == AT_THE_DOOR / 2 {
                world.broker().reload();
            }
            // So that some of them come while it reloads.
            sleep(Duration::from_millis(1)).await;
        }
        let answers = join_all(waiting.iter_mut().map(connack)).await;
        assert!(!answers.contains(&Some(0)), "let in during reload {reload}: {answers:?}");
    }
    assert!(victim.publish("tenant/acme/device/d1/telemetry", "still here", false).await);
    assert!(world.broker_mut().is_running());
}

/// Where the broker names clients by their certificates itself, it does not ask the plugin who they are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_not_named_by_the_plugin_has_no_topics() {
    let tls_files =
        |dir: &str| format!("certfile {dir}/server.pem\nkeyfile {dir}/server-key.pem\ncafile {dir}/anchors.pem");
    let own_names = "require_certificate true\nuse_identity_as_username true";
    let (world, port) = world_with(|port, dir| format!("listener {port}\n{}\n{own_names}", tls_files(dir))).await;
    let (_, mut victim) = victim(&world).await;
    let d2 = world.device("d2").await;
    let d2 = world.tls(Some(&d2), false);
    let mut liar = Mqtt::connect(&d2, port, &Hello::of("acme/d1")).await.unwrap();
    assert_eq!(liar.subscribe("tenant/acme/device/d1/commands").await, 0x80, "another's");
    let mut liar = Mqtt::connect(&d2, port, &Hello::of("acme/d2")).await.unwrap();
    assert_eq!(liar.subscribe("tenant/acme/device/d2/commands").await, 0x80, "its own: nobody knows that it is");
    // By MQTT's rules the one that came took its session over; its name lets it in again.
    victim.ended().await;
    assert_ne!(Mqtt::connect(&d2, world.broker().port, &Hello::of("acme/d1")).await.err(), None::<Refusal>);
}

/// The broker asks about the will of a client when another one has taken its session over already.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_will_is_its_senders_also_when_its_session_was_taken_over() {
    let (world, _) = world_with(|_, _| String::new()).await;
    let (tls, port) = (world.tls(Some(&world.device("d2").await), false), world.broker().port);
    let operator = world.tls(Some(&world.service("operator").await), false);
    let mut operator = Mqtt::connect(&operator, port, &Hello::of("acme/operator")).await.unwrap();
    assert_eq!(operator.subscribe("tenant/acme/#").await, 1);
    for (topic, text) in [("tenant/acme/device/d1/telemetry", "forged"), ("tenant/acme/device/d2/telemetry", "own")] {
        let will = Hello { will: Some((topic, text)), ..Hello::of("acme/d2") };
        // Either way the broker may refuse a will at once.
        let Ok(mut before) = Mqtt::connect(&tls, port, &will).await else { continue };
        let _after = Mqtt::connect(&tls, port, &Hello::of("acme/d2")).await.unwrap();
        before.ended().await;
    }
    assert_eq!(operator.message().await.1, "own");
}
