//! The whole node in a process of its own: start, memory, a cheap call, and issuance over the wire.

use std::{path::Path, time::Duration};

use futures::{StreamExt, TryStreamExt, stream};
use signet_proto::v1::{
    CreatePrincipalRequest, CreateTenantRequest, IssueCertificateRequest, Principal, PrincipalType, Tenant,
    WhoAmIRequest, certificate_service_client::CertificateServiceClient,
    principal_service_client::PrincipalServiceClient, tenant_service_client::TenantServiceClient,
};
use signet_x509::KeyAndCsr;
use tokio::{runtime::Runtime, time::sleep};
use tonic::transport::Channel;

use crate::{
    Result, Scale,
    measure::{Spread, in_turn, micros_each, repeated},
    node::{Environment, Node},
    pki::Pki,
    report::{Budget, Row},
    rows::issuance::Bare,
    server::runtime,
};

const TENANT: &str = "bench";
/// Calls under way at once on each connection.
const AT_ONCE: usize = 32;
const CONNECTIONS: usize = 2;
const STARTS: usize = 5;
/// After this an idle node has done what it does at its start.
const SETTLED: Duration = Duration::from_secs(3);

pub(crate) fn rows(
    pki: &Pki,
    signetd: &Path,
    environment: &Environment,
    rounds: usize,
    scale: Scale,
) -> Result<Vec<Row>> {
    let here = runtime()?;
    let (ready, idle, node) = here.block_on(starts(signetd, environment))?;
    let client = here.block_on(Client::new(environment))?;
    let (calls, count) = (scale.of(20_000), scale.of(2000));
    let cheap = repeated(rounds, || here.block_on(client.who_am_i(&node, calls)))?;
    let issuance = issuance(pki, &here, &node, &client, count, rounds, scale)?;
    let rate = Spread::of(issuance.rates);
    Ok(vec![
        Row::alone("the whole node: a WhoAmI call", "us", cheap)
            .note("CPU of signetd in a release build, with metrics, a log line a call and deadlines"),
        Row::pair("issuance over the wire, durable, audited", "us", &issuance.pair)
            .budget(Budget::RatioAtMost(2.5))
            .note("floor: parse and check the CSR, build and lint, sign; CPU of signetd"),
        Row::alone("  certificates a second, 64 callers on this machine too", "/s", rate),
        Row::alone("idle control plane: resident memory", "MB", idle).budget(Budget::AtMost(40.0)),
        Row::alone("idle control plane: from start to ready", "ms", ready).budget(Budget::AtMost(1000.0)),
    ])
}

/// Starts the node some times; keeps the last one.
async fn starts(signetd: &Path, environment: &Environment) -> Result<(Spread, Spread, Node)> {
    let (mut ready, mut idle, mut last) = (Vec::new(), Vec::new(), None);
    for _ in 0..STARTS {
        drop(last.take());
        let node = Node::start(signetd, environment).await?;
        ready.push(node.ready_after.as_secs_f64() * 1e3);
        sleep(SETTLED).await;
        idle.push(node.memory()? / 1e6);
        last = Some(node);
    }
    Ok((Spread::of(ready), Spread::of(idle), last.ok_or("no start")?))
}

struct Issuance {
    pair: crate::measure::Pair,
    rates: Vec<f64>,
}

fn issuance(
    pki: &Pki,
    here: &Runtime,
    node: &Node,
    client: &Client,
    count: usize,
    rounds: usize,
    scale: Scale,
) -> Result<Issuance> {
    let bare = Bare::new(pki, scale)?;
    let (mut prefixes, mut rates) = (0.., Vec::new());
    let pair = in_turn(
        rounds,
        || bare.round(),
        || {
            let requests = here.block_on(client.prepare(prefixes.next().unwrap_or(0), count))?;
            let (before, started) = (node.cpu()?, std::time::Instant::now());
            here.block_on(client.issue(requests))?;
            rates.push(count as f64 / started.elapsed().as_secs_f64());
            Ok(micros_each(node.cpu()? - before, count))
        },
    )?;
    Ok(Issuance { pair, rates })
}

/// The admin, on some connections.
struct Client(Vec<Channel>);

impl Client {
    async fn new(environment: &Environment) -> Result<Self> {
        let mut channels = Vec::new();
        for _ in 0..CONNECTIONS {
            channels.push(environment.connect().await?);
        }
        let this = Self(channels);
        let tenant = Tenant { tenant_id: TENANT.into(), ..Tenant::default() };
        let request = CreateTenantRequest { tenant: Some(tenant), request_id: signet_client::request_id() };
        match TenantServiceClient::new(this.channel(0)).create_tenant(request).await {
            // From an earlier run on the same environment.
            Err(status) if status.code() != tonic::Code::AlreadyExists => Err(status.into()),
            _ => Ok(this),
        }
    }

    fn channel(&self, number: usize) -> Channel {
        // There is at least one.
        self.0
            .iter()
            .cycle()
            .nth(number % CONNECTIONS)
            .cloned()
            .unwrap_or_else(|| tonic::transport::Endpoint::from_static("http://127.0.0.1:1").connect_lazy())
    }

    async fn who_am_i(&self, node: &Node, count: usize) -> Result<f64> {
        let before = node.cpu()?;
        let calls = stream::iter(0..count).map(|number| {
            let mut client = PrincipalServiceClient::new(self.channel(number));
            async move { client.who_am_i(WhoAmIRequest {}).await }
        });
        calls.buffer_unordered(AT_ONCE * CONNECTIONS).try_for_each(|_| async { Ok(()) }).await?;
        Ok(micros_each(node.cpu()? - before, count))
    }

    /// Makes workers and the requests for their certificates.
    async fn prepare(&self, prefix: usize, count: usize) -> Result<Vec<IssueCertificateRequest>> {
        // Other than those of earlier runs on the same environment.
        let run = std::process::id();
        let make = |number: usize| async move {
            let id = format!("w-{run}-{prefix}-{number}");
            let principal = Principal {
                tenant_id: TENANT.into(),
                principal_id: id.clone(),
                principal_type: PrincipalType::Worker.into(),
                ..Principal::default()
            };
            let request =
                CreatePrincipalRequest { principal: Some(principal), request_id: signet_client::request_id() };
            PrincipalServiceClient::new(self.channel(number)).create_principal(request).await?;
            let csr_der = KeyAndCsr::generate()?.csr_der;
            let (tenant_id, request_id) = (TENANT.into(), format!("issue-{id}"));
            Ok(IssueCertificateRequest { tenant_id, principal_id: id, csr_der, request_id })
        };
        stream::iter(0..count).map(make).buffer_unordered(AT_ONCE * CONNECTIONS).try_collect().await
    }

    async fn issue(&self, requests: Vec<IssueCertificateRequest>) -> Result<()> {
        let calls = stream::iter(requests.into_iter().enumerate()).map(|(number, request)| {
            let mut client = CertificateServiceClient::new(self.channel(number));
            async move { client.issue_certificate(request).await }
        });
        Ok(calls.buffer_unordered(AT_ONCE * CONNECTIONS).try_for_each(|_| async { Ok(()) }).await?)
    }
}
