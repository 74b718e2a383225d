//! Who comes to a relying party: one key and certificate, and whether they get in.

use std::{sync::Arc, time::Duration};

use rustls::{
    ClientConfig, HandshakeKind, RootCertStore,
    client::Resumption,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
    version::TLS13,
};
use signet_client::Identity;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

/// Bytes of CONNECT (MQTT 3.1.1): clean session, client id `w`; and the start of CONNACK with "accepted".
const MQTT: (&[u8], &[u8]) = (b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01w", b"\x20\x02\x00\x00");
/// A startup message of PostgreSQL's protocol 3.0 for the user `w`, and AuthenticationOk.
const POSTGRES: (&[u8], &[u8]) =
    (b"\x00\x00\x00\x10\x00\x03\x00\x00user\x00w\x00\x00", b"R\x00\x00\x00\x08\x00\x00\x00\x00");
/// What asks a PostgreSQL server for TLS; it answers `S`.
const POSTGRES_TLS: &[u8] = &[0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f];
const HTTP: (&[u8], &[u8]) = (b"GET / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n", b"HTTP/1.1 200");

/// What a program speaks above TLS. With TLS 1.3 a client hears at its first read that it is refused.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// It sends back what it gets.
    Echo,
    /// It sends back each line, reversed.
    Reversed,
    Http,
    Mqtt,
    Postgres,
}

impl Speaks {
    /// What is sent, and how the answer to somebody who is let in begins.
    const fn words(self) -> (&'static [u8], &'static [u8]) {
        match self {
            Self::Echo => (b"hello\n", b"hello"),
            Self::Reversed => (b"hello\n", b"olleh"),
            Self::Http => HTTP,
            Self::Mqtt => MQTT,
            Self::Postgres => POSTGRES,
        }
    }
}

/// A holder of a certificate.
#[derive(Clone)]
pub(crate) struct Visitor {
    chain: Vec<CertificateDer<'static>>,
    key_der: Vec<u8>,
    roots: Arc<RootCertStore>,
}

impl Visitor {
    /// `anchors`: what they check the programs by, DER.
    pub(crate) fn new(chain_der: &[Vec<u8>], key_der: &[u8], anchors: &[Vec<u8>]) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(anchors.iter().cloned().map(CertificateDer::from));
        let chain = chain_der.iter().cloned().map(CertificateDer::from).collect();
        Self { chain, key_der: key_der.to_vec(), roots: Arc::new(roots) }
    }

    pub(crate) fn of(identity: &Identity, anchors: &[Vec<u8>]) -> Self {
        identity.with_credentials(|own| Self::new(own.chain_der(), own.key().pkcs8_der().as_slice(), anchors))
    }

    /// With a memory of its own for the sessions of one program.
    pub(crate) fn session(&self) -> Session {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key_der.clone()));
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        let config = config.with_protocol_versions(&[&TLS13]).unwrap().with_root_certificates(Arc::clone(&self.roots));
        let mut config = config.with_client_auth_cert(self.chain.clone(), key).unwrap();
        config.resumption = Resumption::in_memory_sessions(8);
        Session(Arc::new(config))
    }

    /// A new handshake.
    pub(crate) async fn visit(&self, speaks: Speaks, port: u16) -> Result<bool, String> {
        self.session().visit(speaks, port).await
    }
}

/// A visitor of one program, with the tickets that it was given.
pub(crate) struct Session(Arc<ClientConfig>);

impl Session {
    /// Whether the session of before was resumed, if they are let in; or why not.
    pub(crate) async fn visit(&self, speaks: Speaks, port: u16) -> Result<bool, String> {
        let visit = timeout(Duration::from_secs(5), self.try_visit(speaks, port)).await;
        visit.unwrap_or_else(|_| Err("no answer".into()))
    }

    async fn try_visit(&self, speaks: Speaks, port: u16) -> Result<bool, String> {
        let mut tcp = TcpStream::connect(("127.0.0.1", port)).await.map_err(|error| format!("connect: {error}"))?;
        if speaks == Speaks::Postgres {
            ask(&mut tcp, POSTGRES_TLS, b"S").await?;
        }
        let name = ServerName::try_from("web-1.service.acme.test.example.com").unwrap();
        let tls = TlsConnector::from(Arc::clone(&self.0)).connect(name, tcp).await;
        let mut tls = tls.map_err(|error| format!("handshake: {error}"))?;
        let (words, welcome) = speaks.words();
        ask(&mut tls, words, welcome).await?;
        Ok(tls.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed))
    }
}

async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), words: &[u8], welcome: &[u8]) -> Result<(), String> {
    stream.write_all(words).await.map_err(|error| format!("write: {error}"))?;
    let mut answer = vec![0; welcome.len()];
    let read = stream.read_exact(&mut answer).await.map_err(|error| format!("read: {error}"));
    read.and_then(|_| if answer == welcome { Ok(()) } else { Err(String::from_utf8_lossy(&answer).into_owned()) })
}
