//! A crowd of sessions, and how soon all of them are ended when their tenant is suspended; how long another tenant's
//! client waits meanwhile. `cargo run --release --example crowd -- 10000`, with a high limit of open files.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a measurement, which fails by panicking"
)]
#![allow(dead_code, reason = "the tests' parts have more than is used here")]

#[path = "../tests/it/broker.rs"]
mod broker;
#[path = "../tests/it/mqtt.rs"]
mod mqtt;
#[path = "../tests/it/world.rs"]
mod world;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use signet_proto::v1::PrincipalType;
use tokio::task::JoinSet;

use crate::{
    broker::Broker,
    mqtt::{Hello, Mqtt},
    world::World,
};

#[tokio::main]
async fn main() {
    let many: usize = std::env::args().nth(1).map_or(10_000, |many| many.parse().unwrap());
    let mut world = World::without_broker("").await;
    let more = |recipe: &str| recipe.replace("max_connections 500", "max_connections -1");
    world.restart_broker_with(Broker::spawn_with(world.environment.dir.path(), more).listening().await);
    for tenant in ["acme", "globex"] {
        world.broker().says(&format!("following the control plane for tenant {tenant}")).await;
    }
    let port = world.broker().port;
    let (device, other) = (world.device("d1").await, world.enrolled("globex", PrincipalType::Device, "d1").await);
    let (tls, other) = (world.tls(Some(&device), false), world.tls(Some(&other), false));
    let begun = Instant::now();
    let connect = |number: usize| {
        let tls = Arc::clone(&tls);
        async move { Mqtt::connect(&tls, port, &Hello::of(&format!("acme/d1:{number}"))).await.unwrap() }
    };
    let clients: Vec<Mqtt> = stream::iter(0..many).map(connect).buffer_unordered(32).collect().await;
    println!("{many} sessions came within {:?}", begun.elapsed());
    let mut bystander = Mqtt::connect(&other, port, &Hello::of("globex/d1")).await.unwrap();
    let topic = "tenant/globex/device/d1/telemetry";
    let waits = async |bystander: &mut Mqtt, until: &mut dyn FnMut() -> bool| {
        let mut waits = Vec::new();
        while !until() {
            let asked = Instant::now();
            assert!(bystander.publish(topic, "1", false).await);
            waits.push(asked.elapsed());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        waits.sort_unstable();
        (waits[waits.len() / 2], waits[waits.len() - 1])
    };
    let begun = Instant::now();
    let quiet = waits(&mut bystander, &mut || begun.elapsed() > Duration::from_secs(2)).await;
    println!("a publish of another tenant takes {:?}, at most {:?}", quiet.0, quiet.1);

    let mut all = JoinSet::new();
    for mut client in clients {
        all.spawn(async move {
            client.ended().await;
            Instant::now()
        });
    }
    world.suspend_tenant("acme").await;
    let suspended = Instant::now();
    let ends = tokio::spawn(async move {
        let mut ends: Vec<Instant> = all.join_all().await;
        ends.sort_unstable();
        ends
    });
    let meanwhile = waits(&mut bystander, &mut || ends.is_finished()).await;
    let ends = ends.await.unwrap();
    let since = |at: &Instant| at.saturating_duration_since(suspended);
    println!(
        "the first ended {:?} after the suspension, half {:?}, the last {:?}",
        since(&ends[0]),
        since(&ends[ends.len() / 2]),
        since(&ends[ends.len() - 1])
    );
    println!("meanwhile a publish takes {:?}, at most {:?}", meanwhile.0, meanwhile.1);
}
