//! From a revocation to its refusal on three nodes that share one store, on open connections.

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures::{StreamExt, future::join_all};
use rustls::ClientConfig;
use signet_app::{App, Follower, IssuedLeaf, certificates};
use signet_core::{
    Identity, Lifetime, PrincipalId, PrincipalType, TenantId,
    authorization::{CallerTypes, Grants, Permit, Policy, Rule, permit},
    certificates::RevocationReason,
    trust::{Trust, WhenStale},
};
use signet_mtls::{Connection, Session, system_uptime};
use tokio::{io::AsyncReadExt, net::TcpListener, runtime::Builder, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    Result, Scale,
    clock::now,
    front,
    measure::{Spread, percentile},
    pki::{self, client_config, serial},
    report::{Budget, Row},
    shop::{Shop, call},
};

const NODES: usize = 3;
/// Between two revocations: not in step with the nodes' polls.
const PAUSE: Duration = Duration::from_millis(23);
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn rows(state: &Path, scale: Scale) -> Result<Vec<Row>> {
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let (refused, ended) = runtime.block_on(measure(state, scale.of(200)))?;
    let row = |name: &str, waits: &[f64]| {
        let p99 = percentile(waits, 0.99);
        Row::alone(format!("{name}: p99"), "ms", Spread::exactly(p99)).budget(Budget::AtMost(1000.0)).note(format!(
            "{} revocations, from the call to the last node: p50 {:.0} ms, longest {:.0} ms",
            waits.len(),
            percentile(waits, 0.5),
            percentile(waits, 1.0)
        ))
    };
    Ok(vec![
        row("revocation until 3 nodes refuse the next call", &refused),
        row("revocation until 3 nodes end open streams", &ended),
    ])
}

type Sessions = Arc<Mutex<HashMap<PrincipalId, Arc<Session<Grants>>>>>;

/// A node: its own handle on the store, its own trust.
struct Node {
    address: SocketAddr,
    trust: Arc<Trust>,
    sessions: Sessions,
}

async fn measure(state: &Path, count: usize) -> Result<(Vec<f64>, Vec<f64>)> {
    let shop = Shop::open(state, Duration::ZERO).await?;
    let stop = CancellationToken::new();
    let mut nodes = Vec::new();
    for _ in 0..NODES {
        nodes.push(Arc::new(Node::start(&shop, &stop).await?));
    }
    let mut holders = Vec::new();
    for worker in shop.workers("w", count).await? {
        let issued = shop.issue(&worker).await?;
        let config = Arc::new(client_config(&issued.root_der, &issued.chain_der, &worker.key)?);
        for node in &nodes {
            node.hold_open(&config, &worker.id).await?;
        }
        holders.push((worker.id, issued));
    }
    let mut watched = Vec::new();
    for (id, issued) in holders {
        sleep(PAUSE).await;
        let started = Instant::now();
        revoke(&shop, &issued, RevocationReason::KeyCompromise).await?;
        let nodes = nodes.clone();
        watched.push(tokio::spawn(async move {
            let waits = join_all(nodes.iter().map(|node| node.until_refused(&id, started))).await;
            waits.into_iter().collect::<Result<Vec<_>>>()
        }));
    }
    let (mut refused, mut ended) = (Vec::new(), Vec::new());
    for waits in watched {
        let waits = waits.await??;
        refused.push(waits.iter().map(|(refused, _)| *refused).fold(0.0, f64::max));
        ended.push(waits.iter().map(|(_, ended)| *ended).fold(0.0, f64::max));
    }
    stop.cancel();
    Ok((refused, ended))
}

