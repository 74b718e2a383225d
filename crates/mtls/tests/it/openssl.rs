//! OpenSSL's `s_client`, a TLS stack that is not ours.

use std::{fs, net::SocketAddr, process::Stdio, time::Duration};

use signet_mtls::AcceptSettings;
use signet_testkit::pki::Holder;
use signet_x509::pem;
use tokio::{io::AsyncWriteExt, process::Command};

use crate::world::{World, chain_pem, eventually};

/// What `s_client` prints while it greets and says goodbye.
async fn s_client(world: &World, address: SocketAddr, holder: &Holder, version: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("ca.pem"), pem::encode_certificate(&world.pki.root.ca.certificate_der)).unwrap();
    fs::write(path("chain.pem"), chain_pem(holder)).unwrap();
    fs::write(path("key.pem"), holder.key.to_pkcs8_pem().as_bytes()).unwrap();
    let mut child = Command::new("openssl")
        .current_dir(folder.path())
        .args(["s_client", "-connect", &address.to_string(), version, "-alpn", "h2", "-ign_eof"])
        .args(["-CAfile", "ca.pem", "-verify_return_error", "-verify_hostname", "localhost"])
        .args(["-cert", "chain.pem", "-cert_chain", "chain.pem", "-key", "key.pem"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    // What the server closes before it is read is no matter here.
    let _ = input.write_all(b"ping\n").await;
    let output = tokio::time::timeout(Duration::from_secs(10), async {
        // With -ign_eof it stays until the server closes.
        eventually("the server has judged", || !world.observer.events().is_empty()).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        world.registry.drain();
        child.wait_with_output().await.unwrap()
    });
    let output = output.await.unwrap();
    drop(input);
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[tokio::test]
async fn it_is_let_in() {
    let world = World::new();
    let address = world.start(AcceptSettings::default()).await;
    let text = s_client(&world, address, &world.pki.worker(&world.acme, "w-1"), "-tls1_3").await;
    for part in ["acme/w-1", "Verify return code: 0 (ok)", "TLSv1.3", "ALPN protocol: h2"] {
        assert!(text.contains(part), "{part} is missing in:\n{text}");
    }
}

#[tokio::test]
async fn it_reads_the_alert_that_refuses_it() {
    let world = World::new();
    let address = world.start(AcceptSettings::default()).await;
    let holder = world.pki.worker(&world.acme, "w-1");
    world.revoke(&holder);
    let text = s_client(&world, address, &holder, "-tls1_3").await;
    assert!(text.contains("certificate revoked"), "{text}");
}

#[tokio::test]
async fn older_versions_are_not_spoken() {
    let world = World::new();
    let address = world.start(AcceptSettings::default()).await;
    let text = s_client(&world, address, &world.pki.worker(&world.acme, "w-1"), "-tls1_2").await;
    assert!(text.contains("protocol version"), "{text}");
    assert_eq!(world.observer.refusals(), ["HANDSHAKE_FAILED"]);
}
