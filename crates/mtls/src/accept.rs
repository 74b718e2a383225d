//! The accept loop: it takes whatever comes, and each connection gets a task of its own, so that a slow or hostile one
//! holds up nobody.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use rustls::ServerConfig;
use signet_core::{Cidr, cidr::source_of};
use signet_x509::Environment;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::{Instant, interval, sleep},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use crate::{
    backoff::Backoff,
    bans::{BanSettings, Bans},
    budget::{Budget, Place},
    connection::Connection,
    goodbye,
    observer::{ConnectionObserver, ConnectionRefusal},
    quota::Quota,
    registry::Registry,
    server_cert::ServerCertificate,
    throttle::{Rate, Throttle},
    tls::{provider, server_config},
    turns::Turns,
    verify::ClientVerifier,
};

/// How connections are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptSettings {
    /// From the opening of the connection to its whole ClientHello, PROXY header included.
    pub hello_timeout: Duration,
    /// From the opening of the connection to the end of the TLS handshake.
    pub handshake_timeout: Duration,
    /// Handshakes under way at once, an eighth of them of one source, whose others wait for their turn: at most half a
    /// second, if those before them are silent. Four times as many connections may be open that have not sent their
    /// ClientHello, a quarter of them of one source. When either is full, the oldest silent one of the network (/48,
    /// /24) that has the most is closed.
    pub max_handshakes: usize,
    /// Connections open at once: a principal gets an eighth, a tenant as many as it leaves free, and the last
    /// sixteenth is for tenant `system`.
    pub max_connections: usize,
    /// Of these, connections without a certificate: strangers must not take the places of those we know. One source
    /// gets an eighth; the oldest is closed for a newer one.
    pub max_anonymous: usize,
    /// Connections per source address.
    pub rate: Rate,
    /// When sources are closed at once, since their handshakes fail.
    pub bans: BanSettings,
    /// Networks of balancers, which are never banned: those must send a PROXY version 2 header, all others must not.
    pub proxies: Vec<Cidr>,
    /// Whether clients without a certificate are taken, to enroll.
    pub anonymous: bool,
    /// Whether HTTP is spoken: else what clients ask for by ALPN is not looked at.
    pub http: bool,
    /// Whether to refuse every key exchange but the post-quantum hybrids (X25519MLKEM768, SecP256r1MLKEM768).
    pub require_pq_kex: bool,
}

impl Default for AcceptSettings {
    fn default() -> Self {
        let rate = |per_second| NonZeroU32::new(per_second).unwrap_or(NonZeroU32::MIN);
        Self {
            hello_timeout: Duration::from_secs(2),
            handshake_timeout: Duration::from_secs(10),
            max_handshakes: 256,
            max_connections: 10_000,
            max_anonymous: 2500,
            rate: Rate { per_second: rate(50), burst: rate(200) },
            bans: BanSettings::default(),
            proxies: Vec::new(),
            anonymous: false,
            http: true,
            require_pq_kex: false,
        }
    }
}

/// Connections ready for tonic's `serve_with_incoming_shutdown`. It never yields an error.
pub type Incoming<A> = ReceiverStream<io::Result<Connection<A>>>;

/// Connections that wait for tonic to take them.
const READY: usize = 64;
const UPKEEP: Duration = Duration::from_secs(60);

/// Takes connections: address, handshake, identity, registration. Shared by a node's listeners.
pub struct Acceptor<A: Send + Sync + 'static> {
    pub(crate) settings: AcceptSettings,
    pub(crate) tls: Arc<ServerConfig>,
    pub(crate) verifier: Arc<ClientVerifier>,
    pub(crate) registry: Arc<Registry<A>>,
    pub(crate) observer: Arc<dyn ConnectionObserver>,
    pub(crate) throttle: Throttle,
    pub(crate) bans: Bans,
    /// Connections without a ClientHello yet, and those that still read why they were refused.
    pub(crate) pending: Arc<Budget>,
    pub(crate) turns: Arc<Turns>,
    pub(crate) handshakes: Arc<Budget>,
    pub(crate) quota: Arc<Quota>,
    pub(crate) anonymous: Arc<Budget>,
}

