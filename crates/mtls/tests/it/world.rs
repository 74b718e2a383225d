//! A node's front door on a free port, with everything it tells its observer.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use futures::StreamExt;
use signet_core::{
    Clock, Entropy, Identity, Lifetime, TenantId, Time,
    trust::{
        Trust, WhenStale,
        change::{Change, ChangeEntry},
    },
};
use signet_mtls::{
    AcceptSettings, Acceptor, Ages, Authorize, BanReason, Connection, ConnectionObserver, ConnectionRefusal, Ended,
    Presented, Registry, ServerCertificate, ServerIdentity, provider,
};
use signet_testkit::{
    entropy::SeededEntropy,
    fixtures,
    pki::{Authority, Holder, Pki},
    uptime::TestUptime,
};
use signet_x509::pem;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::watch,
};
use tokio_util::sync::CancellationToken;

/// What the acceptor told its observer.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Accepted { who: Option<String>, resumed: bool },
    Refused { remote: SocketAddr, reason: &'static str, presented: Option<Presented> },
    Banned { source: String, reason: &'static str },
    Closed { ended: Ended },
}

#[derive(Debug, Default)]
pub(crate) struct Recorder(Mutex<Vec<Event>>);

impl Recorder {
    fn push(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.0.lock().unwrap().clone()
    }

    /// Reasons of all refusals so far.
    pub(crate) fn refusals(&self) -> Vec<&'static str> {
        let reason = |event| if let Event::Refused { reason, .. } = event { Some(reason) } else { None };
        self.events().into_iter().filter_map(reason).collect()
    }

    pub(crate) fn endings(&self) -> Vec<Ended> {
        let ended = |event| if let Event::Closed { ended } = event { Some(ended) } else { None };
        self.events().into_iter().filter_map(ended).collect()
    }
}

impl ConnectionObserver for Recorder {
    fn accepted(&self, _: SocketAddr, identity: Option<&Identity>, resumed: bool, _: Duration) {
        let who = identity.map(|identity| format!("{}/{}", identity.tenant, identity.principal));
        self.push(Event::Accepted { who, resumed });
    }
    fn refused(&self, remote: SocketAddr, refusal: &ConnectionRefusal) {
        let presented =
            if let ConnectionRefusal::Certificate { presented, .. } = refusal { Some(presented.clone()) } else { None };
        self.push(Event::Refused { remote, reason: refusal.reason(), presented });
    }
    fn banned(&self, source: IpAddr, reason: BanReason) {
        self.push(Event::Banned { source: source.to_string(), reason: reason.as_str() });
    }
    fn closed(&self, _: SocketAddr, _: Option<&Identity>, ended: Ended) {
        self.push(Event::Closed { ended });
    }
    fn accept_failed(&self, error: &io::Error) {
        panic!("{error}");
    }
}

/// The node's grants in these tests: the roles, joined.
pub(crate) type Roles = String;

pub(crate) struct World {
    pub(crate) pki: Pki,
    pub(crate) acme: Authority,
    pub(crate) globex: Authority,
    pub(crate) trust: Arc<Trust>,
    pub(crate) registry: Arc<Registry<Roles>>,
    pub(crate) observer: Arc<Recorder>,
    pub(crate) certificate: Arc<ServerCertificate>,
    pub(crate) epoch: watch::Sender<u64>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) uptime: TestUptime,
    offset: Arc<AtomicI64>,
}

