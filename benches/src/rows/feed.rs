//! The feed beside a storm of revocations whose commits take 15 ms, and a node's start among ten thousand tenants; on
//! SQLite, and on a DynamoDB that scripts/bench was given.

use std::{path::Path, sync::Arc, time::Instant};

use futures::{StreamExt, TryStreamExt, stream};
use signet_app::{App, Follower, IssuedLeaf, certificates::issuance, principals, tenants};
use signet_core::{
    CaId, Identity, Lifetime, PrincipalType, Store, TenantId, TenantScope,
    authorities::Ca,
    certificates::RevocationReason,
    store::{
        Body, Query, Table,
        commit::{Commit, Write},
        scope::Housekeeper,
    },
    tenants::Tenant,
    trust::{Trust, WhenStale},
};
use signet_dynamodb::DynamoStore;
use signet_mtls::system_uptime;
use tempfile::TempDir;
use tokio::{
    runtime::Builder,
    time::{Duration, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Result, Scale,
    clock::now,
    measure::{Spread, percentile},
    report::{Budget, Row},
    rows::revocation::{operator, revoke},
    shop::{Shop, call, new_tenant, new_worker},
    slow::SlowStore,
};

const LATENCY: Duration = Duration::from_millis(15);
const REVOCATIONS: usize = 6000;
const AT_ONCE: usize = 512;
const TENANTS: usize = 10_000;

pub(crate) fn rows(state: &Path, dynamodb: Option<&str>, scale: Scale) -> Result<Vec<Row>> {
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let folder = TempDir::new_in(state)?;
    let sqlite: Arc<dyn Store> = Arc::new(signet_sqlite::SqliteStore::open(&folder.path().join("store"))?);
    let dynamodb = dynamodb.map(|prefix| runtime.block_on(tables(prefix)));
    let mut rows = Vec::new();
    for (name, store) in [("SQLite", Some(sqlite)), ("DynamoDB", dynamodb)] {
        if let Some(store) = store {
            rows.extend(runtime.block_on(measure(name, folder.path(), store, scale))?);
        }
    }
    Ok(rows)
}

async fn tables(prefix: &str) -> Arc<dyn Store> {
    let aws = aws_config::load_from_env().await;
    Arc::new(DynamoStore::new(&aws, prefix, signet_dynamodb::Limits::default()))
}

async fn measure(name: &str, folder: &Path, store: Arc<dyn Store>, scale: Scale) -> Result<Vec<Row>> {
    let store = Arc::new(SlowStore::new(store));
    let shared = || Arc::<SlowStore>::clone(&store) as Arc<dyn Store>;
    let shop = Arc::new(Shop::over(shared(), &folder.join(name), Duration::ZERO).await?);
    let (count, tenants) = (scale.of(REVOCATIONS), scale.of(TENANTS));
    let workers = shop.workers("w", count).await?;
    let leaves: Vec<IssuedLeaf> =
        stream::iter(&workers).map(|worker| shop.issue(worker)).buffer_unordered(32).try_collect().await?;
    let other = Housekeeper::appoint().tenant(&"globex".parse()?);
    tenants::create_tenant(
        &shop.app,
        &call("CreateTenant", None)?,
        &Housekeeper::appoint().environment(),
        new_tenant("globex")?,
    )
    .await?;

    store.take(LATENCY);
    let storm = tokio::spawn(storm(Arc::clone(&shop), leaves));
    let node = Shop::app_over(shared(), &folder.join(name), Duration::ZERO)?;
    let waits = suspensions(&Arc::new(node), &other, || storm.is_finished()).await?;
    let rate = storm.await??;
    store.take(Duration::ZERO);

    multiply(&*store, tenants).await?;
    let mut started = Vec::new();
    for _ in 0..3 {
        let began = Instant::now();
        let app = Arc::new(Shop::app_over(shared(), &folder.join(name), Duration::ZERO)?);
        let trust = Arc::new(Trust::new(Lifetime::seconds(30), WhenStale::Refuse, system_uptime));
        Follower::new(app, Arc::clone(&trust)).poll(now()).await?;
        started.push(began.elapsed().as_secs_f64());
        if trust.tenants().len() < tenants {
            return Err("not all tenants are known".into());
        }
    }
    Ok(vec![
        Row::alone(format!("{name}: revocations of one tenant, 15 ms a call"), "/s", Spread::exactly(rate))
            .budget(Budget::AtLeast(2000.0))
            .note(format!("{count} on one node, {AT_ONCE} at once")),
        Row::alone(
            format!("{name}: another tenant's suspension beside them until a node refuses: longest"),
            "ms",
            Spread::exactly(percentile(&waits, 1.0)),
        )
        .budget(Budget::AtMost(1000.0))
        .note(format!(
            "{} on a second node, heard by a third; p50 {:.0} ms",
            waits.len(),
            percentile(&waits, 0.5)
        )),
        Row::alone(format!("{name}: a node's start with {tenants} tenants"), "s", Spread::of(started))
            .budget(Budget::AtMost(2.0)),
    ])
}

/// Revokes all. Returns how many a second.
async fn storm(shop: Arc<Shop>, leaves: Vec<IssuedLeaf>) -> Result<f64> {
    let (began, count) = (Instant::now(), leaves.len());
    let revocations = stream::iter(leaves).map(|leaf| {
        let shop = Arc::clone(&shop);
        async move { revoke(&shop, &leaf, RevocationReason::CessationOfOperation).await }
    });
    revocations.buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    Ok(count as f64 / began.elapsed().as_secs_f64())
}

/// Suspends and activates one principal until `over`. Returns how long each suspension took to be heard of,
/// milliseconds.
async fn suspensions(app: &Arc<App>, tenant: &TenantScope, over: impl Fn() -> bool) -> Result<Vec<f64>> {
    let trust = Arc::new(Trust::new(Lifetime::seconds(30), WhenStale::Refuse, system_uptime));
    let mut follower = Follower::new(Arc::clone(app), Arc::clone(&trust));
    follower.poll(now()).await?;
    let stop = CancellationToken::new();
    tokio::spawn(follower.run(now, stop.clone()));
    let (id, permit) = ("suspended".parse()?, operator("principals.suspend", "SuspendPrincipal")?);
    let input = new_worker("suspended")?;
    principals::create_principal(app, &call("CreatePrincipal", None)?, tenant, input).await?;
    let request = signet_x509::KeyAndCsr::generate()?;
    let leaf = issuance::issue_certificate(app, &call("IssueCertificate", Some("one"))?, tenant, &id, &request.csr_der)
        .await?;
    let holder = Identity {
        tenant: tenant.tenant().clone(),
        principal: id.clone(),
        principal_type: PrincipalType::Worker,
        roles: Arc::new([]),
        issuer: leaf.certificate.issuer.clone(),
        serial: leaf.certificate.serial,
        not_before: now(),
        not_after: now().plus(Lifetime::hours(1)),
        spki_sha256: [0; 32],
        certificate_sha256: [0; 32],
    };
    let mut waits = Vec::new();
    while !over() {
        let began = Instant::now();
        principals::suspend_principal(app, &call("SuspendPrincipal", None)?, &permit, tenant, &id).await?;
        while trust.admit(&holder, now()).is_ok() {
            sleep(Duration::from_millis(1)).await;
        }
        waits.push(began.elapsed().as_secs_f64() * 1e3);
        principals::activate_principal(app, &call("ActivatePrincipal", None)?, &permit, tenant, &id).await?;
        while trust.admit(&holder, now()).is_err() {
            sleep(Duration::from_millis(1)).await;
        }
    }
    stop.cancel();
    Ok(waits)
}

/// Many tenants like `globex`, each with a CA.
async fn multiply(store: &dyn Store, count: usize) -> Result<()> {
    let page = store.query(&Query::table(Table::Tenants, "globex"), now()).await?;
    let all: Vec<usize> = (0..count).collect();
    let batches = all.chunks(40).map(|numbers| {
        let mut commit = Commit::bookkeeping(now());
        for number in numbers {
            for record in &page.records {
                let id: TenantId = format!("t-{number}").parse()?;
                commit = match record.value.clone() {
                    Body::Tenant(tenant) => commit.write(Write::create(Tenant { id, ..tenant })),
                    Body::Ca(ca) => {
                        let own = CaId::new(id.as_str(), 1)?;
                        commit.write(Write::create(Ca { id: own, tenant: id, ..ca }))
                    }
                    _ => commit,
                };
            }
        }
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(commit.to_transaction(None))
    });
    for transaction in batches {
        store.transact(transaction?).await?;
    }
    Ok(())
}