impl Node {
    async fn start(shop: &Shop, stop: &CancellationToken) -> Result<Self> {
        let app = Arc::new(shop.another_node()?);
        let trust = Arc::new(Trust::new(Lifetime::seconds(30), WhenStale::Refuse, system_uptime));
        let mut follower = Follower::new(Arc::<App>::clone(&app), Arc::clone(&trust));
        follower.poll(now()).await?;
        let registry = front::registry(&trust);
        tokio::spawn(Arc::clone(&registry).run(follower.epochs(), stop.clone()));
        tokio::spawn(follower.run(now, stop.clone()));
        let identity = pki::identity_of(&shop.server_chain_der, &shop.server_key)?;
        let acceptor = front::acceptor(app.environment(), identity, registry)?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, sessions) = (listener.local_addr()?, Sessions::default());
        let (mut incoming, known) = (acceptor.listen(listener, stop.clone()), Arc::clone(&sessions));
        tokio::spawn(async move {
            while let Some(Ok(connection)) = incoming.next().await {
                let mut connection: Connection<Grants> = connection;
                if let Some(session) = connection.peer().session.clone() {
                    let id = session.identity().principal.clone();
                    known.lock().unwrap_or_else(PoisonError::into_inner).insert(id, session);
                }
                // Held until it is cut.
                tokio::spawn(async move { connection.read_to_end(&mut Vec::new()).await });
            }
        });
        Ok(Self { address, trust, sessions })
    }

    /// Opens a connection that nobody closes.
    async fn hold_open(&self, config: &Arc<ClientConfig>, id: &PrincipalId) -> Result<()> {
        let mut stream = front::connect(self.address, config).await?;
        tokio::spawn(async move { stream.read_to_end(&mut Vec::new()).await });
        let deadline = Instant::now() + PATIENCE;
        while self.session(id).is_none() {
            if Instant::now() > deadline {
                return Err("a node did not take a connection".into());
            }
            sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    fn session(&self, id: &PrincipalId) -> Option<Arc<Session<Grants>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// Milliseconds until a call would be refused, and until a stream is told to end.
    async fn until_refused(&self, id: &PrincipalId, started: Instant) -> Result<(f64, f64)> {
        let session = self.session(id).ok_or("the connection is gone")?;
        let millis = || started.elapsed().as_secs_f64() * 1e3;
        let refused = async {
            while session.check(&self.trust, now()).is_ok() {
                sleep(Duration::from_millis(1)).await;
            }
            millis()
        };
        let ended = async {
            session.ended().await;
            millis()
        };
        let both = async { tokio::join!(refused, ended) };
        Ok(tokio::time::timeout(PATIENCE, both).await.map_err(|_| "a revocation was not heard of within 10 s")?)
    }
}

pub(crate) async fn revoke(shop: &Shop, issued: &IssuedLeaf, reason: RevocationReason) -> Result<()> {
    let certificate = &issued.certificate;
    let call = call("RevokeCertificate", None)?;
    let permit = operator("certificates.revoke", "RevokeCertificate")?;
    certificates::revoke_certificate(
        &shop.app,
        &call,
        &permit,
        &shop.scope,
        &certificate.issuer,
        &certificate.serial,
        reason,
    )
    .await?;
    Ok(())
}

/// The right of the operator.
pub(crate) fn operator(permission: &str, operation: &str) -> Result<Permit> {
    let identity = Identity {
        tenant: TenantId::system(),
        principal: "admin".parse()?,
        principal_type: PrincipalType::Admin,
        roles: Arc::new([]),
        issuer: "system.1".parse()?,
        serial: serial(),
        not_before: now(),
        not_after: now().plus(Lifetime::hours(1)),
        spki_sha256: [0; 32],
        certificate_sha256: [0; 32],
    };
    let policy = Policy::new();
    let grants = policy.grants(&identity.tenant, identity.principal_type, &identity.roles);
    let permission = policy.permission(permission).ok_or("no such permission")?;
    let callers = CallerTypes::default().with(PrincipalType::Admin);
    let rule = Rule { operation: operation.into(), permission, callers };
    Ok(permit(&Arc::new(identity), &grants, &rule)?)
}
