//! What is delivered to whom.

use std::process::{Command, Stdio};

use signet_proto::v1::PrincipalType;

use crate::{
    mqtt::{Hello, Mqtt},
    world::World,
};

const TELEMETRY: &str = "tenant/acme/device/d1/telemetry";
/// What siblings and strangers would like to hear.
const GREEDY: [&str; 12] = [
    "#",
    "+/#",
    "tenant/#",
    "tenant/acme/#",
    "tenant/+/device/d1/telemetry/#",
    "tenant/acme/device/+/telemetry",
    "tenant/acme/device/d1/#",
    "$share/g/#",
    "$share/g/tenant/acme/#",
    "$share/g/tenant/acme/device/d1/telemetry",
    "$SYS/#",
    "$SYS/broker/clients/total",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_has_its_own_topics_and_nobody_anothers() {
    let world = World::new().await;
    let port = world.broker().port;
    let (d1, d2, ingest) = (world.device("d1").await, world.device("d2").await, world.service("ingest").await);
    let stranger = world.enrolled("globex", PrincipalType::Device, "d1").await;
    let open = async |identity, client_id| {
        Mqtt::connect(&world.tls(Some(identity), false), port, &Hello::of(client_id)).await.unwrap()
    };
    let mut worker = open(&ingest, "acme/ingest:worker").await;
    assert_eq!(worker.subscribe("$share/workers/tenant/acme/device/+/telemetry").await, 1);
    let mut ingest = open(&ingest, "acme/ingest").await;
    assert_eq!(ingest.subscribe("tenant/acme/#").await, 1);
    for filter in ["#", "tenant/#", "tenant/globex/#", "$SYS/#"] {
        assert_eq!(ingest.subscribe(filter).await, 0x80, "{filter}");
    }
    let mut sibling = open(&d2, "acme/d2").await;
    let mut stranger = open(&stranger, "globex/d1").await;
    for filter in GREEDY {
        assert_eq!(sibling.subscribe(filter).await, 0x80, "{filter}");
        assert_eq!(stranger.subscribe(filter).await, 0x80, "{filter}");
    }
    for (client, own) in
        [(&mut sibling, "tenant/acme/device/d2/commands"), (&mut stranger, "tenant/globex/device/d1/commands")]
    {
        assert_eq!(client.subscribe(own).await, 1);
        assert_eq!(client.subscribe(&format!("$share/g/{}", own.replace("commands", "jobs/#"))).await, 1);
    }
    // By others' client, too: libmosquitto with OpenSSL, in all versions of MQTT.
    let port_text = port.to_string();
    for version in ["mqttv31", "mqttv311", "mqttv5"] {
        let sent = Command::new("mosquitto_pub")
            .args(world.files(&d1, "d1"))
            .args(["-V", version, "-h", "localhost", "-p", &port_text, "-i", "acme/d1", "-q", "1"])
            .args(["-t", TELEMETRY, "-m", version])
            .stdout(Stdio::null())
            .output()
            .unwrap();
        assert!(sent.status.success(), "{}: {}", String::from_utf8_lossy(&sent.stderr), world.broker().log());
        for reader in [&mut ingest, &mut worker] {
            assert_eq!(reader.message().await, (TELEMETRY.to_owned(), version.to_owned()));
        }
    }
    // What others write to it, or it writes to others, arrives nowhere.
    for topic in [
        "tenant/acme/device/d1/commands",
        TELEMETRY,
        "tenant/acme/device/d2/commands",
        "tenant/acme/x",
        "tenant/globex/device/d1/telemetry",
        "$SYS/broker/connection/d2/state",
        "$CONTROL/dynamic-security/v1",
    ] {
        sibling.publish(topic, "forged", false).await;
        stranger.publish(topic.replace("globex", "acme").as_str(), "forged", true).await;
    }
    assert!(sibling.publish("tenant/acme/device/d2/shadow/reported", "own", false).await);
    assert_eq!(ingest.message().await.1, "own");
    // The first that those hear is meant for them.
    assert!(ingest.publish("tenant/acme/device/d2/commands", "blink", false).await);
    assert_eq!(sibling.message().await, ("tenant/acme/device/d2/commands".to_owned(), "blink".to_owned()));
    assert_eq!(ingest.message().await.1, "blink");
    wills(&world, &mut ingest).await;
    retained(&world, &mut ingest).await;
}

/// A will is a message of its sender.
async fn wills(world: &World, ingest: &mut Mqtt) {
    let d3 = world.device("d3").await;
    let tls = world.tls(Some(&d3), false);
    for topic in [TELEMETRY, "tenant/globex/device/d3/telemetry", "tenant/acme/device/d3/telemetry/will"] {
        let hello = Hello { will: Some((topic, "gone")), ..Hello::of("acme/d3:w") };
        Mqtt::connect(&tls, world.broker().port, &hello).await.unwrap().vanish().await;
    }
    let heard = ingest.message().await;
    assert_eq!(heard, ("tenant/acme/device/d3/telemetry/will".to_owned(), "gone".to_owned()));
}

/// And so is one that is kept, for as long as its sender is good.
async fn retained(world: &World, ingest: &mut Mqtt) {
    let (d4, reader) = (world.device("d4").await, world.service("reader").await);
    let topic = "tenant/acme/device/d4/shadow/reported";
    let tls = world.tls(Some(&d4), false);
    let mut sender = Mqtt::connect(&tls, world.broker().port, &Hello::of("acme/d4")).await.unwrap();
    // The broker would keep one for each topic that a device thinks of.
    assert!(sender.publish("tenant/acme/device/d4/telemetry/1", "kept for ever", true).await);
    assert!(sender.publish(topic, "kept", true).await);
    sender.vanish().await;
    assert_eq!(ingest.message().await.1, "kept");
    let tls = world.tls(Some(&reader), false);
    let open = async |client_id| {
        let mut client = Mqtt::connect(&tls, world.broker().port, &Hello::of(client_id)).await.unwrap();
        client.send(&crate::mqtt::packet(0x82, &[&[0, 9][..], &crate::mqtt::text(topic), &[0]].concat())).await;
        client
    };
    assert_eq!(open("acme/reader:1").await.message().await, (topic.to_owned(), "kept".to_owned()));
    world.suspend("d4").await;
    let device = world.tls(Some(&d4), false);
    while Mqtt::connect(&device, world.broker().port, &Hello::of("acme/d4")).await.is_ok() {}
    // What is kept of it is nobody's any more, and what others send comes through.
    let mut client = open("acme/reader:2").await;
    assert!(ingest.publish(topic, "fresh", false).await);
    assert_eq!(client.message().await, (topic.to_owned(), "fresh".to_owned()));
}
