//! The accept loop: each connection gets a task of its own, so that a slow or hostile one holds up nobody.

use std::{fmt, io, num::NonZeroU32, sync::Arc, time::Duration};

use signet_core::Cidr;
use signet_x509::Environment;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, mpsc},
    time::{interval, sleep},
};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use crate::{
    backoff::Backoff,
    connection::Connection,
    establish::linger,
    observer::ConnectionObserver,
    registry::Registry,
    server_cert::ServerCertificate,
    throttle::{Rate, Throttle},
    tls::{provider, server_config},
    verify::ClientVerifier,
};

/// How connections are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// From the first byte to the end of the TLS handshake, PROXY header included.
    pub handshake_timeout: Duration,
    /// Handshakes under way at once; more wait in the kernel's backlog.
    pub max_handshakes: usize,
    /// Connections open at once; more are closed.
    pub max_connections: usize,
    /// Of these, connections without a certificate: strangers must not take the places of those we know.
    pub max_anonymous: usize,
    /// Connections per source address.
    pub rate: Rate,
    /// Networks of balancers: those must send a PROXY version 2 header, all others must not.
    pub proxies: Vec<Cidr>,
    /// Whether clients without a certificate are taken, to enroll.
    pub anonymous: bool,
}

impl Default for Settings {
    fn default() -> Self {
        let rate = |per_second| NonZeroU32::new(per_second).unwrap_or(NonZeroU32::MIN);
        Self {
            handshake_timeout: Duration::from_secs(5),
            max_handshakes: 1024,
            max_connections: 16_384,
            max_anonymous: 1024,
            rate: Rate { per_second: rate(50), burst: rate(200) },
            proxies: Vec::new(),
            anonymous: false,
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
    pub(crate) settings: Settings,
    pub(crate) tls: TlsAcceptor,
    pub(crate) verifier: Arc<ClientVerifier>,
    pub(crate) registry: Arc<Registry<A>>,
    pub(crate) observer: Arc<dyn ConnectionObserver>,
    pub(crate) throttle: Throttle,
    pub(crate) places: Arc<Semaphore>,
    pub(crate) anonymous_places: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
}

impl<A: Send + Sync + 'static> Acceptor<A> {
    /// An acceptor that shows `certificate` and knows clients by the registry's trust and clock.
    pub fn new(
        settings: Settings,
        environment: Environment,
        certificate: Arc<ServerCertificate>,
        registry: Arc<Registry<A>>,
        observer: Arc<dyn ConnectionObserver>,
    ) -> Result<Arc<Self>, rustls::Error> {
        let trust = Arc::clone(registry.trust());
        let verifier = Arc::new(ClientVerifier::new(environment, trust, provider(), settings.anonymous));
        let config = server_config(Arc::clone(&verifier), certificate, Arc::clone(registry.clock()))?;
        Ok(Arc::new(Self {
            tls: TlsAcceptor::from(Arc::new(config)),
            verifier,
            registry,
            observer,
            throttle: Throttle::new(settings.rate),
            places: Arc::new(Semaphore::new(settings.max_connections)),
            anonymous_places: Arc::new(Semaphore::new(settings.max_anonymous)),
            handshakes: Arc::new(Semaphore::new(settings.max_handshakes)),
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
            // Closed never: nobody closes the semaphore.
            let Ok(permit) = Arc::clone(&self.handshakes).acquire_owned().await else { return };
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
                    let (this, ready) = (Arc::clone(self), ready.clone());
                    tokio::spawn(async move {
                        match this.establish(stream, socket).await {
                            // An error means that the server stopped; the connection is closed by its drop.
                            Ok(connection) => drop(ready.send(Ok(connection)).await),
                            Err(failed) => {
                                this.observer.refused(failed.remote, &failed.refusal);
                                linger(failed.stream).await;
                            }
                        }
                        drop(permit);
                    });
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

impl<A: Send + Sync + 'static> fmt::Debug for Acceptor<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").field("settings", &self.settings).finish_non_exhaustive()
    }
}
