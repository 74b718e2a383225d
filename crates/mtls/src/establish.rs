//! From a TCP connection to an authenticated one, within the time limit.

use std::{io, net::SocketAddr, pin::pin, sync::Arc, task::Poll};

use futures::poll;
use rustls::{HandshakeKind, pki_types::CertificateDer};
use tokio::{
    net::TcpStream,
    time::{Instant, sleep_until},
};
use tokio_rustls::{LazyConfigAcceptor, StartHandshake, server::TlsStream};

use crate::{
    accept::Acceptor,
    budget::Place,
    connection::{Connection, Room},
    goodbye::Rest,
    observer::ConnectionRefusal,
    proxy::{self, Header, ProxyError, SIGNATURE},
    quota::Share,
    registry::Registration,
    tls::ALPN_H2,
    verify::{HANDSHAKE, Handshake, Presented, RefusedCertificate},
};

/// First byte of a TLS record that holds a handshake message (RFC 8446 section 5.1).
const TLS_HANDSHAKE: u8 = 22;

/// A connection that was not taken, with what is left of it if the client should still read why.
pub(crate) struct Failed {
    pub(crate) remote: SocketAddr,
    pub(crate) refusal: ConnectionRefusal,
    pub(crate) rest: Option<Rest>,
}

/// A refusal and the connection that it can be told on.
type Refused = (ConnectionRefusal, Option<Rest>);

/// `work`, unless it is late or a newer connection needs the place. What the peer has sent is looked at first, so that
/// only a silent one is evicted.
async fn within<T>(
    place: &Place,
    deadline: Instant,
    work: impl Future<Output = Result<T, Refused>>,
) -> Result<T, Refused> {
    tokio::select! {
        biased;
        done = work => done,
        () = place.evicted() => Err((ConnectionRefusal::Evicted, None)),
        () = sleep_until(deadline) => Err((ConnectionRefusal::Timeout, None)),
    }
}

