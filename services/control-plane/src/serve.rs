//! A running node: listeners up, work started, and all of it ended in order.

use std::{
    net::SocketAddr,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64},
    },
    time::Duration,
};

use signet_app::Follower;
use signet_core::{Cidr, Clock, Entropy, Lifetime, authorization::Policy, trust::Trust};
use signet_mtls::{AcceptSettings, Ages, BanSettings, ClientVerifier, Rate, provider, system_uptime};
use tokio::{net::TcpListener, sync::Notify, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    asked::Asked,
    authorization::Table,
    bans::{BanLog, BanWriter},
    bundles::Bundles,
    certificate::Certificate,
    config::{Config, Limits},
    decisions::{Added, Decisions},
    endpoint::Endpoint,
    failures::{OffenderQueue, Offenders},
    grpc,
    issuer::TokenIssuer,
    lists::Lists,
    metrics::Metrics,
    node::{Node, Registry, Rights},
    ocsp::{Ocsp, Wanted},
    plain,
    receivers::IdleReceivers,
    refusals::{Refusals, Writer},
    serve_error::ServeError,
    shares::Shares,
    shutdown,
    strangers::AnonymousLimits,
    unrecorded::{Looker, Lookups, Queue},
    upkeep::{self, certificate::Keeper, lists::Keeper as ListKeeper, suspensions},
    wiring::Wired,
};

/// How long the start waits for the store; after that the node is up and says why it is not ready.
const FIRST_LOOK: Duration = Duration::from_secs(5);

/// The ports, open.
pub(crate) struct Listeners {
    pub(crate) grpc: TcpListener,
    pub(crate) public: TcpListener,
    pub(crate) health: Option<TcpListener>,
    pub(crate) metrics: TcpListener,
}

impl Listeners {
    pub(crate) async fn open(config: &Config) -> Result<Self, ServeError> {
        let open = |key, address: SocketAddr| async move {
            let refused = |error: std::io::Error| ServeError::Listen { key, address, problem: error.to_string() };
            TcpListener::bind(address).await.map_err(refused)
        };
        Ok(Self {
            grpc: open("listen.grpc", config.listen.grpc).await?,
            public: open("listen.public", config.listen.public).await?,
            health: match config.listen.health {
                Some(address) => Some(open("listen.health", address).await?),
                None => None,
            },
            metrics: open("listen.metrics", config.listen.metrics).await?,
        })
    }
}

/// A node that serves.
#[derive(Debug)]
pub struct Running {
    /// Where gRPC is.
    pub grpc_addr: SocketAddr,
    /// Where health and public material are.
    pub public_addr: SocketAddr,
    /// Where health alone is, if anywhere.
    pub health_addr: Option<SocketAddr>,
    /// Where metrics are.
    pub metrics_addr: SocketAddr,
    /// Notify it to look for a new server certificate now.
    pub reload: Arc<Notify>,
    trust: Arc<Trust>,
    ended: tokio::task::JoinHandle<Result<(), ServeError>>,
}

impl Running {
    /// What an operator does to the node while it runs, also during an outage of the store.
    pub fn reloader(&self) -> Reloader {
        Reloader { reload: Arc::clone(&self.reload), trust: Arc::clone(&self.trust) }
    }

    /// Waits for the node's end; an error if nobody had asked for it.
    pub async fn ended(self) -> Result<(), ServeError> {
        self.ended.await.unwrap_or_else(|error| Err(ServeError::Ended(error.to_string())))
    }
}

/// Applies a configuration that was read again to a running node.
#[derive(Clone, Debug)]
pub struct Reloader {
    reload: Arc<Notify>,
    trust: Arc<Trust>,
}

impl Reloader {
    /// Looks for a new server certificate, and does as `trust.when_stale` of `config` says; everything else waits for a
    /// restart. `None`: the configuration could not be read, so that what was chosen before holds.
    pub fn reload(&self, config: Option<&Config>) {
        self.reload.notify_one();
        let Some(when_stale) = config.map(|config| config.trust.when_stale) else { return };
        if when_stale != self.trust.when_stale() {
            tracing::warn!(?when_stale, "trust.when_stale was changed by the operator");
            self.trust.set_when_stale(when_stale);
        }
    }
}

