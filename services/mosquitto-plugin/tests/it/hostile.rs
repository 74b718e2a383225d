//! What a client may try, and gets nowhere with.

use std::{sync::Arc, time::Instant};

use rustls::ClientConfig;
use signet_proto::v1::PrincipalType;

use crate::{
    mqtt::{Hello, Mqtt, Refusal, bytes, packet, text},
    world::World,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_client_gets_nowhere_and_the_broker_goes_on() {
    let mut world = World::new().await;
    let port = world.broker().port;
    let (d1, d2) = (world.device("d1").await, world.device("d2").await);
    let stranger = world.enrolled("globex", PrincipalType::Device, "d1").await;
    let (d1, d2, stranger) =
        (world.tls(Some(&d1), false), world.tls(Some(&d2), false), world.tls(Some(&stranger), false));
    let mut victim = Mqtt::connect(&d1, port, &Hello::of("acme/d1")).await.unwrap();
    assert_eq!(victim.subscribe("tenant/acme/device/d1/commands").await, 1);

    // Another's client id would take over its session.
    let long = format!("acme/d1/{}", "x".repeat(60_000));
    let ids = [
        "acme/d1",
        "acme/d1:x",
        "d1",
        "",
        "acme/d2/x",
        "acme/d20",
        "+",
        "#",
        "acme/#",
        "$SYS",
        "acme/d2\u{fffd}",
        &long,
    ];
    for id in ids {
        for tls in [&d2, &stranger] {
            let refused = Mqtt::connect(tls, port, &Hello::of(id)).await.err();
            assert!(refused.is_some(), "{id}");
        }
    }
    // What it says of itself counts for nothing.
    let hello = Hello { username: Some("acme/d1"), password: Some("x"), ..Hello::of("acme/d1") };
    assert_eq!(Mqtt::connect(&d2, port, &hello).await.err(), Some(Refusal::Code(5)));
    let hello = Hello { client_id: "acme/d2", ..hello };
    let mut liar = Mqtt::connect(&d2, port, &hello).await.unwrap();
    assert_eq!(liar.subscribe("tenant/acme/device/d1/commands").await, 0x80);
    liar.publish("tenant/acme/device/d1/commands", "forged", false).await;

    // Bytes that are no text, or no CONNECT.
    for id in [&b"acme/d2\0"[..], b"acme/d2\xff\xfe", b"\xed\xa0\x80", b"acme/d2:\0acme/d1"] {
        let body = [&text("MQTT")[..], &[4, 2, 0, 60], &bytes(id)].concat();
        let refused = Mqtt::connect_with(&d2, port, &packet(0x10, &body)).await.err();
        assert!(refused.is_some(), "{id:?}");
    }
    for junk in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0x10, 0xff, 0xff, 0xff, 0xff, 0x7f], &packet(0x10, b"")] {
        assert_eq!(Mqtt::connect_with(&d2, port, junk).await.err(), Some(Refusal::Closed), "{junk:?}");
    }
    topics(&world, &d2).await;
    flood(&world).await;
    // Still there, and what comes is from who may send it.
    let service = world.service("operator").await;
    let mut operator =
        Mqtt::connect(&world.tls(Some(&service), false), port, &Hello::of("acme/operator")).await.unwrap();
    assert!(operator.publish("tenant/acme/device/d1/commands", "real", false).await);
    assert_eq!(victim.message().await.1, "real");
    assert!(world.broker_mut().is_running());
    let log = world.broker().log();
    assert!(log.contains("CLIENT_ID_OF_ANOTHER") && log.contains("more refusals"), "{log}");
}

async fn topics(world: &World, d2: &Arc<ClientConfig>) {
    let port = world.broker().port;
    // Topics: each on a connection of its own, since the broker may end it.
    let deep = format!("tenant/acme/device/d2/telemetry/{}", "a/".repeat(20_000));
    let wide = format!("tenant/acme/device/d2/telemetry/{}", "a".repeat(65_000));
    let topics = [
        "tenant/acme/device/d1/commands",
        "tenant/acme/device/d2/../d1/commands",
        "tenant/acme/device/+/commands",
        "/tenant/acme/device/d1/commands",
        "tenant//acme/device/d1/commands",
        "",
        &deep,
        &wide,
    ];
    for topic in topics {
        let mut client = Mqtt::connect(d2, port, &Hello::of("acme/d2:t")).await.unwrap();
        client.publish(topic, "forged", true).await;
    }
    for filter in
        ["tenant/acme/device/d2/commands/../../d1/commands", "tenant/acme/device/d1/commands", &deep, "$share/g/#"]
    {
        let mut client = Mqtt::connect(d2, port, &Hello::of("acme/d2:f")).await.unwrap();
        assert_eq!(client.subscribe(filter).await, 0x80, "{filter:.80}");
    }
}

/// Many who are refused have few lines in the log, and keep nobody out.
async fn flood(world: &World) {
    let device = world.device("flood").await;
    let tls = world.tls(Some(&device), false);
    for _ in 0..100 {
        assert!(Mqtt::connect(&tls, world.broker().port, &Hello::of("acme/d1")).await.is_err());
    }
    let nobody = world.tls(None, false);
    assert!(Mqtt::connect(&nobody, world.broker().port, &Hello::of("acme/d1")).await.is_err());
    let hello = Hello { username: Some("acme/d1"), password: Some("not.a.token"), ..Hello::of("acme/d1") };
    assert_eq!(Mqtt::connect(&nobody, world.broker().token_port, &hello).await.err(), Some(Refusal::Code(5)));
    world.broker().says("more refusals").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_device_leaves_room_for_others() {
    let world = World::new().await;
    let (greedy, other, service) = (world.device("d1").await, world.device("d2").await, world.service("s1").await);
    let open = async |identity, client_id: String| {
        Mqtt::connect(&world.tls(Some(identity), false), world.broker().port, &Hello::of(&client_id)).await
    };
    let mut held = Vec::new();
    for number in 0..16 {
        held.push(open(&greedy, format!("acme/d1:{number}")).await.unwrap());
    }
    assert!(open(&greedy, "acme/d1:16".into()).await.is_err());
    world.broker().says("TOO_MANY_SESSIONS").await;
    // One that comes again takes the place of itself, and one that goes leaves its place.
    held[0] = open(&greedy, "acme/d1:0".into()).await.unwrap();
    held.pop().unwrap().vanish().await;
    let begun = Instant::now();
    while open(&greedy, "acme/d1:16".into()).await.is_err() {
        assert!(begun.elapsed().as_secs() < 10, "{}", world.broker().log());
    }
    // Nor does one that is cut before it is told that it was let in keep a place.
    for number in 0..40 {
        let id = format!("acme/d2:{number}");
        let hello = Hello::of(&id).packet();
        Mqtt::cut_after(&world.tls(Some(&other), false), world.broker().port, &hello).await;
    }
    let begun = Instant::now();
    while open(&other, "acme/d2".into()).await.is_err() {
        assert!(begun.elapsed().as_secs() < 10, "{}", world.broker().log());
    }
    for number in 0..20 {
        held.push(open(&service, format!("acme/s1:{number}")).await.unwrap());
    }
}
