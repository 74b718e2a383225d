//! Sources whose handshakes fail are closed at once for a while, and nobody gets another source banned.

use std::net::SocketAddr;

use signet_mtls::{AcceptSettings, BanSettings};
use signet_testkit::pki::{Holder, Pki};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::{
    client::Client,
    proxies::{dial, header},
    world::{Event, World, eventually, real_now},
};

/// As by default, but for the number: three failures instead of thirty.
fn settings(proxies: &[&str]) -> AcceptSettings {
    let proxies = proxies.iter().map(|network| network.parse().unwrap()).collect();
    let bans = BanSettings { failures: 3, ..BanSettings::default() };
    AcceptSettings { proxies, bans, ..AcceptSettings::default() }
}

/// Of another environment's tenant of the same name.
fn stranger() -> Holder {
    let other = Pki::new(real_now());
    let ca = other.tenant_ca("acme", 1);
    other.worker(&ca, "w-1")
}

/// Fails so often, from this address behind the balancer, and waits until the node has told each refusal.
async fn fail(world: &World, address: SocketAddr, client: &Client, source: [u8; 4], times: usize) {
    for _ in 0..times {
        let before = world.observer.refusals().len();
        assert!(client.greet_over(dial(address, &header(source)).await).await.is_err());
        eventually("a refusal", || world.observer.refusals().len() > before).await;
    }
}

fn bans(world: &World) -> Vec<(String, &'static str)> {
    let ban = |event| if let Event::Banned { source, reason } = event { Some((source, reason)) } else { None };
    world.observer.events().into_iter().filter_map(ban).collect()
}

#[tokio::test]
async fn a_source_is_banned_for_bad_certificates_and_its_neighbour_is_not() {
    let world = World::new();
    let address = world.start(settings(&["127.0.0.0/8"])).await;
    let bad = Client::new(&world.pki, Some(&stranger()));
    let good = Client::new(&world.pki, Some(&world.pki.worker(&world.acme, "w-1")));
    fail(&world, address, &bad, [192, 0, 2, 1], 3).await;
    eventually("it is banned", || bans(&world) == [("192.0.2.1".to_owned(), "bad-certificate")]).await;
    // Closed before a handshake, so that a good certificate does not help.
    fail(&world, address, &good, [192, 0, 2, 1], 1).await;
    assert_eq!(world.observer.refusals().last(), Some(&"SOURCE_BANNED"));
    let mut silent = dial(address, &header([192, 0, 2, 1])).await;
    let mut nothing = Vec::new();
    let closed = tokio::io::AsyncReadExt::read_to_end(&mut silent, &mut nothing);
    drop(tokio::time::timeout(std::time::Duration::from_secs(1), closed).await.expect("closed without a ClientHello"));
    good.greet_over(dial(address, &header([192, 0, 2, 2])).await).await.unwrap();
}

#[tokio::test]
async fn no_certificate_and_one_without_its_key_count_too() {
    let world = World::new();
    let address = world.start(settings(&["127.0.0.0/8"])).await;
    fail(&world, address, &Client::new(&world.pki, None), [192, 0, 2, 1], 3).await;
    let keyless = Client::keyless(&world.pki, &world.pki.worker(&world.acme, "w-1"), &stranger());
    fail(&world, address, &keyless, [192, 0, 2, 2], 3).await;
    let told = [("192.0.2.1".to_owned(), "no-certificate"), ("192.0.2.2".to_owned(), "bad-handshake")];
    eventually("both are banned", || bans(&world) == told).await;
}

#[tokio::test]
async fn who_was_good_once_is_not_banned_nor_anybody_while_the_node_is_out_of_touch() {
    let world = World::new();
    let address = world.start(settings(&["127.0.0.0/8"])).await;
    let revoked = world.pki.worker(&world.acme, "w-1");
    world.revoke(&revoked);
    fail(&world, address, &Client::new(&world.pki, Some(&revoked)), [192, 0, 2, 1], 5).await;
    world.uptime.advance(6 * 60_000);
    fail(&world, address, &Client::new(&world.pki, Some(&stranger())), [192, 0, 2, 1], 5).await;
    assert_eq!(bans(&world), []);
    world.trust.heard(world.trust.uptime());
    fail(&world, address, &Client::new(&world.pki, Some(&stranger())), [192, 0, 2, 1], 3).await;
    eventually("now it is banned", || bans(&world).len() == 1).await;
}

#[tokio::test]
async fn an_address_that_a_principal_comes_from_is_not_banned_for_its_neighbours_there() {
    let world = World::new();
    let address = world.start(settings(&["127.0.0.0/8"])).await;
    let good = Client::new(&world.pki, Some(&world.pki.worker(&world.acme, "w-1")));
    good.greet_over(dial(address, &header([192, 0, 2, 1])).await).await.unwrap();
    fail(&world, address, &Client::new(&world.pki, Some(&stranger())), [192, 0, 2, 1], 9).await;
    good.greet_over(dial(address, &header([192, 0, 2, 1])).await).await.unwrap();
    assert_eq!(bans(&world), []);
}

#[tokio::test]
async fn a_forged_proxy_header_bans_nobody() {
    let world = World::new();
    let address = world.start(settings(&[])).await;
    for _ in 0..9 {
        let before = world.observer.refusals().len();
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&header([192, 0, 2, 1])).await.unwrap();
        eventually("a refusal", || world.observer.refusals().len() > before).await;
    }
    assert!(world.observer.refusals().iter().all(|reason| *reason == "UNTRUSTED_PROXY_HEADER"));
    // Nor with a balancer's own address, which does not say for whom it speaks.
    let behind = world.start(settings(&["127.0.0.0/8"])).await;
    for _ in 0..9 {
        let before = world.observer.refusals().len();
        let mut local = signet_mtls::proxy::SIGNATURE.to_vec();
        local.extend([0x20, 0, 0, 0]);
        let bad = Client::new(&world.pki, Some(&stranger()));
        assert!(bad.greet_over(dial(behind, &local).await).await.is_err());
        eventually("a refusal", || world.observer.refusals().len() > before).await;
    }
    assert_eq!(bans(&world), []);
    Client::new(&world.pki, Some(&world.pki.worker(&world.acme, "w-1"))).greet(address).await.unwrap();
}