impl<A: Send + Sync + 'static> Acceptor<A> {
    /// An acceptor that shows `certificate` and knows clients by the registry's trust and clock.
    pub fn new(
        settings: AcceptSettings,
        environment: Environment,
        certificate: Arc<ServerCertificate>,
        registry: Arc<Registry<A>>,
        observer: Arc<dyn ConnectionObserver>,
    ) -> Result<Arc<Self>, rustls::Error> {
        let trust = Arc::clone(registry.trust());
        let verifier = Arc::new(ClientVerifier::new(environment, trust, provider(), settings.anonymous));
        let clock = Arc::clone(registry.clock());
        let mut config = server_config(Arc::clone(&verifier), certificate, clock, settings.require_pq_kex)?;
        if !settings.http {
            config.alpn_protocols.clear();
        }
        let AcceptSettings { max_handshakes, max_connections, max_anonymous, rate, .. } = settings;
        Ok(Arc::new(Self {
            tls: Arc::new(config),
            verifier,
            registry,
            observer,
            throttle: Throttle::new(rate),
            bans: Bans::new(settings.bans.clone(), &settings.proxies),
            pending: Budget::new(max_handshakes.saturating_mul(4), max_handshakes),
            turns: Turns::new(max_handshakes / 8),
            handshakes: Budget::new(max_handshakes, max_handshakes),
            quota: Quota::new(max_connections),
            anonymous: Budget::new(max_anonymous, max_anonymous / 8),
            settings,
        }))
    }

    /// Takes connections from `listener` until `shutdown`; then the listener is closed, and open connections go on.
    pub fn listen(self: Arc<Self>, listener: TcpListener, shutdown: CancellationToken) -> Incoming<A> {
        let (ready, incoming) = mpsc::channel(READY);
        tokio::spawn(async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = ready.closed() => {}
                () = self.run(&listener, ready.clone()) => {}
            }
        });
        ReceiverStream::new(incoming)
    }

    async fn run(self: &Arc<Self>, listener: &TcpListener, ready: mpsc::Sender<io::Result<Connection<A>>>) {
        let mut backoff = Backoff::default();
        let mut upkeep = interval(UPKEEP);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = upkeep.tick() => {
                    self.throttle.forget_idle();
                    continue;
                }
            };
            match accepted {
                Ok((stream, socket)) => {
                    backoff.reset();
                    let place = self.pending.take((!self.is_proxy(socket)).then_some(socket.ip()));
                    tokio::spawn(Arc::clone(self).welcome(stream, socket, place, ready.clone()));
                    if self.throttle.is_crowded() {
                        self.throttle.forget_idle();
                    }
                }
                Err(error) => {
                    if let Some(pause) = backoff.after(&error) {
                        self.observer.accept_failed(&error);
                        sleep(pause).await;
                    }
                }
            }
        }
    }
}

impl<A: Send + Sync + 'static> Acceptor<A> {
    fn count_failed(&self, address: IpAddr, refusal: &ConnectionRefusal) {
        let Some(reason) = refusal.ban_reason() else { return };
        // What this node has not heard of may be good.
        if !self.registry.trust().is_stale() && self.bans.count(address, Instant::now()) {
            self.observer.banned(source_of(address), reason);
        }
    }

    async fn welcome(
        self: Arc<Self>,
        stream: TcpStream,
        socket: SocketAddr,
        place: Place,
        ready: mpsc::Sender<io::Result<Connection<A>>>,
    ) {
        match self.establish(stream, socket, place).await {
            // An error means that the server stopped; the connection is closed by its drop.
            Ok(connection) => drop(ready.send(Ok(connection)).await),
            Err(failed) => {
                self.observer.refused(failed.remote, &failed.refusal);
                self.count_failed(failed.remote.ip(), &failed.refusal);
                let Some(rest) = failed.rest else { return };
                let place = self.pending.take(Some(failed.remote.ip()));
                tokio::select! {
                    () = goodbye::say(rest, failed.refusal.reason()) => {}
                    () = place.evicted() => {}
                }
            }
        }
    }
}

impl<A: Send + Sync + 'static> fmt::Debug for Acceptor<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").field("settings", &self.settings).finish_non_exhaustive()
    }
}
