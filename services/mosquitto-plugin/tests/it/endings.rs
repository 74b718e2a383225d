//! A session ends when the right to it does.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::ClientConfig;
use signet_client::Identity;
use signet_proto::v1::PrincipalType;
use tokio::time::timeout;

use crate::{
    mqtt::{Hello, Mqtt, Refusal},
    world::{SOON, World},
};

/// CONNACK: not authorized.
const DENIED: Refusal = Refusal::Code(5);

async fn open(world: &World, tls: &Arc<ClientConfig>, client_id: &str) -> Result<Mqtt, Refusal> {
    Mqtt::connect(tls, world.broker().port, &Hello::of(client_id)).await
}

/// Does something, and says how long after it the sessions have ended.
async fn ends(world: &World, clients: &mut [Mqtt], what: impl Future<Output = ()>) -> Duration {
    what.await;
    let begun = Instant::now();
    for client in clients {
        timeout(SOON, client.ended()).await.unwrap_or_else(|_| panic!("it goes on: {}", world.broker().log()));
    }
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_refused_is_gone_within_a_second_and_stays_away() {
    let world = World::new().await;
    let bystander = world.device("bystander").await;
    let bystander = world.tls(Some(&bystander), false);
    let mut bystander = open(&world, &bystander, "acme/bystander").await.unwrap();

    // Revoked: also on resumed TLS sessions, of either version.
    let device = world.device("revoked").await;
    let (tls, old_tls) = (world.tls(Some(&device), false), world.tls(Some(&device), true));
    let mut clients = Vec::new();
    for (number, tls) in [&tls, &tls, &old_tls, &old_tls].into_iter().enumerate() {
        let mut client = open(&world, tls, &format!("acme/revoked:{number}")).await.unwrap();
        assert_eq!(client.was_resumed(), number % 2 == 1, "{number}");
        // TLS 1.3 tickets have come with the answer.
        client.publish("tenant/acme/device/revoked/telemetry", "1", false).await;
        clients.push(client);
    }
    let took = ends(&world, &mut clients, world.revoke(&device)).await;
    println!("revoked: ended after {took:?}");
    for tls in [&tls, &old_tls] {
        assert_eq!(open(&world, tls, "acme/revoked").await.err(), Some(DENIED));
    }

    suspended(&world).await;
    lost_permission(&world).await;
    another_tenant(&world).await;
    assert!(bystander.publish("tenant/acme/device/bystander/telemetry", "still here", false).await);
    let took = ends(&world, &mut [bystander], world.suspend_tenant("acme")).await;
    println!("tenant suspended: ended after {took:?}");
}

async fn suspended(world: &World) {
    let device = world.device("suspended").await;
    let tls = world.tls(Some(&device), false);
    let client = open(world, &tls, "acme/suspended").await.unwrap();
    let took = ends(world, &mut [client], world.suspend("suspended")).await;
    println!("suspended: ended after {took:?}");
    assert_eq!(open(world, &tls, "acme/suspended").await.err(), Some(DENIED));
    world.activate("suspended").await;
    let begun = Instant::now();
    while open(world, &tls, "acme/suspended").await.is_err() {
        assert!(begun.elapsed() < SOON * 5, "who may again is let in again");
    }
}

async fn lost_permission(world: &World) {
    let (writer, device) = (world.service("writer").await, world.device("witness").await);
    let (writer, device) = (world.tls(Some(&writer), false), world.tls(Some(&device), false));
    let mut witness = open(world, &device, "acme/witness").await.unwrap();
    assert_eq!(witness.subscribe("tenant/acme/device/witness/commands").await, 1);
    let mut client = open(world, &writer, "acme/writer").await.unwrap();
    assert!(client.publish("tenant/acme/device/witness/commands", "1", false).await);
    assert_eq!(witness.message().await.1, "1");
    let took = ends(world, &mut [client], world.grant_only(1, &["mqtt:subscribe"])).await;
    println!("permission lost: ended after {took:?}");
    // It comes back with what it has left.
    let mut client = open(world, &writer, "acme/writer").await.unwrap();
    client.publish("tenant/acme/device/witness/commands", "2", false).await;
    assert_eq!(client.subscribe("tenant/acme/#").await, 1);
    world.grant_only(2, &["mqtt:publish", "mqtt:subscribe"]).await;
    let begun = Instant::now();
    let heard = async {
        loop {
            client.publish("tenant/acme/device/witness/commands", "3", false).await;
            if let Ok((_, payload)) = timeout(Duration::from_millis(50), witness.message()).await {
                return payload;
            }
        }
    };
    assert_eq!(timeout(SOON * 5, heard).await.expect("what is granted holds soon"), "3", "{:?}", begun.elapsed());
    // A policy may know more of the service than the broker: nobody has what one could take away.
    let policy = r#"forbid (principal, action == Action::"mqtt:publish", resource) when { context has source };"#;
    let all = ["mqtt:publish", "mqtt:subscribe"];
    ends(world, &mut [client], world.grant_with(3, &all, policy)).await;
    world.broker().says("a policy of tenant acme is about mqtt:publish: here, nobody has it").await;
}

async fn another_tenant(world: &World) {
    let theirs = world.enrolled("globex", PrincipalType::Device, "d1").await;
    let tls = world.tls(Some(&theirs), false);
    let client = open(world, &tls, "globex/d1").await.unwrap();
    let took = ends(world, &mut [client], world.suspend_tenant("globex")).await;
    println!("another tenant suspended: ended after {took:?}");
    assert_eq!(open(world, &tls, "globex/d1").await.err(), Some(DENIED));
}

/// The shortest certificate there is lasts a minute.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_ends_with_its_certificate() {
    let world = World::new().await;
    world.shorten_devices().await;
    let device: Identity = world.device("short").await;
    let until = device.status().borrow().facts.not_after_unix_millis;
    let tls = world.tls(Some(&device), false);
    let mut client = open(&world, &tls, "acme/short").await.unwrap();
    timeout(Duration::from_secs(75), async {
        // Keep alive.
        while client.publish("tenant/acme/device/short/telemetry", "1", false).await {
            if timeout(Duration::from_secs(5), client.ended()).await.is_ok() {
                break;
            }
        }
    })
    .await
    .expect("it ends");
    let now = signet_client::system_clock()().unix_millis();
    println!("ended {} ms after the certificate", now - until);
    assert!((0..1000).contains(&(now - until)), "{}", now - until);
    assert!(open(&world, &tls, "acme/short").await.is_err());
}
