//! The environment as its clients reach it: a TLS connection by name, through the load balancer, without a certificate.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use futures::future::join_all;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use signet_mtls::provider;
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::TlsConnector;

/// For each step: the name, a connection, a handshake.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// A TLS 1.3 handshake over `stream`, whose other end must present a certificate for `name` below `anchors` (DER). The
/// error is what TLS says.
pub async fn handshake(stream: TcpStream, name: ServerName<'static>, anchors: &[&[u8]]) -> Result<(), String> {
    let tls = |error: rustls::Error| error.to_string();
    let mut roots = RootCertStore::empty();
    for anchor in anchors {
        roots.add(CertificateDer::from(anchor.to_vec())).map_err(tls)?;
    }
    let mut client = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![b"h2".to_vec()];
    let connected = TlsConnector::from(Arc::new(client)).connect(name, stream).await;
    connected.map(|_| ()).map_err(|error| error.to_string())
}

/// What a client finds at the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No address for its name, or no connection.
    Unreachable,
    /// No TLS connection, or one that a client would refuse.
    HandshakeFailed,
}

impl Fault {
    /// UPPER_SNAKE_CASE, for `/readyz` and the log.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::Unreachable => "ENDPOINT_UNREACHABLE",
            Self::HandshakeFailed => "ENDPOINT_HANDSHAKE_FAILED",
        }
    }

    /// What it is and what to do.
    pub(crate) const fn message(self) -> &'static str {
        match self {
            Self::Unreachable => {
                "this node reaches nobody at probe.endpoint: check its DNS record, the load balancer and its security groups"
            }
            Self::HandshakeFailed => {
                "what answers at probe.endpoint is not what clients expect; the log says why: check its name and certificate, \
                 and listen.proxy_protocol_from"
            }
        }
    }
}

/// Where clients connect, and what the last one to try found.
pub(crate) struct Endpoint {
    /// `host:port`; `None`: nobody has said.
    at: Option<String>,
    fault: ArcSwapOption<Fault>,
}

impl Endpoint {
    pub(crate) fn new(at: Option<String>) -> Self {
        Self { at, fault: ArcSwapOption::empty() }
    }

    pub(crate) fn is_known(&self) -> bool {
        self.at.is_some()
    }

    /// `host:port`.
    pub(crate) fn at(&self) -> Option<&str> {
        self.at.as_deref()
    }

    /// As the last probe found it.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.fault.load().as_deref().copied()
    }

    /// Connects each time anew to every address that the name has, since each may be another zone of the load balancer.
    pub(crate) async fn probe(&self, anchors: &[&[u8]]) {
        let Some(at) = &self.at else { return };
        let fault = connect_to_all(at, anchors).await.err().map(|(fault, cause)| {
            tracing::warn!(endpoint = at, reason = fault.reason(), cause, "clients cannot reach this environment");
            fault
        });
        self.set(fault);
    }

    /// Nothing is known of it now.
    pub(crate) fn forget(&self) {
        self.set(None);
    }

    fn set(&self, fault: Option<Fault>) {
        self.fault.store(fault.map(Arc::new));
    }
}

async fn connect_to_all(at: &str, anchors: &[&[u8]]) -> Result<(), (Fault, String)> {
    let name = name_of(at).map_err(|cause| (Fault::HandshakeFailed, cause))?;
    let addresses: Vec<SocketAddr> = match timeout(TIME_LIMIT, lookup_host(at)).await {
        Ok(found) => found.map_err(|error| (Fault::Unreachable, error.to_string()))?.collect(),
        Err(_) => return Err((Fault::Unreachable, format!("its name is not resolved within {TIME_LIMIT:?}"))),
    };
    if addresses.is_empty() {
        return Err((Fault::Unreachable, "its name has no address".into()));
    }
    // Side by side: one that does not answer takes no time of the others.
    let all = addresses.into_iter().map(|address| connect(address, name.clone(), anchors));
    join_all(all).await.into_iter().collect()
}

async fn connect(address: SocketAddr, name: ServerName<'static>, anchors: &[&[u8]]) -> Result<(), (Fault, String)> {
    let told = |fault: Fault, cause: String| (fault, format!("{address}: {cause}"));
    let stream = match timeout(TIME_LIMIT, TcpStream::connect(address)).await {
        Ok(stream) => stream.map_err(|error| told(Fault::Unreachable, error.to_string()))?,
        Err(_) => return Err(told(Fault::Unreachable, format!("no connection within {TIME_LIMIT:?}"))),
    };
    match timeout(TIME_LIMIT, handshake(stream, name, anchors)).await {
        Ok(shaken) => shaken.map_err(|cause| told(Fault::HandshakeFailed, cause)),
        Err(_) => Err(told(Fault::HandshakeFailed, format!("no handshake within {TIME_LIMIT:?}"))),
    }
}

