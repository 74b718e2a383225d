//! The root by its fingerprint.

use signet_client::{RootError, fetch_root, fingerprint};
use signet_x509::pem;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::server::World;

/// Answers every request with `status` and `body`; its base address.
async fn http(status: &'static str, body: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            let path = String::from_utf8_lossy(&request[..length]).split(' ').nth(1).unwrap_or_default().to_owned();
            assert_eq!(path, "/v1/ca.pem");
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len());
            // A client that has had enough closes early.
            let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
        }
    });
    base
}

#[tokio::test]
async fn the_pinned_certificate_is_returned_and_no_other() {
    let world = World::new();
    let (root, other) = (&world.pki.root.ca.certificate_der, &world.pki.server.ca.certificate_der);
    let base = http("200 OK", pem::encode_certificate(other) + &pem::encode_certificate(root)).await;
    assert_eq!(&fetch_root(&base, &fingerprint(root)).await.unwrap(), root);
    let colons: Vec<_> = fingerprint(root)
        .to_uppercase()
        .as_bytes()
        .chunks(2)
        .map(|c| String::from_utf8_lossy(c).into_owned())
        .collect();
    assert_eq!(&fetch_root(&format!("{base}/"), &colons.join(":")).await.unwrap(), root);
    let error = fetch_root(&base, &fingerprint(b"another")).await.unwrap_err();
    assert!(matches!(&error, RootError::PinMismatch { found, .. } if *found == fingerprint(other)), "{error:?}");
}

#[tokio::test]
async fn answers_that_are_no_root_are_named() {
    let pin = fingerprint(b"any");
    assert_eq!(fetch_root("http://127.0.0.1:1", "abc").await, Err(RootError::Pin));
    assert_eq!(fetch_root("http://127.0.0.1:1", "abcd").await, Err(RootError::Pin));
    for bad in ["https://127.0.0.1:1", "127.0.0.1:1", ""] {
        assert_eq!(fetch_root(bad, &pin).await, Err(RootError::Address(bad.to_owned())), "{bad}");
    }
    let fetch = async |status, body: String| fetch_root(&http(status, body).await, &pin).await.unwrap_err();
    assert!(matches!(fetch("200 OK", "<html>".into()).await, RootError::NotCertificates { .. }));
    let missing = fetch("404 Not Found", String::new()).await;
    assert!(missing.to_string().contains("404"), "{missing}");
    let huge = fetch("200 OK", "x".repeat(100_000)).await;
    assert!(matches!(&huge, RootError::Fetch { reason, .. } if reason.contains("limit")), "{huge}");
    // Nobody listens on a port that was just given back.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert!(matches!(fetch_root(&format!("http://{free}"), &pin).await, Err(RootError::Fetch { .. })));
}
