//! What happens before a request: refused handshakes, bans.

use std::{net::SocketAddr, process::Command, sync::Arc};

use rustls::{
    ClientConfig, SignatureScheme,
    client::ResolvesClientCert,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
    sign::CertifiedKey,
};
use signet_client::PeerPolicy;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::{
    client::SOON,
    upstreams::{echo, routed},
    world::World,
};

#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl ResolvesClientCert for Shows {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Shows this chain.
pub(crate) fn showing(chain_der: Vec<Vec<u8>>, pkcs8_der: Vec<u8>) -> Arc<dyn ResolvesClientCert> {
    let chain = chain_der.into_iter().map(CertificateDer::from).collect();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8_der));
    let key = CertifiedKey::from_der(chain, key, &rustls::crypto::aws_lc_rs::default_provider()).unwrap();
    Arc::new(Shows(Arc::new(key)))
}

/// Whether the server hangs up after the handshake's last message, which in TLS 1.3 is where a client learns it.
pub(crate) async fn is_refused(address: SocketAddr, config: ClientConfig) -> bool {
    let tried = timeout(SOON, async {
        let tcp = TcpStream::connect(address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
        stream.write_all(b"GET /jobs/1 HTTP/1.1\r\nHost: a\r\n\r\n").await?;
        stream.read_u8().await
    });
    tried.await.unwrap().is_err()
}

#[tokio::test]
async fn who_shows_no_certificate_again_and_again_is_banned_and_a_jail_reads_it() {
    let bans = "[bans]\nfailed_handshakes = 3\nlog_file = \"bans.log\"\n";
    let world = World::new(&format!("{bans}{}", routed(echo().await))).await;
    // Of an identity that has never been here: who was is not banned with its neighbours.
    let worker = world.worker("w-1").await;
    for _ in 0..3 {
        let mut config = worker.identity.client_config(PeerPolicy::anybody()).unwrap();
        config.client_auth_cert_resolver = Arc::new(NoCertificate);
        assert!(is_refused(world.address(), config).await);
    }
    world.event("the ban", |event| event["event"] == "ban" && event["source"] == "127.0.0.1").await;
    let lines = std::fs::read_to_string(world.environment.path("bans.log")).unwrap();
    assert!(lines.trim_end().ends_with("signet-gateway ban src=127.0.0.1 reason=no-certificate"), "{lines}");
    let filter = concat!(env!("CARGO_MANIFEST_DIR"), "/../control-plane/fail2ban/filter.d/signetd.conf");
    let log = world.environment.path("bans.log");
    let read = tokio::task::spawn_blocking(move || Command::new("fail2ban-regex").arg(log).arg(filter).output());
    let read = read.await.unwrap().unwrap_or_else(|error| panic!("Debian: apt-get install fail2ban: {error}"));
    let read = String::from_utf8_lossy(&read.stdout).into_owned();
    assert!(read.contains("Lines: 1 lines, 0 ignored, 1 matched, 0 missed"), "{read}");
    let good = worker.identity.client_config(PeerPolicy::anybody()).unwrap();
    assert!(is_refused(world.address(), good).await, "closed before TLS");
    let (_, metrics) = world.private("/metrics").await;
    assert!(metrics.contains("signet_gateway_sources_banned_total{reason=\"no-certificate\"} 1"), "{metrics}");
}

#[derive(Debug)]
struct NoCertificate;

impl ResolvesClientCert for NoCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}
