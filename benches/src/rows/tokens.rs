//! What a token costs the control plane, and how long its holder waits.

use std::{path::Path, sync::Mutex, time::Instant};

use futures::{StreamExt, TryStreamExt, stream};
use secrecy::SecretString;
use signet_client::{Enrollment, Identity};
use signet_proto::v1::{
    CreateAccessTokenRequest, IntrospectAccessTokenRequest, PrincipalType, token_service_client::TokenServiceClient,
};

use super::tenant;
use crate::{
    Result, Scale,
    measure::{Spread, micros_each, percentile, repeated},
    node::{Environment, Node},
    report::{Budget, Row},
    server::runtime,
};

/// Calls under way at once, on one connection.
const AT_ONCE: usize = 16;

pub(crate) fn rows(signetd: &Path, environment: &Environment, rounds: usize, scale: Scale) -> Result<Vec<Row>> {
    let here = runtime()?;
    // One worker asks all the time here.
    let limits = ["SIGNET_LIMITS__CALLS_PER_SECOND_PER_PRINCIPAL", "SIGNET_LIMITS__CALLS_PER_SECOND_PER_TENANT"];
    let limits = limits.map(|limit| (limit, "100000"));
    let issuer = [("SIGNET_TOKENS__ISSUER", "https://id.example.com")];
    let settings: Vec<_> = limits.into_iter().chain(issuer).collect();
    let node = here.block_on(Node::start_with(signetd, environment, &settings))?;
    let (worker, service) = here.block_on(prepare(environment))?;
    let count = scale.of(10_000);
    let waited = Mutex::default();
    let made = repeated(rounds, || {
        let before = node.cpu()?;
        here.block_on(make(&worker, count, &waited))?;
        Ok(micros_each(node.cpu()? - before, count))
    })?;
    let waited = waited.into_inner().unwrap_or_default();
    let token = here.block_on(one(&worker))?;
    let looked_at = repeated(rounds, || {
        let before = node.cpu()?;
        here.block_on(look(&service, &token, count))?;
        Ok(micros_each(node.cpu()? - before, count))
    })?;
    Ok(vec![
        Row::alone("an access token", "us", made)
            .budget(Budget::AtMost(66.7))
            .note("CPU of signetd, with gRPC over TLS and the token's signature; 66.7 are 15,000 a second"),
        Row::alone("  waited for it: 99th percentile", "ms", Spread::exactly(percentile(&waited, 0.99)))
            .budget(Budget::AtMost(2.0))
            .note("wall time, 16 at once; the client has the same cores"),
        Row::alone("an access token's introspection", "us", looked_at).note("with the check of its signature"),
    ])
}

/// A worker and a service of a new tenant.
async fn prepare(environment: &Environment) -> Result<(Identity, Identity)> {
    let tenant_id = format!("tokens-{}", std::process::id());
    let (admin, _) = tenant::with_worker(environment, &tenant_id, "jobs:submit").await?;
    let enrolled = async |kind, id: &str| {
        let token = SecretString::from(tenant::join_token(&admin, &tenant_id, kind, id).await?);
        let settings = environment.settings()?;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(
            Identity::enroll(settings, &Enrollment::join_token(token)).await?,
        )
    };
    Ok((enrolled(PrincipalType::Worker, "w-2").await?, enrolled(PrincipalType::Service, "gateway").await?))
}

fn wanted() -> CreateAccessTokenRequest {
    CreateAccessTokenRequest { audience: "jobs".into(), ..CreateAccessTokenRequest::default() }
}

async fn one(worker: &Identity) -> Result<String> {
    let mut client = TokenServiceClient::new(worker.channel()?);
    Ok(client.create_access_token(wanted()).await?.into_inner().access_token)
}

async fn make(worker: &Identity, count: usize, waited: &Mutex<Vec<f64>>) -> Result<()> {
    let client = TokenServiceClient::new(worker.channel()?);
    let made = stream::iter(0..count).map(|_| {
        let mut client = client.clone();
        async move {
            let began = Instant::now();
            let made = client.create_access_token(wanted()).await;
            waited.lock().map(|mut all| all.push(began.elapsed().as_secs_f64() * 1e3)).unwrap_or_default();
            made
        }
    });
    Ok(made.buffer_unordered(AT_ONCE).try_for_each(|_| async { Ok(()) }).await?)
}

async fn look(service: &Identity, token: &str, count: usize) -> Result<()> {
    let client = TokenServiceClient::new(service.channel()?);
    let looked = stream::iter(0..count).map(|_| {
        let mut client = client.clone();
        let request = IntrospectAccessTokenRequest { token: token.to_owned() };
        async move { client.introspect_access_token(request).await }
    });
    Ok(looked.buffer_unordered(AT_ONCE).try_for_each(|_| async { Ok(()) }).await?)
}
