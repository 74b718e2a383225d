//! A tenant's calls beside another tenant's worker that calls as much as it can.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use signet_client::Credentials;
use signet_proto::v1::{
    CreatePrincipalRequest, CreateTenantRequest, IssueCertificateRequest, ListCertificatesRequest, Principal,
    PrincipalType, Tenant, WhoAmIRequest, certificate_service_client::CertificateServiceClient,
    principal_service_client::PrincipalServiceClient, tenant_service_client::TenantServiceClient,
};
use signet_x509::KeyAndCsr;
use tokio::time::sleep;
use tonic::{Code, transport::Channel};

use crate::{
    Result, Scale,
    measure::{in_turn, percentile},
    node::{Environment, Node},
    report::{Budget, Row},
    server::runtime,
};

/// The storm: so many calls at once on so many connections, each sent again as soon as it was answered, or a while
/// after it was refused.
const CONNECTIONS: usize = 12;
const AT_ONCE: usize = 50;
/// Who was refused waits for this, since the caller runs on the same cores as the node.
const AFTER_REFUSAL: Duration = Duration::from_millis(20);
/// Certificates in the list that the storm reads.
const CERTIFICATES: usize = 50;
/// The other node has heard of a new tenant after that.
const HEARD_AFTER: Duration = Duration::from_secs(1);
/// Between two calls of the quiet tenant: a principal may make 100 a second.
const PAUSE: Duration = Duration::from_millis(12);

pub(crate) fn rows(signetd: &Path, environment: &Environment, rounds: usize, scale: Scale) -> Result<Vec<Row>> {
    let here = runtime()?;
    let count = scale.of(1000);
    let _node = here.block_on(Node::start(signetd, environment))?;
    let beside = environment.beside()?;
    let _other = here.block_on(Node::start(signetd, &beside))?;
    let quiet = here.block_on(worker(environment, "quiet", 1))?;
    let quiet = here.block_on(async {
        // The other node reads a new tenant's CA when the feed tells it to.
        sleep(HEARD_AFTER).await;
        environment.connect_as(&quiet).await
    })?;
    let noisy = Arc::new(here.block_on(worker(environment, "noisy", CERTIFICATES))?);
    let p99 = || here.block_on(calls(&quiet, count)).map(|times| percentile(&times, 0.99));
    let beside_storm = |at: &Environment| {
        let storm = Storm::start(at, &noisy)?;
        let measured = p99();
        storm.end()?;
        measured
    };
    let calm = in_turn(rounds, p99, || beside_storm(environment))?;
    // The storm's callers have the same cores; without them, elsewhere, the node is to be as if it were alone.
    let pair = in_turn(rounds, || beside_storm(&beside), || beside_storm(environment))?;
    Ok(vec![
        Row::pair("a call beside another tenant's storm: p99", "us", &pair).budget(Budget::RatioAtMost(2.0)).note(
            "floor: the same storm on another node of this machine; it is one worker with 600 listings under way",
        ),
        Row::pair("  the same, its callers' share of the machine too", "us", &calm).note("floor: no storm at all"),
    ])
}

/// A worker of a tenant of its own, with so many certificates, of which the last is returned.
async fn worker(environment: &Environment, name: &str, certificates: usize) -> Result<Credentials> {
    let admin = environment.connect().await?;
    let tenant_id = format!("{name}-{}", std::process::id());
    let tenant = Tenant { tenant_id: tenant_id.clone(), max_certificates: 100, ..Tenant::default() };
    let request = CreateTenantRequest { tenant: Some(tenant), request_id: signet_client::request_id() };
    TenantServiceClient::new(admin.clone()).create_tenant(request).await?;
    let principal = Principal {
        tenant_id: tenant_id.clone(),
        principal_id: name.into(),
        principal_type: PrincipalType::Worker.into(),
        ..Principal::default()
    };
    let request = CreatePrincipalRequest { principal: Some(principal), request_id: signet_client::request_id() };
    PrincipalServiceClient::new(admin.clone()).create_principal(request).await?;
    let mut last = None;
    for _ in 0..certificates {
        let KeyAndCsr { key, csr_der } = KeyAndCsr::generate()?;
        let (tenant_id, principal_id) = (tenant_id.clone(), name.to_owned());
        let request =
            IssueCertificateRequest { tenant_id, principal_id, csr_der, request_id: signet_client::request_id() };
        let issued = CertificateServiceClient::new(admin.clone()).issue_certificate(request).await?.into_inner();
        last = Some(Credentials::new(issued.chain_der, issued.root_der, key)?);
    }
    last.ok_or_else(|| "no certificate was asked for".into())
}

/// Microseconds of each call.
async fn calls(channel: &Channel, count: usize) -> Result<Vec<f64>> {
    let mut client = PrincipalServiceClient::new(channel.clone());
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let started = Instant::now();
        client.who_am_i(WhoAmIRequest {}).await?;
        times.push(started.elapsed().as_secs_f64() * 1e6);
        sleep(PAUSE).await;
    }
    Ok(times)
}

/// Ended by [`Self::end`].
struct Storm {
    over: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Result<()>>,
}

impl Storm {
    /// Starts it on a thread of its own.
    fn start(environment: &Environment, worker: &Arc<Credentials>) -> Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        let (environment, worker, until) = (environment.clone(), Arc::clone(worker), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            runtime()?.block_on(async {
                let mut callers = tokio::task::JoinSet::new();
                for _ in 0..CONNECTIONS {
                    let channel = environment.connect_as(&worker).await?;
                    for _ in 0..AT_ONCE {
                        callers.spawn(read_lists(channel.clone(), Arc::clone(&until)));
                    }
                }
                while let Some(caller) = callers.join_next().await {
                    caller??;
                }
                Ok(())
            })
        });
        Ok(Self { over, thread })
    }

    fn end(self) -> Result<()> {
        self.over.store(true, Ordering::Release);
        self.thread.join().map_err(|_| "the storm panicked")?
    }
}

async fn read_lists(channel: Channel, over: Arc<AtomicBool>) -> Result<()> {
    let mut client = CertificateServiceClient::new(channel);
    while !over.load(Ordering::Acquire) {
        let request = ListCertificatesRequest { page_size: 1000, ..ListCertificatesRequest::default() };
        match client.list_certificates(request).await {
            Err(status) if status.code() == Code::ResourceExhausted => sleep(AFTER_REFUSAL).await,
            answer => drop(answer?),
        }
    }
    Ok(())
}
