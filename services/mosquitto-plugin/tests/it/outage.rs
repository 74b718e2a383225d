//! The control plane goes away: what is known holds for a while, and then nothing does.

use std::time::{Duration, Instant};

use tokio::time::timeout;

use crate::{
    mqtt::{Hello, Mqtt, Refusal},
    world::World,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_not_noticed_until_the_staleness_limit() {
    let world = World::with("staleness_limit_seconds = 8").await;
    let port = world.broker().port;
    let (d1, d2) = (world.device("d1").await, world.device("d2").await);
    let (d1, d2) = (world.tls(Some(&d1), false), world.tls(Some(&d2), false));
    let mut client = Mqtt::connect(&d1, port, &Hello::of("acme/d1")).await.unwrap();
    world.environment.stop_node();
    let begun = Instant::now();
    while tokio::net::TcpStream::connect(world.environment.node.grpc_addr).await.is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(20), "the node does not end");
    }
    // Who is there goes on, and who comes is let in by the last word.
    assert!(client.publish("tenant/acme/device/d1/telemetry", "1", false).await);
    let mut other = Mqtt::connect(&d2, port, &Hello::of("acme/d2")).await.unwrap();
    assert!(other.publish("tenant/acme/device/d2/telemetry", "1", false).await);
    for client in [&mut client, &mut other] {
        timeout(Duration::from_secs(20), client.ended()).await.expect("nothing is heard for too long");
    }
    println!("ended {:?} after the node", begun.elapsed());
    assert_eq!(Mqtt::connect(&d1, port, &Hello::of("acme/d1")).await.err(), Some(Refusal::Code(5)));
    world.broker().says("nothing is heard of the control plane: clients of tenant acme are refused").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_serves_on_does_so_after_it_too() {
    let world = World::with("staleness_limit_seconds = 1\nwhen_stale = \"serve\"").await;
    let port = world.broker().port;
    let d1 = world.device("d1").await;
    let tls = world.tls(Some(&d1), false);
    let mut client = Mqtt::connect(&tls, port, &Hello::of("acme/d1")).await.unwrap();
    world.environment.stop_node();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        assert!(client.publish("tenant/acme/device/d1/telemetry", "1", false).await);
        Mqtt::connect(&tls, port, &Hello::of("acme/d1:2")).await.unwrap();
    }
}
