//! Post-quantum key exchange: preferred, or demanded.

use rustls::NamedGroup;
use signet_mtls::AcceptSettings;

use crate::{client::Client, world::World};

fn group(greeted: &crate::client::Greeted) -> NamedGroup {
    greeted.stream.get_ref().get_ref().1.negotiated_key_exchange_group().unwrap().name()
}

#[tokio::test]
async fn it_is_preferred_and_others_are_served() {
    let world = World::new();
    let address = world.start(AcceptSettings::default()).await;
    let worker = world.pki.worker(&world.acme, "w-1");
    let greeted = Client::new(&world.pki, Some(&worker)).greet(address).await.unwrap();
    assert_eq!(group(&greeted), NamedGroup::X25519MLKEM768);
    let greeted = Client::classical(&world.pki, &worker).greet(address).await.unwrap();
    assert_eq!(group(&greeted), NamedGroup::X25519);
}

#[tokio::test]
async fn where_it_is_demanded_nobody_connects_without() {
    let world = World::new();
    let address = world.start(AcceptSettings { require_pq_kex: true, ..AcceptSettings::default() }).await;
    let worker = world.pki.worker(&world.acme, "w-1");
    let greeted = Client::new(&world.pki, Some(&worker)).greet(address).await.unwrap();
    assert_eq!(group(&greeted), NamedGroup::X25519MLKEM768);
    assert_eq!(Client::classical(&world.pki, &worker).alert(address).await, "HandshakeFailure");
}
