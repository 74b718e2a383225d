//! The agent answers Envoy's ext_authz out of memory.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use futures::{StreamExt, TryStreamExt, stream};
use signet_agent::{
    Agent, Config,
    workload_api::wire::ext_authz::{
        AttributeContext, CheckRequest, HttpRequest, Peer, Request, authorization_client::AuthorizationClient,
    },
};
use signet_x509::{bundle::to_pem, pem};
use tempfile::TempDir;
use tokio::time::sleep;
use tonic::transport::{Channel, Endpoint};

use super::tenant;
use crate::{
    Result, Scale,
    measure::{micros_each, repeated},
    node::{Environment, Node},
    report::{Budget, Row},
    server::{Server, runtime},
};

/// As an Envoy with many requests has under way on one connection.
const AT_ONCE: usize = 32;
const PERMISSION: &str = "jobs:read";
const SOON: Duration = Duration::from_secs(20);

pub(crate) fn rows(
    signetd: &Path,
    environment: &Environment,
    state: &Path,
    rounds: usize,
    scale: Scale,
) -> Result<Vec<Row>> {
    let (here, count, folder) = (runtime()?, scale.of(20_000), TempDir::new_in(state)?);
    let _node = here.block_on(Node::start(signetd, environment))?;
    let question = here.block_on(prepare(environment, folder.path()))?;
    let config = Config::load(&folder.path().join("agent.toml"))?;
    let agent = Server::start(move |_, stop| async move {
        if let Ok(agent) = Agent::start(config).await {
            stop.cancelled().await;
            agent.stop().await;
        }
    })?;
    let envoy = here.block_on(connect(folder.path(), &question))?;
    let each = repeated(rounds, || here.block_on(ask(&agent, &envoy, &question, count)))?;
    Ok(vec![
        Row::alone("the agent: an ext_authz answer out of memory", "us", each)
            .budget(Budget::AtMost(50.0))
            .note("CPU of the agent's thread, with gRPC on its socket and a look at who asks"),
    ])
}

/// Microseconds of an answer on the agent's thread.
async fn ask(agent: &Server, envoy: &Channel, question: &CheckRequest, count: usize) -> Result<f64> {
    let before = agent.cpu().await?;
    let answers = stream::iter(0..count).map(|_| allowed(envoy, question));
    let all = answers.buffer_unordered(AT_ONCE).try_fold(true, |all, one| async move { Ok(all && one) }).await?;
    if !all {
        return Err("a request was denied".into());
    }
    Ok(micros_each(agent.cpu().await? - before, count))
}

async fn allowed(envoy: &Channel, question: &CheckRequest) -> Result<bool> {
    let answer = AuthorizationClient::new(envoy.clone()).check(question.clone()).await?.into_inner();
    Ok(answer.status.is_some_and(|status| status.code == 0))
}

/// As soon as the agent allows it.
async fn connect(folder: &Path, question: &CheckRequest) -> Result<Channel> {
    let started = Instant::now();
    let endpoint = Endpoint::from_shared(format!("unix://{}", folder.join("workload.sock").display()))?;
    loop {
        if let Ok(envoy) = endpoint.connect().await
            && allowed(&envoy, question).await?
        {
            return Ok(envoy);
        }
        if started.elapsed() > SOON {
            return Err("the agent allows nothing".into());
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// A tenant with a service for the agent, whose configuration is written, and a worker that may: what Envoy asks of it.
async fn prepare(environment: &Environment, folder: &Path) -> Result<CheckRequest> {
    let tenant_id = format!("gateway-{}", std::process::id());
    let (admin, certificate) = tenant::with_worker(environment, &tenant_id, PERMISSION).await?;
    configure(environment, &admin, &tenant_id, folder).await?;
    let encode = |c: char| if c.is_ascii_alphanumeric() { c.to_string() } else { format!("%{:02X}", u32::from(c)) };
    let certificate = pem::encode_certificate(&certificate).chars().map(encode).collect();
    let (method, path, host) = ("GET".into(), "/jobs/7?all".into(), "api.example.com".into());
    let attributes = AttributeContext {
        source: Some(Peer { address: None, certificate }),
        request: Some(Request { http: Some(HttpRequest { method, path, host }) }),
        ..AttributeContext::default()
    };
    Ok(CheckRequest { attributes: Some(attributes) })
}

async fn configure(environment: &Environment, admin: &Channel, tenant_id: &str, folder: &Path) -> Result<()> {
    fs::write(folder.join("token"), tenant::service_token(admin, tenant_id).await?)?;
    let settings = environment.settings()?;
    fs::write(folder.join("ca.pem"), to_pem(settings.roots_der.iter().map(Vec::as_slice)))?;
    let (endpoint, us) = (settings.endpoint, std::os::unix::fs::MetadataExt::uid(&fs::metadata(folder)?));
    let text = format!(
        "state_dir = \"state\"\n[control_plane]\nendpoint = \"{endpoint}\"\nserver_name = \"localhost\"\n\
         ca_file = \"ca.pem\"\n[workload_api]\nsocket = \"workload.sock\"\n[[identity]]\nname = \"gateway\"\n\
         enroll = {{ join_token_file = \"token\" }}\npem = {{ directory = \"gateway\" }}\n\
         workloads = [{{ uid = \"{us}\" }}]\n[identity.ext_authz]\n\
         rules = [{{ methods = [\"GET\"], path = \"/jobs/*\", permission = \"{PERMISSION}\" }}]\n"
    );
    Ok(fs::write(folder.join("agent.toml"), text)?)
}
