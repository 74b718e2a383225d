//! The running gateway: what it listens on, and the tasks behind.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use signet_client::{Directory, Enrollment, Identity, JoinToken, system_clock};
use signet_mtls::ConnectionObserver;
use tokio::{net::TcpListener, time::interval};
use tokio_stream::StreamExt as _;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    audit::Audit,
    ban_log::BanLog,
    config::{Config, L4Config},
    entropy::SystemEntropy,
    front::Front,
    keys::Keys,
    l4::{self, Relay},
    metrics::Metrics,
    observer::Observer,
    private::{self, Private},
    serve::converse,
    shared::{Live, Shared},
    tokens::{OwnTokens, Verifier},
};

/// Between two looks at what nobody uses any more.
const UPKEEP: Duration = Duration::from_secs(60);

/// A running gateway.
pub struct Gateway {
    shared: Arc<Shared>,
    identity: Identity,
    front: Arc<Front>,
    /// What it was started with: all that needs a restart is still so.
    config: Config,
    https: SocketAddr,
    private: Option<SocketAddr>,
    l4: Vec<SocketAddr>,
    /// Ends connections.
    stop: CancellationToken,
    connections: TaskTracker,
    /// Ends what serves them, afterwards.
    end: CancellationToken,
    tasks: TaskTracker,
}

impl Gateway {
    /// Starts: takes up or enrolls the identity, opens the listeners. An error says what to do.
    pub async fn start(config: Config) -> Result<Self, String> {
        let clock = system_clock();
        let (audit, writer) = Audit::open(config.audit.file.clone(), &clock)?;
        let ban_log = config.bans.log_file.clone().map(BanLog::open).transpose()?;
        let listeners = Listeners::open(&config).await?;
        let identity = identity(&config).await?;
        let entropy = Arc::new(SystemEntropy);
        let front = Arc::new(Front::new(&config, &identity, &clock, Arc::clone(&entropy) as _)?);
        let metrics = Arc::<Metrics>::default();
        let suffix = identity.environment().suffix().clone();
        let observer: Arc<dyn ConnectionObserver> = Arc::new(Observer {
            audit: audit.clone(),
            metrics: Arc::clone(&metrics),
            ban_log,
            suffix: suffix.clone(),
            clock: Arc::clone(&clock),
        });
        let shared = Arc::new(Shared {
            authorizer: identity.authorizer(),
            own_id: identity.status().borrow().spiffe_id.as_str().into(),
            suffix,
            keys: Keys::of(&identity).map_err(|error| format!("the gateway's own key: {error}"))?,
            verifier: Verifier::Own(OwnTokens::default()),
            clock,
            entropy,
            audit,
            metrics,
            live: ArcSwap::from_pointee(Live::new(&config, None)),
        });
        let mut gateway = Self {
            shared,
            identity,
            front,
            https: address(&listeners.https)?,
            private: listeners.private.as_ref().map(address).transpose()?,
            l4: Vec::new(),
            config,
            stop: CancellationToken::new(),
            connections: TaskTracker::new(),
            end: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        gateway.tasks.spawn(writer.run(gateway.end.clone()));
        gateway.serve(listeners, &observer)?;
        gateway.follow();
        Ok(gateway)
    }

    /// Where HTTPS is served.
    pub const fn https(&self) -> SocketAddr {
        self.https
    }

    /// Where metrics, health and keys are.
    pub const fn private(&self) -> Option<SocketAddr> {
        self.private
    }

    /// Where bytes are taken, in the order of the configuration.
    pub fn l4(&self) -> &[SocketAddr] {
        &self.l4
    }

    /// The gateway's own identity.
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    fn serve(&mut self, listeners: Listeners, observer: &Arc<dyn ConnectionObserver>) -> Result<(), String> {
        let acceptor = self.front.acceptor(&self.config, &self.identity, Arc::clone(observer), true)?;
        let mut incoming = acceptor.listen(listeners.https, self.stop.clone());
        let (shared, stop, connections) = (Arc::clone(&self.shared), self.stop.clone(), self.connections.clone());
        self.tasks.spawn(async move {
            while let Some(Ok(connection)) = incoming.next().await {
                connections.spawn(converse(Arc::clone(&shared), connection, stop.clone()));
            }
        });
        for (config, listener) in listeners.l4 {
            self.l4.push(address(&listener)?);
            let relay = Arc::new(Relay::new(config));
            let acceptor = self.front.acceptor(&self.config, &self.identity, Arc::clone(observer), false)?;
            let mut incoming = acceptor.listen(listener, self.stop.clone());
            let (shared, stop, connections) = (Arc::clone(&self.shared), self.stop.clone(), self.connections.clone());
            self.tasks.spawn(async move {
                while let Some(Ok(connection)) = incoming.next().await {
                    connections.spawn(l4::carry(Arc::clone(&shared), Arc::clone(&relay), connection, stop.clone()));
                }
            });
        }
        if let Some(listener) = listeners.private {
            let private = Private { shared: Arc::clone(&self.shared), identity: self.identity.clone() };
            self.tasks.spawn(private::serve(listener, private, self.end.clone()));
        }
        Ok(())
    }

    fn follow(&self) {
        let (front, identity, shared) = (Arc::clone(&self.front), self.identity.clone(), Arc::clone(&self.shared));
        let files = self.config.listen.certificate.clone();
        let end = self.end.clone();
        self.tasks.spawn(Arc::clone(&self.front.registry).run(self.front.epochs(), end.clone()));
        self.tasks.spawn(async move {
            tokio::select! {
                () = end.cancelled() => {}
                () = front.follow(&identity, &shared.authorizer) => {}
                () = renewals(&front, &identity, &shared, files.is_none()) => {}
                () = upkeep(&shared) => {}
            }
        });
    }

    /// Takes over another configuration; connections and requests go on. What needs a restart stays as it is.
    pub fn reload(&self, config: Config) -> Result<(), String> {
        if config.needs_restart(&self.config) {
            tracing::warn!(
                "state_dir, private, control_plane, identity, listen, bans, audit and l4 need a restart to change"
            );
        }
        if let Some(files) = &self.config.listen.certificate {
            self.front.show(Some(files), &self.identity)?;
        }
        let before = self.shared.live.load_full();
        self.shared.live.store(Arc::new(Live::new(&config, Some(&before))));
        Ok(())
    }

    /// Ends everything in order: no new connections, 15 seconds for requests under way, then the audit log's last
    /// lines.
    pub async fn stop(self) {
        self.stop.cancel();
        self.connections.close();
        self.connections.wait().await;
        self.end.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop.cancel();
        self.end.cancel();
    }
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").field("https", &self.https).finish_non_exhaustive()
    }
}

