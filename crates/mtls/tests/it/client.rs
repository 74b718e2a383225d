//! A plain rustls client.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use rustls::{
    ClientConfig, ClientConnection, ConfigBuilder, HandshakeKind, RootCertStore, SignatureScheme,
    client::{ResolvesClientCert, WantsClientCert},
    crypto::{
        CryptoProvider,
        aws_lc_rs::{
            self,
            kx_group::{SECP256R1, X25519},
        },
    },
    pki_types::{PrivateKeyDer, ServerName},
    sign::{CertifiedKey, SingleCertAndKey},
    version::TLS13,
};
use signet_mtls::provider;
use signet_testkit::pki::{Holder, Pki};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

pub(crate) struct Client(Arc<ClientConfig>);

pub(crate) struct Greeted {
    pub(crate) greeting: String,
    pub(crate) resumed: bool,
    pub(crate) stream: BufReader<TlsStream<TcpStream>>,
}

impl Client {
    pub(crate) fn new(pki: &Pki, holder: Option<&Holder>) -> Self {
        Self::raw(pki, holder.map(|holder| (holder.chain_der.clone(), holder.key.pkcs8_der().to_vec())), b"h2")
    }

    /// One that names no protocol.
    pub(crate) fn silent(pki: &Pki, holder: &Holder) -> Self {
        let Self(config) = Self::new(pki, Some(holder));
        let mut config = ClientConfig::clone(&config);
        config.alpn_protocols.clear();
        Self(Arc::new(config))
    }

    /// One that shows a certificate whose key it has not.
    pub(crate) fn keyless(pki: &Pki, holder: &Holder, other: &Holder) -> Self {
        let key = PrivateKeyDer::Pkcs8(other.key.pkcs8_der().to_vec().into());
        let key = provider().key_provider.load_private_key(key).unwrap();
        let chain = holder.chain_der.iter().cloned().map(Into::into).collect();
        let shown = SingleCertAndKey::from(CertifiedKey::new(chain, key));
        let mut config = trusting(pki).with_client_cert_resolver(Arc::new(shown));
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self(Arc::new(config))
    }

    pub(crate) fn raw(pki: &Pki, certificate: Option<(Vec<Vec<u8>>, Vec<u8>)>, alpn: &[u8]) -> Self {
        let builder = trusting(pki);
        let mut config = match certificate {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let key = PrivateKeyDer::Pkcs8(key.into());
                builder.with_client_auth_cert(chain.into_iter().map(Into::into).collect(), key).unwrap()
            }
        };
        config.alpn_protocols = vec![alpn.to_vec()];
        Self(Arc::new(config))
    }

    /// One that keeps its sessions while its certificate changes, as in Go and Java.
    pub(crate) fn changing(pki: &Pki, certificate: Arc<Changing>) -> Self {
        let mut config = trusting(pki).with_client_cert_resolver(certificate);
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self(Arc::new(config))
    }

    /// One without post-quantum key exchange, as most in the field.
    pub(crate) fn classical(pki: &Pki, holder: &Holder) -> Self {
        let classical = CryptoProvider { kx_groups: vec![X25519, SECP256R1], ..aws_lc_rs::default_provider() };
        let chain = holder.chain_der.iter().cloned().map(Into::into).collect();
        let key = PrivateKeyDer::Pkcs8(holder.key.pkcs8_der().to_vec().into());
        let mut config = trusting_by(pki, classical).with_client_auth_cert(chain, key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self(Arc::new(config))
    }

    /// Connects and reads the greeting; with TLS 1.3 a refusal shows there.
    pub(crate) async fn greet(&self, address: SocketAddr) -> io::Result<Greeted> {
        self.greet_over(TcpStream::connect(address).await?).await
    }

    /// A ClientHello.
    pub(crate) fn hello(&self) -> Vec<u8> {
        let name = ServerName::try_from("localhost").unwrap();
        let mut connection = ClientConnection::new(Arc::clone(&self.0), name).unwrap();
        let mut bytes = Vec::new();
        connection.write_tls(&mut bytes).unwrap();
        bytes
    }

    /// Our side of the handshake only.
    pub(crate) async fn dial(&self, tcp: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::clone(&self.0)).connect(name, tcp).await
    }

    pub(crate) async fn greet_over(&self, tcp: TcpStream) -> io::Result<Greeted> {
        let tls = self.dial(tcp).await?;
        let resumed = tls.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
        let mut stream = BufReader::new(tls);
        let mut greeting = String::new();
        // A refusal that is told after the handshake has no end of line.
        if stream.read_line(&mut greeting).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Greeted { greeting: greeting.trim().to_owned(), resumed, stream })
    }

    /// The TLS alert with which the server refuses; panics if it does not.
    pub(crate) async fn alert(&self, address: SocketAddr) -> String {
        match self.greet(address).await {
            Ok(greeted) => panic!("accepted: {}", greeted.greeting),
            Err(error) => alert_of(&error),
        }
    }
}

/// The certificate of the moment.
#[derive(Debug)]
pub(crate) struct Changing(Mutex<Arc<CertifiedKey>>);

impl Changing {
    pub(crate) fn new(holder: &Holder) -> Arc<Self> {
        Arc::new(Self(Mutex::new(certified(holder))))
    }

    pub(crate) fn becomes(&self, holder: &Holder) {
        *self.0.lock().unwrap() = certified(holder);
    }
}

impl ResolvesClientCert for Changing {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.lock().unwrap()))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn certified(holder: &Holder) -> Arc<CertifiedKey> {
    let chain = holder.chain_der.iter().cloned().map(Into::into).collect();
    let key = PrivateKeyDer::Pkcs8(holder.key.pkcs8_der().to_vec().into());
    Arc::new(CertifiedKey::from_der(chain, key, &provider()).unwrap())
}

fn trusting(pki: &Pki) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    trusting_by(pki, aws_lc_rs::default_provider())
}

fn trusting_by(pki: &Pki, provider: CryptoProvider) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    let mut roots = RootCertStore::empty();
    roots.add(pki.root.ca.certificate_der.clone().into()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(provider));
    builder.with_protocol_versions(&[&TLS13]).unwrap().with_root_certificates(roots)
}

pub(crate) fn alert_of(error: &io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::AlertReceived(alert)) => format!("{alert:?}"),
        _ => format!("{:?}", error.kind()),
    }
}

impl Greeted {
    pub(crate) async fn echo(&mut self, text: &str) -> io::Result<String> {
        self.stream.write_all(text.as_bytes()).await?;
        self.stream.flush().await?;
        let mut buffer = vec![0; text.len()];
        self.stream.read_exact(&mut buffer).await?;
        Ok(String::from_utf8(buffer).unwrap())
    }
}
