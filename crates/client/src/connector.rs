//! From an endpoint to a gRPC channel, with errors that say what is wrong.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, HandshakeKind, pki_types::ServerName};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint};
use tower::Service;

use crate::{
    credentials::Credentials,
    error::{ConnectError, find},
    tls::{client_config, without_resumption},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const DEADLINE: Duration = Duration::from_secs(30);
/// Below the 350 s after which an NLB forgets an idle connection.
const PING: Duration = Duration::from_secs(30);
const PONG: Duration = Duration::from_secs(10);

/// Connects to one control plane, with a certificate or without.
#[derive(Clone, Debug)]
pub struct Connector {
    endpoint: Endpoint,
    server_name: ServerName<'static>,
    address: Arc<str>,
    config: Arc<ClientConfig>,
    connect_timeout: Duration,
    deadline: Duration,
    /// Whether to wait for the server's first bytes, as [`Connector::first_bytes`] says.
    server_speaks_first: bool,
}

type Stream = BufReader<TlsStream<TcpStream>>;

impl Connector {
    /// For `endpoint` (`https://host:port`), trusting `roots_der` only and showing `credentials` if there are any.
    pub fn new(endpoint: &str, roots_der: &[Vec<u8>], credentials: Option<&Credentials>) -> Result<Self, ConnectError> {
        Self::to_control_plane(endpoint, client_config(roots_der, credentials, false)?)
    }

    pub(crate) fn to_control_plane(endpoint: &str, config: ClientConfig) -> Result<Self, ConnectError> {
        let this = Self::with_tls(endpoint, config)?;
        Ok(Self { server_speaks_first: true, ..this })
    }

    /// For `endpoint` with a TLS configuration, to which HTTP/2 is added. Nothing is expected of the server: one that
    /// also speaks HTTP/1.1 listens first.
    pub fn with_tls(endpoint: &str, mut config: ClientConfig) -> Result<Self, ConnectError> {
        config.alpn_protocols = vec![b"h2".to_vec()];
        let bad = |reason: &str| ConnectError::Endpoint { endpoint: endpoint.to_owned(), reason: reason.to_owned() };
        let uri: Uri = endpoint.parse().map_err(|error: http::uri::InvalidUri| bad(&error.to_string()))?;
        if uri.scheme_str() != Some("https") || uri.path() != "/" || uri.query().is_some() {
            return Err(bad("the scheme is https, and nothing follows the port"));
        }
        let host = uri.host().ok_or_else(|| bad("the host is missing"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = port_of(&uri, 443).map_err(|reason| bad(&reason))?;
        Ok(Self {
            server_name: server_name(host)?,
            address: Arc::from(format!("{}:{port}", uri.host().unwrap_or(host))),
            endpoint: Endpoint::from(uri),
            config: Arc::new(config),
            connect_timeout: CONNECT_TIMEOUT,
            deadline: DEADLINE,
            server_speaks_first: false,
        })
    }

    /// Expects the server's certificate to be for `name`, whatever the endpoint's host is.
    pub fn with_server_name(mut self, name: &str) -> Result<Self, ConnectError> {
        self.server_name = server_name(name)?;
        Ok(self)
    }

    /// Gives up a connection that is not ready by then; 10 s unless set.
    #[must_use]
    pub fn with_connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// Gives up a call that is not answered by then (a stream: not begun); 30 s unless set.
    #[must_use]
    pub fn with_deadline(mut self, limit: Duration) -> Self {
        self.deadline = limit;
        self
    }

    /// A channel that connects with its first call, and again when a connection ends.
    pub fn channel(&self) -> Channel {
        self.tuned().connect_with_connector_lazy(self.clone())
    }

    /// A channel that is connected.
    pub async fn connect(&self) -> Result<Channel, ConnectError> {
        self.tuned().connect_with_connector(self.clone()).await.map_err(|error| {
            let known = find::<ConnectError>(&error).cloned();
            known.unwrap_or_else(|| ConnectError::Tls { address: self.address.to_string(), reason: error.to_string() })
        })
    }

    /// The same over one connection: once that has ended, calls fail.
    pub(crate) async fn connect_once(&self) -> Result<Channel, ConnectError> {
        self.tuned().connect_with_connector(Once(Some(self.clone()))).await.map_err(|error| {
            let known = find::<ConnectError>(&error).cloned();
            known.unwrap_or_else(|| ConnectError::Tls { address: self.address.to_string(), reason: error.to_string() })
        })
    }

    fn tuned(&self) -> Endpoint {
        let endpoint = self.endpoint.clone().timeout(self.deadline);
        endpoint.http2_keep_alive_interval(PING).keep_alive_timeout(PONG).keep_alive_while_idle(true)
    }

    async fn open(&self) -> Result<Stream, ConnectError> {
        let (stream, resumed) = self.handshake(&self.config).await?;
        if !self.server_speaks_first {
            return Ok(BufReader::new(stream));
        }
        match self.first_bytes(stream).await {
            // A server cannot send an alert about the certificate of a resumed session: ask it in a full handshake.
            Err(ConnectError::Closed { .. }) if resumed => {
                let (stream, _) = self.handshake(&Arc::new(without_resumption(&self.config))).await?;
                self.first_bytes(stream).await
            }
            other => other,
        }
    }

    async fn handshake(&self, config: &Arc<ClientConfig>) -> Result<(TlsStream<TcpStream>, bool), ConnectError> {
        let address = self.address.to_string();
        let unreachable = |error: std::io::Error| ConnectError::Unreachable { address, reason: error.to_string() };
        let tcp = TcpStream::connect(&*self.address).await.and_then(|tcp| tcp.set_nodelay(true).map(|()| tcp));
        let tls = TlsConnector::from(Arc::clone(config)).connect(self.server_name.clone(), tcp.map_err(unreachable)?);
        let stream = tls.await.map_err(|error| ConnectError::of_tls(&self.address, &error))?;
        let resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
        Ok((stream, resumed))
    }

    /// With TLS 1.3 our side of the handshake is done before the server has looked at our certificate, and a refusal
    /// comes with the first read. An HTTP/2 server speaks first (its SETTINGS, RFC 9113 section 3.4), so wait for that.
    async fn first_bytes(&self, stream: TlsStream<TcpStream>) -> Result<Stream, ConnectError> {
        let mut stream = BufReader::new(stream);
        match stream.fill_buf().await {
            Ok([]) => Err(ConnectError::Closed { address: self.address.to_string() }),
            Ok(_) => Ok(stream),
            Err(error) => Err(ConnectError::of_tls(&self.address, &error)),
        }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = ConnectError;
    type Future = BoxFuture<'static, Result<Self::Response, ConnectError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let late = |_| ConnectError::TimedOut {
                address: this.address.to_string(),
                millis: this.connect_timeout.as_millis(),
            };
            timeout(this.connect_timeout, this.open()).await.map_err(late)?.map(TokioIo::new)
        })
    }
}

/// Connects the first time only.
struct Once(Option<Connector>);

impl Service<Uri> for Once {
    type Response = TokioIo<Stream>;
    type Error = ConnectError;
    type Future = BoxFuture<'static, Result<Self::Response, ConnectError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        match self.0.take() {
            Some(mut connector) => connector.call(uri),
            None => Box::pin(async { Err(ConnectError::Closed { address: "the control plane".into() }) }),
        }
    }
}

/// The port that `uri` names, or `usual` if it names none; what stands there and is no port leads nowhere. The error
/// fits into a sentence.
pub fn port_of(uri: &Uri, usual: u16) -> Result<u16, String> {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    match place.strip_prefix(uri.host().unwrap_or_default()).and_then(|rest| rest.strip_prefix(':')) {
        None => Ok(usual),
        Some(port) => match port.parse() {
            Ok(0) | Err(_) => Err(format!("{port:?} is not a port, 1 to 65535")),
            Ok(port) => Ok(port),
        },
    }
}

fn server_name(name: &str) -> Result<ServerName<'static>, ConnectError> {
    let bad = |_| ConnectError::Endpoint { endpoint: name.to_owned(), reason: "not a DNS name or IP address".into() };
    ServerName::try_from(name.to_owned()).map_err(bad)
}