/// Serves until `shutdown`, then drains. Returns once the listeners are open and the node knows what it can know.
pub async fn serve(
    config: Config,
    wired: Wired,
    shutdown: CancellationToken,
    clock: Clock,
) -> Result<Running, ServeError> {
    // A store that does not answer in time is away, which is no reason not to start.
    if let Ok(found) = timeout(FIRST_LOOK, wired.find_root(clock())).await
        && !found?
    {
        tracing::warn!("the store has no root yet: not ready until `principal bootstrap` has run");
    }
    if let Ok(Ok(warnings)) = timeout(FIRST_LOOK, wired.tenants_around_servers(clock())).await {
        warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    }
    let listeners = Listeners::open(&config).await?;
    let address = |listener: &TcpListener| listener.local_addr().map_err(|error| ServeError::Setup(error.to_string()));
    let (grpc_addr, public_addr, metrics_addr) =
        (address(&listeners.grpc)?, address(&listeners.public)?, address(&listeners.metrics)?);
    let health_addr = listeners.health.as_ref().map(address).transpose()?;
    let trust = Arc::new(Trust::new(config.trust.staleness_limit, config.trust.when_stale, system_uptime));
    let mut follower = Follower::new(Arc::clone(&wired.app), Arc::clone(&trust));
    let (node, queues) = node(&config, &wired, Arc::clone(&trust), &follower, &clock)?;
    // Kept from now on: the look replays what was revoked a moment ago, by a node that may not have put it on its list.
    wired.app.revocations().take();
    first_look(&node, &mut follower).await;
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let reload = Arc::new(Notify::new());
    start_tasks(&node, &wired, (follower, queues.refusals), &tasks, &stop);
    tasks.spawn(suspensions::run(Arc::clone(&node), queues.offenders, stop.clone()));
    if let Some(bans) = queues.bans {
        tasks.spawn(bans.run(stop.clone()));
    }
    let looker = Looker {
        app: Arc::clone(&node.app),
        trust: Arc::clone(&trust),
        clock,
        metrics: Arc::clone(&node.metrics),
        refusals: Arc::clone(&node.refusals),
        when: config.trust.when_unrecorded,
    };
    tasks.spawn(looker.run(queues.lookups, stop.clone()));
    tasks.spawn(upkeep::ocsp::run(Arc::clone(&node.ocsp), queues.ocsp, stop.clone()));
    let plain = (TaskTracker::new(), CancellationToken::new());
    let Listeners { grpc, public, health, metrics } = listeners;
    start_plain(&node, (public, config.listen.proxy_protocol_from.clone()), health, metrics, &plain);
    let keeper = Keeper {
        store: Arc::clone(&wired.server_identity),
        node: Arc::clone(&node),
        names: config.server.clone(),
        look: Arc::clone(&reload),
    };
    let acceptor = settings(&config);
    let server = grpc::Server { node: Arc::clone(&node), keeper, settings: acceptor, tasks: tasks.clone() };
    let ended = tokio::spawn(shutdown::run(server, grpc, shutdown, (tasks, stop), plain));
    tracing::info!(%grpc_addr, %public_addr, ?health_addr, %metrics_addr, environment = config.environment.name, "serving");
    Ok(Running { grpc_addr, public_addr, health_addr, metrics_addr, reload, trust, ended })
}

/// What the node's connections and calls hand on, since they must not wait.
struct Queues {
    refusals: Writer,
    lookups: Queue,
    offenders: OffenderQueue,
    bans: Option<BanWriter>,
    ocsp: Wanted,
}

fn node(
    config: &Config,
    wired: &Wired,
    trust: Arc<Trust>,
    follower: &Follower,
    clock: &Clock,
) -> Result<(Arc<Node>, Queues), ServeError> {
    let policy = Arc::new(Policy::new());
    let table = Table::from_descriptors(signet_proto::DESCRIPTORS, &policy)?;
    let metrics = Arc::new(Metrics::new(&table).map_err(|error| ServeError::Setup(error.to_string()))?);
    let (node_refusals, refusals) = Refusals::new(config.limits.audited_refusals_per_minute, Arc::clone(&metrics));
    let (node_lookups, lookups) = Lookups::new(Arc::clone(&metrics));
    let ban_log = config.bans.log_file.clone().map(|path| BanLog::open(path, &metrics)).transpose()?;
    let (ban_log, ban_writer) = ban_log.map(|(log, writer)| (Arc::new(log), writer)).unzip();
    let (offenders, offender_queue) = Offenders::new(Arc::clone(&metrics));
    let shares = Arc::new(Shares::new(&config.limits));
    let (ocsp, wanted) = Ocsp::new(Arc::clone(&wired.app), Arc::clone(&trust), Arc::clone(clock), config.ocsp.nonce);
    let connections = registry(&config.limits, &trust, (&policy, &shares), &wired.entropy, clock);
    let decisions = Decisions::new(Arc::clone(&trust), Arc::clone(&policy));
    let known = Arc::clone(&trust);
    let node = Node {
        app: Arc::clone(&wired.app),
        bundles: Bundles::new(Arc::clone(&trust)),
        lists: Arc::new(Lists::new(Arc::clone(&wired.app), Arc::clone(&trust), Arc::clone(clock))),
        ocsp,
        trust,
        clock: Arc::clone(clock),
        entropy: Arc::clone(&wired.entropy),
        decisions,
        asked: Asked::default(),
        idle_receivers: IdleReceivers::default(),
        policy,
        table,
        metrics,
        refusals: Arc::new(node_refusals),
        lookups: Arc::new(node_lookups),
        offenders,
        ban_log,
        certificate: Certificate::default(),
        endpoint: Endpoint::new(config.probe.as_ref().map(|probe| probe.endpoint.clone())),
        issuer: TokenIssuer::configured(config),
        connections,
        alone: wired.server_identity.renewed_by_server(),
        verifier: ClientVerifier::new(wired.app.environment().clone(), known, provider(), false),
        epochs: follower.epochs(),
        audit_key_spki_der: wired.audit_key_spki_der.clone(),
        limits: config.limits,
        store_is_full: Arc::clone(&wired.store_is_full),
        spans: config.telemetry.otlp_endpoint.is_some(),
        strangers: AnonymousLimits::new(&config.limits),
        shares,
        full_refusals: AtomicU64::new(0),
        restoring: AtomicBool::new(false),
        draining: AtomicBool::new(false),
        drained: CancellationToken::new(),
    };
    let queues = Queues { refusals, lookups, offenders: offender_queue, bans: ban_writer, ocsp: wanted };
    Ok((Arc::new(node), queues))
}

