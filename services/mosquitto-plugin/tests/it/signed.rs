//! Messages that devices must sign: `require_signatures`.

use std::{fs, process::Command, time::Instant};

use signet_client::{Identity, MessageSigner};
use signet_proto::v1::{self as pb, message_service_client::MessageServiceClient};

use crate::{
    mqtt::{Hello, Mqtt},
    world::{SOON, World},
};

const TELEMETRY: &str = "tenant/acme/device/d1/telemetry";
const GRANTED: [&str; 3] = ["mqtt:publish", "mqtt:subscribe", "message_secrets.fetch"];

/// A broker that wants signatures of the devices of `acme`.
async fn world(granted: &[&str]) -> World {
    let world = World::without_broker("").await;
    world.grant_only(1, granted).await;
    let file = world.environment.path("signet.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(file, text.replacen("[[tenants]]\n", "[[tenants]]\nrequire_signatures = true\n", 1)).unwrap();
    world.started().await
}

async fn rotate(world: &World, id: &str, now: bool) -> MessageSigner {
    let request = pb::RotateMessageSecretRequest {
        tenant_id: "acme".into(),
        principal_id: id.into(),
        now,
        request_id: signet_client::request_id(),
    };
    let made = MessageServiceClient::new(world.environment.admin()).rotate_message_secret(request).await.unwrap();
    MessageSigner::new(made.into_inner().secret.parse().unwrap())
}

fn signed(signer: &MessageSigner, body: &str) -> String {
    String::from_utf8(signer.sign(body.as_bytes()).unwrap().before(body.as_bytes())).unwrap()
}

async fn open(world: &World, identity: &Identity, client_id: &str) -> Mqtt {
    Mqtt::connect(&world.tls(Some(identity), false), world.broker().port, &Hello::of(client_id)).await.unwrap()
}

/// Hears all that is delivered in the tenant.
async fn reader(world: &World) -> Mqtt {
    let mut reader = open(world, &world.service("ingest").await, "acme/ingest").await;
    assert_eq!(reader.subscribe("tenant/acme/#").await, 1);
    reader
}

/// A client that comes back until its message is passed on, as devices do: the first one may come before its secret is
/// known.
async fn publish(world: &World, identity: &Identity, client_id: &str, topic: &str, payload: &str) -> Mqtt {
    for _ in 0..20 {
        let mut client = open(world, identity, client_id).await;
        if client.publish(topic, payload, false).await {
            return client;
        }
    }
    panic!("it is never passed on: {}", world.broker().log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_device_with_a_secret_only_what_it_has_signed_is_delivered_and_once() {
    let world = world(&GRANTED).await;
    let (d1, d2) = (world.device("d1").await, world.device("d2").await);
    let (signer, other) = (rotate(&world, "d1", false).await, rotate(&world, "d2", false).await);
    let mut reader = reader(&world).await;
    let first = signed(&signer, "first");
    let mut client = publish(&world, &d1, "acme/d1", TELEMETRY, &first).await;
    assert_eq!(reader.message().await, (TELEMETRY.to_owned(), first.clone()));
    let fresh = || signed(&signer, "x");
    for (what, payload) in [
        ("unsigned", "21.5".to_owned()),
        ("empty", String::new()),
        ("a replay", first),
        ("another's secret", signed(&other, "x")),
        ("another body", format!("{}y", fresh())),
        ("another time", fresh().replace("timestamp: 1", "timestamp: 2")),
        ("other lines", fresh().replace("\n\n", "\nx: y\n\n")),
    ] {
        assert!(client.publish(TELEMETRY, &payload, what == "unsigned").await, "{what}: {}", world.broker().log());
    }
    let next = fresh();
    assert!(client.publish(TELEMETRY, &next, false).await);
    assert_eq!(reader.message().await.1, next, "nothing before it");
    // Nobody hears later of what was dropped.
    let mut late = open(&world, &world.service("late").await, "acme/late").await;
    assert_eq!(late.subscribe("tenant/acme/#").await, 1);
    let of_sibling = signed(&other, "of the sibling");
    publish(&world, &d2, "acme/d2", "tenant/acme/device/d2/telemetry", &of_sibling).await;
    assert_eq!(late.message().await.1, of_sibling);
    let log = world.broker().log();
    for reason in ["MESSAGE_MALFORMED", "MESSAGE_REPLAYED", "MESSAGE_WRONG_SIGNATURE", "MESSAGE_TOO_NEW"] {
        assert!(log.contains(&format!("dropped a message of client id \"acme/d1\": {reason}")), "{reason}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn properties_of_mqtt_5_sign_as_lines_do() {
    let world = world(&GRANTED).await;
    let d1 = world.device("d1").await;
    let signer = rotate(&world, "d1", false).await;
    let mut reader = reader(&world).await;
    publish(&world, &d1, "acme/d1", TELEMETRY, &signed(&signer, "first")).await;
    reader.message().await;
    let port = world.broker().port.to_string();
    let files = world.files(&d1, "d1");
    let send = |properties: &[(&str, &str)], body: &str| {
        let mut command = Command::new("mosquitto_pub");
        command.args(&files).args(["-V", "mqttv5", "-h", "localhost", "-p", &port, "-i", "acme/d1", "-q", "1"]);
        for (name, value) in properties {
            command.args(["-D", "publish", "user-property", name, value]);
        }
        command.args(["-t", TELEMETRY, "-m", body]).output().unwrap()
    };
    let all = |body: &str| {
        let headers = signer.sign(body.as_bytes()).unwrap();
        [("webhook-id", headers.id), ("webhook-timestamp", headers.timestamp), ("webhook-signature", headers.signature)]
    };
    let good = all("21.5");
    let good: Vec<(&str, &str)> = good.iter().map(|(name, value)| (*name, value.as_str())).collect();
    // The client says how PUBACK refuses; what counts is what is delivered.
    send(&good[..2], "21.5");
    send(&[&good[..], &good[..1]].concat(), "21.5");
    send(&[&good[..], &[("webhook-id", "other")]].concat(), "21.5");
    send(&good, "21.6");
    let mut more = vec![("", "empty"), ("unit", ""), ("Webhook-Id", "x")];
    more.extend(&good);
    let sent = send(&more, "21.5");
    assert!(sent.status.success(), "{}: {}", String::from_utf8_lossy(&sent.stderr), world.broker().log());
    assert_eq!(reader.message().await, (TELEMETRY.to_owned(), "21.5".to_owned()));
    let again = send(&good, "21.5");
    assert!(String::from_utf8_lossy(&again.stderr).contains("Not authorized"), "{again:?}");
    let last = all("last");
    let last: Vec<(&str, &str)> = last.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert!(send(&last, "last").status.success());
    assert_eq!(reader.message().await.1, "last", "the replay is not delivered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_no_secret_yet_sends_as_before_until_it_has_one() {
    let world = world(&GRANTED).await;
    let d1 = world.device("d1").await;
    let mut reader = reader(&world).await;
    let mut client = publish(&world, &d1, "acme/d1", TELEMETRY, "unsigned").await;
    assert_eq!(reader.message().await.1, "unsigned");
    // Services and admins have no secrets; other tenants have not asked for signatures.
    let service = world.service("partner").await;
    publish(&world, &service, "acme/partner", "tenant/acme/news", "of a service").await;
    assert_eq!(reader.message().await.1, "of a service");
    let signer = rotate(&world, "d1", false).await;
    // Unsigned ones are passed on until the broker has heard of it, and no more after that.
    let begun = Instant::now();
    while !world.broker().log().contains("MESSAGE_MALFORMED") {
        assert!(begun.elapsed() < SOON * 10, "{}", world.broker().log());
        if !client.publish(TELEMETRY, "early", false).await {
            client = open(&world, &d1, "acme/d1").await;
        }
    }
    client.publish(TELEMETRY, "late", false).await;
    let signed = signed(&signer, "signed");
    publish(&world, &d1, "acme/d1", TELEMETRY, &signed).await;
    loop {
        match reader.message().await.1 {
            heard if heard == signed => break,
            heard => assert_eq!(heard, "early"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotations_are_followed_and_a_stolen_secret_ends_at_once() {
    let world = world(&GRANTED).await;
    let d1 = world.device("d1").await;
    let old = rotate(&world, "d1", false).await;
    let mut reader = reader(&world).await;
    let first = signed(&old, "old");
    publish(&world, &d1, "acme/d1", TELEMETRY, &first).await;
    let new = rotate(&world, "d1", false).await;
    let both = [signed(&new, "new"), signed(&old, "old in grace")];
    for message in &both {
        publish(&world, &d1, "acme/d1", TELEMETRY, message).await;
    }
    for message in [&first, &both[0], &both[1]] {
        assert_eq!(reader.message().await.1, *message);
    }
    let now = rotate(&world, "d1", true).await;
    let begun = Instant::now();
    while !world.broker().log().contains("MESSAGE_WRONG_SIGNATURE") {
        publish(&world, &d1, "acme/d1", TELEMETRY, &signed(&new, "stolen")).await;
        assert!(begun.elapsed() < SOON, "{}", world.broker().log());
    }
    let last = signed(&now, "last");
    publish(&world, &d1, "acme/d1", TELEMETRY, &last).await;
    while reader.message().await.1 != last {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_will_of_a_device_is_not_sent_since_it_cannot_be_signed_in_time() {
    let world = world(&GRANTED).await;
    let d1 = world.device("d1").await;
    let signer = rotate(&world, "d1", false).await;
    let mut reader = reader(&world).await;
    let will = signed(&signer, "will");
    let hello = Hello { will: Some((TELEMETRY, &will)), ..Hello::of("acme/d1") };
    let tls = world.tls(Some(&d1), false);
    Mqtt::connect(&tls, world.broker().port, &hello).await.unwrap().vanish().await;
    world.broker().says("the will of client id \"acme/d1\" is not sent: devices must sign").await;
    // A service's is.
    let service = world.service("partner").await;
    let hello = Hello { will: Some(("tenant/acme/gone", "partner")), ..Hello::of("acme/partner") };
    let tls = world.tls(Some(&service), false);
    Mqtt::connect(&tls, world.broker().port, &hello).await.unwrap().vanish().await;
    assert_eq!(reader.message().await.1, "partner");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_fetch_secrets_passes_nothing_of_devices_on_and_says_why() {
    let world = world(&GRANTED[..2]).await;
    let d1 = world.device("d1").await;
    let signer = rotate(&world, "d1", false).await;
    let mut reader = reader(&world).await;
    let mut client = open(&world, &d1, "acme/d1").await;
    assert!(!client.publish(TELEMETRY, &signed(&signer, "x"), false).await, "the connection ends");
    world.broker().says("cannot follow devices' secrets").await;
    world.broker().says("MESSAGE_NOT_VERIFIABLE").await;
    let service = world.service("partner").await;
    publish(&world, &service, "acme/partner", "tenant/acme/news", "of a service").await;
    assert_eq!(reader.message().await.1, "of a service");
    // Once it may, all goes on by itself, and nothing was lost.
    world.grant_only(1, &GRANTED).await;
    let kept = signed(&signer, "kept");
    let begun = Instant::now();
    while !open(&world, &d1, "acme/d1").await.publish(TELEMETRY, &kept, false).await {
        assert!(begun.elapsed().as_secs() < 30, "{}", world.broker().log());
    }
    assert_eq!(reader.message().await.1, kept);
}