impl<A: Send + Sync + 'static> Acceptor<A> {
    /// `place`: among the connections that have not spoken yet.
    pub(crate) async fn establish(
        &self,
        mut stream: TcpStream,
        socket: SocketAddr,
        place: Place,
    ) -> Result<Connection<A>, Failed> {
        let started = Instant::now();
        let deadline = started + self.settings.handshake_timeout;
        let hello_by = deadline.min(started + self.settings.hello_timeout);

        let source = within(&place, hello_by, self.source(&mut stream, socket)).await;
        let remote = source.map_err(|(refusal, rest)| Failed { remote: socket, refusal, rest })?;
        let failed = |(refusal, rest)| Failed { remote, refusal, rest };
        if self.bans.is_banned(remote.ip(), started) {
            return Err(failed((ConnectionRefusal::Banned, None)));
        }
        if !self.throttle.admit(remote.ip()) {
            return Err(failed((ConnectionRefusal::Throttled, None)));
        }
        place.assign(remote.ip());
        let start = within(&place, hello_by, self.hello(stream, socket)).await.map_err(failed)?;
        let turn = async { Ok(self.turns.wait(remote.ip()).await) };
        let mut turn = within(&place, deadline, turn).await.map_err(failed)?;
        drop(place);

        let place = self.handshakes.take(Some(remote.ip()));
        let handshake = async {
            let mut handshake = pin!(self.handshake(start));
            if let Poll::Ready(done) = poll!(&mut handshake) {
                return done;
            }
            // Our part is sent.
            turn.waits_for_peer(&place);
            handshake.await
        };
        let stream = within(&place, deadline, handshake).await.map_err(failed)?;
        drop((place, turn));
        self.enter(stream, remote, started).map_err(failed)
    }

    /// The client's address: the peer's own, or what its PROXY header says if it is a balancer.
    async fn source(&self, stream: &mut TcpStream, socket: SocketAddr) -> Result<SocketAddr, Refused> {
        if !self.is_proxy(socket) {
            return Ok(socket);
        }
        match proxy::read(stream).await {
            Ok(Header::Local) => Ok(socket),
            Ok(Header::Relayed(client)) => Ok(client),
            Err(ProxyError::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err((ConnectionRefusal::ClosedEarly, None))
            }
            Err(error) => Err((ConnectionRefusal::Proxy(error), None)),
        }
    }

    pub(crate) fn is_proxy(&self, socket: SocketAddr) -> bool {
        self.settings.proxies.iter().any(|network| network.contains(socket.ip()))
    }

    /// The whole ClientHello; until then there is nothing to compute.
    async fn hello(&self, stream: TcpStream, socket: SocketAddr) -> Result<StartHandshake<TcpStream>, Refused> {
        let handshake = |error| (ConnectionRefusal::Handshake(error), None);
        let mut ahead = [0; SIGNATURE.len()];
        let length = stream.peek(&mut ahead).await.map_err(handshake)?;
        match ahead.get(..length).unwrap_or_default() {
            [] => return Err((ConnectionRefusal::ClosedEarly, None)),
            [TLS_HANDSHAKE, ..] => {}
            start if !self.is_proxy(socket) && (SIGNATURE.starts_with(start) || start.starts_with(b"PROXY ")) => {
                return Err((ConnectionRefusal::UntrustedProxy, None));
            }
            _ => return Err((ConnectionRefusal::NotTls, None)),
        }
        // HTTP/2 frames and HTTP/1.1 answers are small and written whole.
        stream.set_nodelay(true).map_err(handshake)?;
        let mut accept = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream);
        let started = (&mut accept).await;
        started.map_err(|error| (classify(error), accept.take_io().map(Rest::Alerted)))
    }

    async fn handshake(&self, start: StartHandshake<TcpStream>) -> Result<TlsStream<TcpStream>, Refused> {
        let handshake = async {
            start.into_stream(Arc::clone(&self.tls)).into_fallible().await.map_err(|(error, stream)| {
                let refused = HANDSHAKE.with(|handshake| handshake.refused.take());
                let refusal = refused.map_or_else(|| classify(error), ConnectionRefusal::from);
                (refusal, Some(Rest::Alerted(stream)))
            })
        };
        HANDSHAKE.scope(Handshake::default(), handshake).await
    }

    /// Resumed or not: who is it, and may it come in now?
    fn enter(
        &self,
        stream: TlsStream<TcpStream>,
        remote: SocketAddr,
        started: Instant,
    ) -> Result<Connection<A>, Refused> {
        let tls = stream.get_ref().1;
        let resumed = tls.handshake_kind() == Some(HandshakeKind::Resumed);
        let speaks_http2 = tls.alpn_protocol() == Some(ALPN_H2);
        match self.register(tls.peer_certificates(), remote) {
            Ok((registration, room)) => {
                let identity = registration.session().map(|session| &**session.identity());
                if identity.is_some() {
                    self.bans.vouch(remote.ip(), started);
                }
                self.observer.accepted(remote, identity, resumed, started.elapsed());
                Ok(Connection::new(stream, registration, Arc::clone(&self.observer), room))
            }
            Err(refusal @ ConnectionRefusal::TooManyConnections { .. }) => {
                let rest = if speaks_http2 { Rest::Http2 } else { Rest::Http1 };
                Err((refusal, Some(rest(Box::new(stream)))))
            }
            Err(refusal) => Err((refusal, Some(Rest::Secured(Box::new(stream))))),
        }
    }

    fn register(
        &self,
        chain: Option<&[CertificateDer<'_>]>,
        remote: SocketAddr,
    ) -> Result<(Registration<A>, Room), ConnectionRefusal> {
        let Some(leaf) = chain.and_then(<[_]>::first) else { return self.register_anonymous(remote) };
        let identity = self.verifier.authenticate(leaf, (self.registry.clock())())?;
        let counted = self.quota.count(Some(&identity));
        let counted = counted.map_err(|share| ConnectionRefusal::TooManyConnections {
            share,
            presented: Some(Presented::of(&identity)),
        })?;
        let registered = self.registry.register(remote, Some(Arc::clone(&identity)));
        let registration = registered.map_err(|refusal| RefusedCertificate::of(&identity, refusal))?;
        Ok((registration, Room { _counted: counted, _anonymous: None }))
    }

    fn register_anonymous(&self, remote: SocketAddr) -> Result<(Registration<A>, Room), ConnectionRefusal> {
        if !self.settings.anonymous {
            return Err(ConnectionRefusal::NoCertificate);
        }
        let full = |share: Share| ConnectionRefusal::TooManyConnections { share, presented: None };
        let registration = self.registry.register(remote, None).map_err(|_| ConnectionRefusal::NoCertificate)?;
        // First its place among strangers: who makes room there leaves a connection to be counted.
        let place = self.anonymous.take_for(Some(remote.ip()), Arc::clone(registration.switch()));
        let counted = self.quota.count(None).map_err(full)?;
        Ok((registration, Room { _counted: counted, _anonymous: Some(place) }))
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
        Some(rustls::Error::NoApplicationProtocol) => ConnectionRefusal::NoCommonProtocol,
        _ => ConnectionRefusal::Handshake(error),
    }
}