/// Sessions carry their grants and their account, so that a call looks up and computes nothing.
fn registry(
    limits: &Limits,
    trust: &Arc<Trust>,
    (policy, shares): (&Arc<Policy>, &Arc<Shares>),
    entropy: &Arc<dyn Entropy>,
    clock: &Clock,
) -> Arc<Registry> {
    let (policy, shares) = (Arc::clone(policy), Arc::clone(shares));
    let grant: signet_mtls::Authorize<_> = Arc::new(move |identity, roles| Rights {
        grants: policy.grants(&identity.tenant, identity.principal_type, roles),
        added: Added::default(),
        account: shares.account(&identity.tenant, &identity.principal),
    });
    let lifetime = |time: Duration| Lifetime::seconds(u32::try_from(time.as_secs()).unwrap_or(u32::MAX));
    let ages = Ages {
        // GOAWAY comes at the age itself (see `grpc`); streams are ended some time after it.
        max_age: lifetime(limits.max_connection_age + grpc::AFTER_GOAWAY),
        jitter: lifetime(limits.max_connection_age / 6),
        ..Ages::default()
    };
    Registry::new(Arc::clone(trust), Arc::clone(clock), Arc::clone(entropy), grant, ages)
}

fn settings(config: &Config) -> AcceptSettings {
    let rate = NonZeroU32::new(config.limits.handshakes_per_second_per_address).unwrap_or(NonZeroU32::MIN);
    let burst = rate.saturating_mul(NonZeroU32::MIN.saturating_add(3));
    AcceptSettings {
        handshake_timeout: config.limits.handshake_timeout,
        max_handshakes: config.limits.max_handshakes,
        max_connections: config.limits.max_connections,
        max_anonymous: (config.limits.max_connections / 4).max(1),
        rate: Rate { per_second: rate, burst },
        bans: BanSettings {
            failures: config.bans.failed_handshakes,
            window: config.bans.window,
            duration: config.bans.duration,
            exempt: config.bans.exempt.clone(),
        },
        proxies: config.listen.proxy_protocol_from.clone(),
        anonymous: config.authorization.anonymous_enrollment,
        require_pq_kex: config.listen.require_pq_kex,
        ..AcceptSettings::default()
    }
}

/// Loads what is trusted. A store that is away is no reason not to start: the node says that it is not ready.
async fn first_look(node: &Arc<Node>, follower: &mut Follower) {
    let now = node.now();
    let look = async { tokio::join!(follower.poll(now), upkeep::first_roots(node, &node.app, now)).0 };
    match timeout(FIRST_LOOK, look).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(?error, "the changes feed cannot be read yet"),
        Err(_) => tracing::warn!("the store does not answer yet"),
    }
}

fn start_tasks(
    node: &Arc<Node>,
    wired: &Wired,
    (follower, writer): (Follower, Writer),
    tasks: &TaskTracker,
    stop: &CancellationToken,
) {
    let clock = Arc::clone(&node.clock);
    tasks.spawn(follower.run(move || clock(), stop.clone()));
    tasks.spawn(ListKeeper::new(Arc::clone(&node.lists), Arc::clone(&node.entropy)).run(stop.clone()));
    tasks.spawn(Arc::clone(&node.connections).run(node.epochs.clone(), stop.clone()));
    tasks.spawn(writer.run(Arc::clone(&node.app), stop.clone()));
    upkeep::start(node, wired.audit_key.clone(), tasks, stop);
}

fn start_plain(
    node: &Arc<Node>,
    (public, balancers): (TcpListener, Vec<Cidr>),
    health: Option<TcpListener>,
    metrics: TcpListener,
    (tasks, stop): &(TaskTracker, CancellationToken),
) {
    tasks.spawn(plain::serve_public(Arc::clone(node), public, balancers, stop.clone()));
    if let Some(health) = health {
        tasks.spawn(plain::serve_health(Arc::clone(node), health, stop.clone()));
    }
    tasks.spawn(plain::serve_metrics(Arc::clone(node), metrics, stop.clone()));
}
