//! The server's certificate: read with care, swapped under load.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
};

use signet_mtls::{AcceptSettings, Rate, ServerCertificateError, ServerIdentity, provider};

use crate::{
    client::Client,
    world::{World, chain_pem, server_identity},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_swapped_while_connections_come_in() {
    let world = World::new();
    let plenty = 100_000.try_into().unwrap();
    let rate = Rate { per_second: plenty, burst: plenty };
    let address = world.start(AcceptSettings { rate, anonymous: true, ..AcceptSettings::default() }).await;
    let mut before = Client::new(&world.pki, None).greet(address).await.unwrap();
    let done = AtomicBool::new(false);
    let swap = async {
        for _ in 0..10 {
            world.certificate.swap(server_identity(&world.pki.server_holder()));
            tokio::task::yield_now().await;
            // Each swap is seen by the next full handshake.
            let greeted = Client::new(&world.pki, None).greet(address).await.unwrap();
            let shown = greeted.stream.get_ref().get_ref().1.peer_certificates().unwrap()[0].to_vec();
            let serial = signet_x509::CertificateView::from_der(&shown).unwrap().serial();
            assert_eq!(serial, world.certificate.current().serial);
        }
        done.store(true, Ordering::SeqCst);
    };
    let load = async {
        let mut shown = BTreeSet::new();
        while !done.load(Ordering::SeqCst) {
            let greeted = Client::new(&world.pki, None).greet(address).await.unwrap();
            shown.insert(greeted.stream.get_ref().get_ref().1.peer_certificates().unwrap()[0].to_vec());
        }
        shown.len()
    };
    let ((), seen) = futures::future::join(swap, load).await;
    assert!(seen > 1, "{seen}");
    assert!(world.observer.refusals().is_empty());
    assert_eq!(before.echo("old connections stay").await.unwrap(), "old connections stay");
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let world = World::new();
    let (one, other) = (world.pki.server_holder(), world.pki.server_holder());
    let (chain, key) = (chain_pem(&one), one.key.to_pkcs8_pem());
    let read = |chain: &str, key: &str| ServerIdentity::from_pem(chain, key.as_bytes(), &provider());
    let identity = read(&chain, &key).unwrap();
    assert_eq!((identity.serial, identity.not_after), (Some(one.serial), one.not_after));
    assert!(matches!(read(&chain, &other.key.to_pkcs8_pem()), Err(ServerCertificateError::Mismatch)));
    assert!(matches!(read("", &key), Err(ServerCertificateError::Chain)));
    assert!(matches!(read(&chain[..chain.len() / 3], &key), Err(ServerCertificateError::Chain)));
    assert!(matches!(read(&chain, &chain), Err(ServerCertificateError::Key)));
    let error = read(&chain, &key[..key.len() / 2]).unwrap_err();
    assert!(matches!(error, ServerCertificateError::Key));
    assert!(!format!("{identity:?} {error} {error:?}").contains(&key[40..60]), "a key was printed");
}