/// Each renewal brings another key.
async fn renewals(front: &Front, identity: &Identity, shared: &Shared, shows_own: bool) {
    let mut status = identity.status();
    let mut serial = status.borrow().facts.serial_number.clone();
    while status.changed().await.is_ok() {
        let now = status.borrow_and_update().facts.serial_number.clone();
        if now == serial {
            continue;
        }
        serial = now;
        let renewed = shared.keys.renew(identity, shared.now()).map_err(|error| error.to_string());
        let shown = if shows_own { front.show(None, identity) } else { Ok(()) };
        match renewed.and(shown) {
            Ok(()) => tracing::info!(serial, "the gateway's certificate was renewed"),
            Err(error) => tracing::error!(error, "the gateway's new certificate is not used"),
        }
    }
}

async fn upkeep(shared: &Shared) {
    let mut ticks = interval(UPKEEP);
    loop {
        ticks.tick().await;
        shared.live.load().limits.forget_idle();
        shared.verifier.forget_idle();
    }
}

async fn identity(config: &Config) -> Result<Identity, String> {
    let mut settings = config.control_plane.clone();
    settings.storage = Arc::new(Directory::new(&config.state_dir));
    settings.follow_bundle = true;
    let loaded = Identity::load(settings.clone()).await;
    let loaded = loaded.map_err(|error| format!("state_dir = {:?}: {error}", config.state_dir))?;
    let identity = match (loaded, &config.join_token_file) {
        (Some(identity), _) => identity,
        (None, Some(path)) => {
            let proof = JoinToken::read(path).map_err(|error| format!("identity.join_token_file: {error}"))?;
            let principal_id = config.principal.as_ref().map(ToString::to_string);
            let enrollment = Enrollment { proof: Arc::new(proof), tenant_id: None, principal_id };
            Identity::load_or_enroll(settings, &enrollment).await.map_err(|error| format!("enrollment: {error}"))?
        }
        (None, None) => {
            let dir = config.state_dir.display();
            return Err(format!("there is no identity in {dir}: set identity.join_token_file"));
        }
    };
    let id = identity.status().borrow().spiffe_id.clone();
    if id.contains("/service/") {
        Ok(identity)
    } else {
        Err(format!("{id} is no service: only services may be servers and ask about others; enroll a service"))
    }
}

fn address(listener: &TcpListener) -> Result<SocketAddr, String> {
    listener.local_addr().map_err(|error| format!("a listener has no address: {error}"))
}

/// Opened before the join token is used up.
struct Listeners {
    https: TcpListener,
    private: Option<TcpListener>,
    l4: Vec<(L4Config, TcpListener)>,
}

impl Listeners {
    async fn open(config: &Config) -> Result<Self, String> {
        let cannot = |key: &str, address: SocketAddr, error| format!("{key} = \"{address}\" cannot be opened: {error}");
        let https = config.listen.https;
        let https = TcpListener::bind(https).await.map_err(|error| cannot("listen.https", https, error))?;
        let private = match config.private {
            Some(address) => Some(private::open(address).await?),
            None => None,
        };
        let mut l4 = Vec::new();
        for one in &config.l4 {
            let key = format!("l4.{}.listen", one.name);
            let listener = TcpListener::bind(one.listen).await.map_err(|error| cannot(&key, one.listen, error))?;
            l4.push((one.clone(), listener));
        }
        Ok(Self { https, private, l4 })
    }
}