/// Whom to expect at `host:port` or `[address]:port`.
fn name_of(endpoint: &str) -> Result<ServerName<'static>, String> {
    let host = endpoint.rsplit_once(':').map_or(endpoint, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use rustls::ServerConfig;
    use rustls_pki_types::{PrivateKeyDer, pem::PemObject as _};
    use signet_core::Time;
    use signet_testkit::pki::{Holder, Pki};
    use tokio::{io::AsyncWriteExt as _, net::TcpListener};
    use tokio_rustls::TlsAcceptor;

    use super::*;

    fn pki() -> Pki {
        Pki::new(Time::from_unix_seconds(jiff::Timestamp::now().as_second()))
    }

    /// Serves with the holder's pair; without one, speaks something else.
    async fn serve(address: &str, holder: Option<Holder>) -> u16 {
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let acceptor = holder.map(|holder| {
            let chain = holder.chain_der.into_iter().map(CertificateDer::from).collect();
            let key = PrivateKeyDer::from_pem_slice(holder.key.to_pkcs8_pem().as_bytes()).unwrap();
            let config = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
            TlsAcceptor::from(Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap()))
        });
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                match &acceptor {
                    Some(acceptor) => drop(acceptor.accept(stream).await),
                    None => drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await),
                }
            }
        });
        port
    }

    async fn found(pki: &Pki, at: String) -> Option<Fault> {
        let endpoint = Endpoint::new(Some(at));
        endpoint.probe(&[pki.server.ca.anchor()]).await;
        endpoint.fault()
    }

    #[tokio::test]
    async fn a_client_s_connection_is_tried_by_name_and_what_is_wrong_is_told() {
        let (ours, others) = (pki(), pki());
        let good = serve("127.0.0.1", Some(ours.server_holder())).await;
        assert_eq!(found(&ours, format!("127.0.0.1:{good}")).await, None);
        let named_otherwise = serve("127.0.0.2", Some(ours.server_holder())).await;
        assert_eq!(found(&ours, format!("127.0.0.2:{named_otherwise}")).await, Some(Fault::HandshakeFailed));
        assert_eq!(found(&ours, format!("127.0.0.3:{good}")).await, Some(Fault::Unreachable));
        let foreign = serve("127.0.0.1", Some(others.server_holder())).await;
        assert_eq!(found(&ours, format!("127.0.0.1:{foreign}")).await, Some(Fault::HandshakeFailed));
        let other = serve("127.0.0.1", None).await;
        assert_eq!(found(&ours, format!("127.0.0.1:{other}")).await, Some(Fault::HandshakeFailed));
        assert_eq!(found(&ours, "no-such-host.invalid:443".into()).await, Some(Fault::Unreachable));
    }

    /// The kernel takes the connection, and nobody says anything.
    #[tokio::test(start_paused = true)]
    async fn who_takes_connections_and_says_nothing_is_reached_and_fails_the_handshake() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = format!("127.0.0.1:{}", listener.local_addr().unwrap().port());
        let ours = pki();
        let (fault, cause) = connect_to_all(&at, &[ours.server.ca.anchor()]).await.unwrap_err();
        assert_eq!((fault, cause), (Fault::HandshakeFailed, format!("{at}: no handshake within 5s")));
    }

    #[tokio::test]
    async fn a_fault_is_gone_with_the_next_good_probe() {
        let pki = pki();
        let port = serve("127.0.0.1", Some(pki.server_holder())).await;
        let endpoint = Endpoint::new(Some(format!("127.0.0.1:{port}")));
        endpoint.probe(&[]).await;
        assert_eq!(endpoint.fault(), Some(Fault::HandshakeFailed));
        endpoint.probe(&[pki.server.ca.anchor()]).await;
        assert_eq!(endpoint.fault(), None);
    }

    #[test]
    fn an_ipv6_endpoint_is_known_by_its_address() {
        let localhost = std::net::Ipv6Addr::LOCALHOST;
        assert_eq!(name_of("[::1]:443").unwrap(), ServerName::from(std::net::IpAddr::from(localhost)));
        assert_eq!(name_of("signet.example.com:443").unwrap(), ServerName::try_from("signet.example.com").unwrap());
    }
}
