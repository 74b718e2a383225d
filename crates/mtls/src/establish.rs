//! From a TCP connection to an authenticated one, within the time limit.

use std::{cell::Cell, io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::{HandshakeKind, pki_types::CertificateDer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy, sink},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::server::TlsStream;

use crate::{
    accept::Acceptor,
    connection::{Connection, Place},
    observer::ConnectionRefusal,
    proxy::{self, Header, ProxyError, SIGNATURE},
    registry::Registration,
    tls::ALPN_H2,
    verify::{REFUSED, RefusedCertificate},
};

/// First byte of a TLS record that holds a handshake message (RFC 8446 section 5.1).
const TLS_HANDSHAKE: u8 = 22;
const LINGER: Duration = Duration::from_millis(500);
const LINGER_BYTES: u64 = 64 * 1024;

/// A connection that was not taken, with its stream if the client should still read why.
pub(crate) struct Failed {
    pub(crate) remote: SocketAddr,
    pub(crate) refusal: ConnectionRefusal,
    pub(crate) stream: Option<TcpStream>,
}

/// Reads what the client still sends, so that the last bytes sent to it (the alert) arrive: closing a socket that has
/// unread bytes resets the connection, and the reset overtakes them (RFC 1122 section 4.2.2.13).
pub(crate) async fn linger(stream: Option<TcpStream>) {
    let Some(mut stream) = stream else { return };
    let drain = async {
        stream.shutdown().await?;
        copy(&mut stream.take(LINGER_BYTES), &mut sink()).await
    };
    // Whatever happens here, the connection is over.
    let _ = timeout(LINGER, drain).await;
}

impl<A: Send + Sync + 'static> Acceptor<A> {
    pub(crate) async fn establish(&self, mut stream: TcpStream, socket: SocketAddr) -> Result<Connection<A>, Failed> {
        let started = Instant::now();
        let deadline = started + self.settings.handshake_timeout;
        let failed = |remote, refusal, stream| Failed { remote, refusal, stream };

        let source = timeout_at(deadline, self.source(&mut stream, socket)).await;
        let remote = source.unwrap_or(Err(ConnectionRefusal::Timeout)).map_err(|why| failed(socket, why, None))?;
        let first = timeout_at(deadline, self.admit(&stream, remote, socket)).await;
        let place = first.unwrap_or(Err(ConnectionRefusal::Timeout)).map_err(|why| failed(remote, why, None))?;

        let handshake = timeout_at(deadline, self.handshake(stream)).await;
        let stream = handshake
            .unwrap_or(Err((ConnectionRefusal::Timeout, None)))
            .map_err(|(why, stream)| failed(remote, why, stream))?;
        self.enter(stream, remote, place, started).map_err(|(why, stream)| failed(remote, why, Some(stream)))
    }

    /// The client's address: the peer's own, or what its PROXY header says if it is a balancer.
    async fn source(&self, stream: &mut TcpStream, socket: SocketAddr) -> Result<SocketAddr, ConnectionRefusal> {
        if !self.is_proxy(socket) {
            return Ok(socket);
        }
        match proxy::read(stream).await {
            Ok(Header::Local) => Ok(socket),
            Ok(Header::Relayed(client)) => Ok(client),
            Err(ProxyError::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(ConnectionRefusal::ClosedEarly)
            }
            Err(error) => Err(ConnectionRefusal::Proxy(error)),
        }
    }

    fn is_proxy(&self, socket: SocketAddr) -> bool {
        self.settings.proxies.iter().any(|network| network.contains(socket.ip()))
    }

    /// What can be refused without any cryptography.
    async fn admit(
        &self,
        stream: &TcpStream,
        remote: SocketAddr,
        socket: SocketAddr,
    ) -> Result<OwnedSemaphorePermit, ConnectionRefusal> {
        if !self.throttle.admit(remote.ip()) {
            return Err(ConnectionRefusal::Throttled);
        }
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| ConnectionRefusal::TooManyConnections)?;
        let mut ahead = [0; SIGNATURE.len()];
        let length = stream.peek(&mut ahead).await.map_err(ConnectionRefusal::Handshake)?;
        match ahead.get(..length).unwrap_or_default() {
            [] => Err(ConnectionRefusal::ClosedEarly),
            [TLS_HANDSHAKE, ..] => Ok(place),
            start if !self.is_proxy(socket) && (SIGNATURE.starts_with(start) || start.starts_with(b"PROXY ")) => {
                Err(ConnectionRefusal::UntrustedProxy)
            }
            _ => Err(ConnectionRefusal::NotTls),
        }
    }

    async fn handshake(
        &self,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, (ConnectionRefusal, Option<TcpStream>)> {
        // HTTP/2 frames are small and written whole.
        stream.set_nodelay(true).map_err(|error| (ConnectionRefusal::Handshake(error), None))?;
        let accept = self.tls.accept(stream).into_fallible();
        let handshake = async {
            accept.await.map_err(|(error, stream)| {
                let refusal = REFUSED.with(Cell::take).map_or_else(|| classify(error), ConnectionRefusal::from);
                (refusal, Some(stream))
            })
        };
        REFUSED.scope(Cell::new(None), handshake).await
    }

    /// Resumed or not: who is it, and may it come in now?
    fn enter(
        &self,
        stream: TlsStream<TcpStream>,
        remote: SocketAddr,
        place: OwnedSemaphorePermit,
        started: Instant,
    ) -> Result<Connection<A>, (ConnectionRefusal, TcpStream)> {
        let tls = stream.get_ref().1;
        let resumed = tls.handshake_kind() == Some(HandshakeKind::Resumed);
        let entered = match tls.alpn_protocol() {
            Some(ALPN_H2) => self.register(tls.peer_certificates(), remote, place),
            _ => Err(ConnectionRefusal::NoHttp2),
        };
        match entered {
            Ok((registration, place)) => {
                let identity = registration.session().map(|session| &**session.identity());
                self.observer.accepted(remote, identity, resumed, started.elapsed());
                Ok(Connection::new(stream, registration, Arc::clone(&self.observer), place))
            }
            Err(refusal) => Err((refusal, stream.into_inner().0)),
        }
    }

    fn register(
        &self,
        chain: Option<&[CertificateDer<'_>]>,
        remote: SocketAddr,
        place: OwnedSemaphorePermit,
    ) -> Result<(Registration<A>, Place), ConnectionRefusal> {
        let Some(leaf) = chain.and_then(<[_]>::first) else { return self.register_anonymous(remote, place) };
        let identity = self.verifier.authenticate(leaf, (self.registry.clock())())?;
        let registered = self.registry.register(remote, Some(Arc::clone(&identity)));
        let registration = registered.map_err(|refusal| RefusedCertificate::of(&identity, refusal))?;
        Ok((registration, Place { _any: place, _anonymous: None }))
    }

    fn register_anonymous(
        &self,
        remote: SocketAddr,
        place: OwnedSemaphorePermit,
    ) -> Result<(Registration<A>, Place), ConnectionRefusal> {
        if !self.settings.anonymous {
            return Err(ConnectionRefusal::NoCertificate);
        }
        let anonymous = Arc::clone(&self.anonymous_places).try_acquire_owned();
        let anonymous = anonymous.map_err(|_| ConnectionRefusal::TooManyConnections)?;
        let registration = self.registry.register(remote, None).map_err(|_| ConnectionRefusal::NoCertificate)?;
        Ok((registration, Place { _any: place, _anonymous: Some(anonymous) }))
    }
}

impl From<RefusedCertificate> for ConnectionRefusal {
    fn from(refused: RefusedCertificate) -> Self {
        Self::Certificate { refusal: refused.refusal, presented: refused.presented }
    }
}

fn classify(error: io::Error) -> ConnectionRefusal {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::NoCertificatesPresented) => ConnectionRefusal::NoCertificate,
        Some(rustls::Error::NoApplicationProtocol) => ConnectionRefusal::NoHttp2,
        _ => ConnectionRefusal::Handshake(error),
    }
}