/// The real time: clients of the wild look at their own clocks.
#[expect(clippy::disallowed_methods, reason = "a test is its own edge")]
pub(crate) fn real_now() -> Time {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Time::from_unix_millis(i64::try_from(since.as_millis()).unwrap())
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with_ages(Ages::default())
    }

    pub(crate) fn with_ages(ages: Ages) -> Self {
        Self::with(ages, Arc::new(SeededEntropy::new(1)))
    }

    pub(crate) fn with(ages: Ages, entropy: Arc<dyn Entropy>) -> Self {
        let pki = Pki::new(real_now());
        let (acme, globex) = (pki.tenant_ca("acme", 1), pki.tenant_ca("globex", 1));
        let uptime = TestUptime::default();
        let trust = Arc::new(Trust::new(Lifetime::minutes(5), WhenStale::Refuse, uptime.clock()));
        for ca in [&acme, &globex] {
            trust.set_tenant(&fixtures::tenant(&ca.ca.tenant), std::slice::from_ref(&ca.ca));
        }
        trust.heard(trust.uptime());
        let offset = Arc::new(AtomicI64::new(0));
        let shift = Arc::clone(&offset);
        let clock: Clock =
            Arc::new(move || Time::from_unix_millis(real_now().unix_millis() + shift.load(Ordering::SeqCst)));
        let grant: Authorize<Roles> = Arc::new(|_, roles| roles.iter().map(|role| format!("{role} ")).collect());
        let registry = Registry::new(Arc::clone(&trust), clock, entropy, grant, ages);
        let certificate = ServerCertificate::new(server_identity(&pki.server_holder()));
        let (epoch, _) = watch::channel(0);
        let (observer, shutdown) = Default::default();
        Self { pki, acme, globex, trust, registry, observer, certificate, epoch, shutdown, uptime, offset }
    }

    pub(crate) fn now(&self) -> Time {
        (self.registry.clock())()
    }

    /// Moves the node's clock.
    pub(crate) fn travel(&self, to: Time) {
        self.offset.store(to.millis_since(real_now()), Ordering::SeqCst);
    }

    /// Starts a listener that greets each client by name and then echoes, and the registry's own task.
    pub(crate) async fn start(&self, settings: AcceptSettings) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = Acceptor::new(
            settings,
            self.pki.environment.clone(),
            Arc::clone(&self.certificate),
            Arc::clone(&self.registry),
            Arc::clone(&self.observer) as Arc<dyn ConnectionObserver>,
        );
        let mut incoming = acceptor.unwrap().listen(listener, self.shutdown.clone());
        let (trust, clock) = (Arc::clone(&self.trust), Arc::clone(self.registry.clock()));
        tokio::spawn(async move {
            while let Some(connection) = incoming.next().await {
                tokio::spawn(greet(connection.unwrap(), Arc::clone(&trust), Arc::clone(&clock)));
            }
        });
        tokio::spawn(Arc::clone(&self.registry).run(self.epoch.subscribe(), self.shutdown.clone()));
        address
    }

    /// Applies a change as the feed does.
    pub(crate) fn change(&self, tenant: &TenantId, change: Change) {
        let now = self.now();
        let entry = ChangeEntry {
            shard: 0,
            sequence: 1,
            tenant: tenant.clone(),
            at: now,
            until: now.plus(Lifetime::days(2)),
            changes: vec![change],
            notices: Vec::new(),
        };
        self.trust.apply(&entry);
        self.epoch.send_replace(self.trust.epoch());
    }

    pub(crate) fn revoke(&self, holder: &Holder) {
        let change = Change::CertificateRevoked { serial: holder.serial, not_after: holder.not_after, issuer: None };
        self.change(&self.acme.ca.tenant, change);
    }
}

async fn greet(mut connection: Connection<Roles>, trust: Arc<Trust>, clock: Clock) -> io::Result<()> {
    let greeting = match &connection.peer().session {
        None => "anonymous\n".to_owned(),
        Some(session) => match session.check(&trust, clock()) {
            Ok(grants) => {
                format!("{}/{} {}\n", session.identity().tenant, session.identity().principal, &*grants)
            }
            Err(refusal) => format!("{}\n", refusal.reason()),
        },
    };
    connection.write_all(greeting.as_bytes()).await?;
    connection.flush().await?;
    let mut buffer = [0; 1024];
    loop {
        let length = connection.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        connection.write_all(&buffer[..length]).await?;
        connection.flush().await?;
    }
}

pub(crate) fn chain_pem(holder: &Holder) -> String {
    holder.chain_der.iter().map(|der| pem::encode_certificate(der)).collect()
}

pub(crate) fn server_identity(holder: &Holder) -> ServerIdentity {
    let key = holder.key.to_pkcs8_pem();
    ServerIdentity::from_pem(&chain_pem(holder), key.as_bytes(), &provider()).unwrap()
}

/// Polls until `done`, at most 5 s.
pub(crate) async fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !done() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
