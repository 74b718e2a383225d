//! A TLS connection with the identity at its other end, as tonic and hyper take it.

use std::{
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use rustls::pki_types::CertificateDer;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use crate::{
    budget::Place, observer::ConnectionObserver, quota::Counted, registry::Registration, session::Session,
    tls::ALPN_H2, unread::Unread,
};

/// Who is at the other end. In each request's extensions as `Arc<ConnectInfo<A>>`.
#[derive(Debug)]
pub struct ConnectInfo<A> {
    /// The client's address; behind a balancer, as its PROXY header says.
    pub remote: SocketAddr,
    /// Its identity; `None` for a client without a certificate.
    pub session: Option<Arc<Session<A>>>,
    /// Answers that it has not taken yet.
    pub unread: Arc<Unread>,
}

/// A connection's part of what may be open at once, given up when dropped.
pub(crate) struct Room {
    pub(crate) _counted: Counted,
    pub(crate) _anonymous: Option<Place>,
}

/// An accepted connection. Reads and writes fail once the registry has cut it.
pub struct Connection<A: Send + Sync + 'static> {
    stream: TlsStream<TcpStream>,
    peer: Arc<ConnectInfo<A>>,
    registration: Registration<A>,
    observer: Arc<dyn ConnectionObserver>,
    _room: Room,
}

impl<A: Send + Sync + 'static> Connection<A> {
    pub(crate) fn new(
        stream: TlsStream<TcpStream>,
        registration: Registration<A>,
        observer: Arc<dyn ConnectionObserver>,
        room: Room,
    ) -> Self {
        let (session, unread) = (registration.session().cloned(), Arc::clone(registration.unread()));
        let peer = Arc::new(ConnectInfo { remote: registration.remote(), session, unread });
        Self { stream, peer, registration, observer, _room: room }
    }

    /// Whether HTTP/1.1 is spoken on it: the client asked for that by ALPN, or for nothing.
    pub fn speaks_http1(&self) -> bool {
        self.stream.get_ref().1.alpn_protocol() != Some(ALPN_H2)
    }

    /// What the client showed, leaf first; empty: nothing.
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        self.stream.get_ref().1.peer_certificates().unwrap_or_default()
    }

    /// The protocol and cipher suite of TLS, as OpenSSL names them.
    pub fn tls_names(&self) -> (&'static str, &'static str) {
        use rustls::CipherSuite::{TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256};
        let suite = self.stream.get_ref().1.negotiated_cipher_suite().map(|suite| suite.suite());
        let suite = match suite {
            Some(TLS13_AES_128_GCM_SHA256) => "TLS_AES_128_GCM_SHA256",
            Some(TLS13_AES_256_GCM_SHA384) => "TLS_AES_256_GCM_SHA384",
            Some(TLS13_CHACHA20_POLY1305_SHA256) => "TLS_CHACHA20_POLY1305_SHA256",
            _ => "",
        };
        ("TLSv1.3", suite)
    }

    /// Where the client connected to, on this machine.
    pub fn local(&self) -> io::Result<SocketAddr> {
        self.stream.get_ref().0.local_addr()
    }

    /// Who is at the other end.
    pub fn peer(&self) -> &Arc<ConnectInfo<A>> {
        &self.peer
    }
}

impl<A: Send + Sync + 'static> Connected for Connection<A> {
    type ConnectInfo = Arc<ConnectInfo<A>>;
    fn connect_info(&self) -> Arc<ConnectInfo<A>> {
        Arc::clone(&self.peer)
    }
}

impl<A: Send + Sync + 'static> AsyncRead for Connection<A> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Poll::Ready(error) = self.registration.switch().poll_read(cx) {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<A: Send + Sync + 'static> AsyncWrite for Connection<A> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Poll::Ready(error) = self.registration.switch().poll_write(cx) {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(error) = self.registration.switch().poll_write(cx) {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Poll::Ready(error) = self.registration.switch().poll_write(cx) {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.registration.switch().is_cut() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<A: Send + Sync + 'static> Drop for Connection<A> {
    fn drop(&mut self) {
        let ended = self.registration.ended();
        if let Some(session) = &self.peer.session {
            session.end(ended);
        }
        let identity = self.peer.session.as_ref().map(|session| &**session.identity());
        self.observer.closed(self.peer.remote, identity, ended);
    }
}

impl<A: Send + Sync + 'static> fmt::Debug for Connection<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("remote", &self.peer.remote).finish_non_exhaustive()
    }
}
