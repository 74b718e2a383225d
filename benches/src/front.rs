//! Front doors to compare: ours, and rustls as it comes.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroU32,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures::StreamExt;
use rustls::{ClientConfig, HandshakeKind, ServerConfig, pki_types::ServerName};
use signet_core::{
    Identity, Lifetime,
    authorization::{Grants, Policy},
    trust::{Trust, WhenStale},
};
use signet_mtls::{
    AcceptSettings, Acceptor, Ages, BanReason, Connection, ConnectionObserver, ConnectionRefusal, Ended, Rate,
    Registry, ServerCertificate, ServerIdentity, system_uptime,
};
use signet_softkey::OsEntropy;
use signet_x509::Environment;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpSocket, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector, server::TlsStream};
use tonic::transport::server::Connected;

use crate::{Result, clock::system_clock, pki::Pki, server::Server};

/// Tells nobody.
struct Silent;

impl ConnectionObserver for Silent {
    fn accepted(&self, _: SocketAddr, _: Option<&Identity>, _: bool, _: Duration) {}
    fn refused(&self, _: SocketAddr, _: &ConnectionRefusal) {}
    fn banned(&self, _: IpAddr, _: BanReason) {}
    fn closed(&self, _: SocketAddr, _: Option<&Identity>, _: Ended) {}
    fn accept_failed(&self, _: &io::Error) {}
}

/// A trust that knows the tenant of `pki` and heard of it just now, for hours.
pub(crate) fn trust(pki: &Pki) -> Arc<Trust> {
    let trust = Trust::new(Lifetime::hours(24), WhenStale::Refuse, system_uptime);
    trust.set_tenant(&pki.tenant, std::slice::from_ref(&pki.issuing.ca));
    trust.heard(system_uptime());
    Arc::new(trust)
}

/// A registry whose sessions carry the grants of the built-in policy.
pub(crate) fn registry(trust: &Arc<Trust>) -> Arc<Registry<Grants>> {
    let policy = Policy::new();
    let grant: signet_mtls::Authorize<Grants> =
        Arc::new(move |identity, roles| policy.grants(&identity.tenant, identity.principal_type, roles));
    Registry::new(Arc::clone(trust), system_clock(), Arc::new(OsEntropy), grant, Ages::default())
}

/// Our front door, without a limit per address, and with nothing in its cache.
pub(crate) fn acceptor(
    environment: &Environment,
    identity: ServerIdentity,
    registry: Arc<Registry<Grants>>,
) -> Result<Arc<Acceptor<Grants>>> {
    let rate = NonZeroU32::MAX.min(NonZeroU32::new(1_000_000).unwrap_or(NonZeroU32::MIN));
    let settings = AcceptSettings { rate: Rate { per_second: rate, burst: rate }, ..AcceptSettings::default() };
    let certificate = ServerCertificate::new(identity);
    Ok(Acceptor::new(settings, environment.clone(), certificate, registry, Arc::new(Silent))?)
}

/// How many connections a server has taken.
pub(crate) type Taken = Arc<AtomicUsize>;

/// Takes connections through our front door and drops them.
pub(crate) fn ours(acceptor: Arc<Acceptor<Grants>>) -> Result<(Server, Taken)> {
    let taken = Taken::default();
    let count = Arc::clone(&taken);
    let server = Server::start(move |listener, stop| async move {
        let mut incoming = acceptor.listen(listener, stop);
        while let Some(connection) = incoming.next().await {
            let connection: io::Result<Connection<Grants>> = connection;
            if connection.is_ok() {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    })?;
    Ok((server, taken))
}

/// Takes connections with rustls alone and drops them.
pub(crate) fn plain(config: Arc<ServerConfig>) -> Result<(Server, Taken)> {
    let taken = Taken::default();
    let count = Arc::clone(&taken);
    let server = Server::start(move |listener, _| async move {
        let tls = TlsAcceptor::from(config);
        while let Ok((stream, _)) = listener.accept().await {
            let (tls, count) = (tls.clone(), Arc::clone(&count));
            tokio::spawn(async move {
                if handshake(&tls, stream).await.is_ok() {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    })?;
    Ok((server, taken))
}

/// As our front door does it: without Nagle's delay.
async fn handshake(tls: &TlsAcceptor, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    stream.set_nodelay(true)?;
    tls.accept(stream).await
}

/// Connections of rustls alone, for tonic.
pub(crate) fn plain_incoming(
    listener: TcpListener,
    config: Arc<ServerConfig>,
) -> impl futures::Stream<Item = io::Result<Plain>> {
    let tls = TlsAcceptor::from(config);
    futures::stream::unfold((listener, tls), |(listener, tls)| async move {
        let connection = async {
            let (stream, _) = listener.accept().await?;
            handshake(&tls, stream).await.map(Plain)
        };
        Some((connection.await, (listener, tls)))
    })
}

/// A connection of whoever it is.
pub(crate) struct Plain(TlsStream<TcpStream>);

impl Connected for Plain {
    type ConnectInfo = ();
    fn connect_info(&self) {}
}

impl AsyncRead for Plain {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Plain {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, slices)
    }
    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Connects to `localhost` at `address`.
pub(crate) async fn connect(
    address: SocketAddr,
    config: &Arc<ClientConfig>,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    let name = ServerName::try_from("localhost")?;
    Ok(TlsConnector::from(Arc::clone(config)).connect(name, tcp).await?)
}

/// A connection from another of loopback's addresses, which is a source of its own, that says nothing.
pub(crate) async fn silent(address: SocketAddr) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::new(127, 0, 1, 1), 0).into())?;
    Ok(socket.connect(address).await?)
}

/// A whole connection: handshake, then read until the server ends it. Returns whether it was resumed.
pub(crate) async fn visit(address: SocketAddr, config: &Arc<ClientConfig>) -> Result<bool> {
    let mut stream = connect(address, config).await?;
    let resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
    // The server ends without a farewell; the tickets that came before it are kept by now.
    let _ = stream.read_to_end(&mut Vec::new()).await;
    Ok(resumed)
}
