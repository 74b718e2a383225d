//! A tenant's own service: what the SDK's layer adds to a call, what a question costs the control plane, and what a
//! decision by many policies takes.

use std::{
    convert::Infallible,
    future::ready,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt, TryStreamExt, stream};
use http::{HeaderValue, Request, Response, header::AUTHORIZATION};
use rustls::pki_types::CertificateDer;
use secrecy::SecretString;
use signet_client::{Enrollment, Identity, Peer, PeerCertificate, Question};
use signet_core::{
    PrincipalType,
    authorization::model::{AuthorizationModel, Proved, Rules},
};
use signet_policy::{Context, Rulebook, ServiceResource, Subject, Target};
use signet_proto::v1::{
    CheckRequest, CheckSubject, authorization_service_client::AuthorizationServiceClient, check_subject::By,
};
use tokio::{runtime::Runtime, time::sleep};
use tonic::body::Body;
use tower::{Service, ServiceBuilder, service_fn};

use super::tenant;
use crate::{
    Result, Scale,
    clock::{now, thread_cpu},
    measure::{Spread, in_turn, micros_each, percentile, repeated},
    node::{Environment, Node},
    report::{Budget, Row},
    server::runtime,
};

const PERMISSION: &str = "jobs:read";
/// Questions under way at once, on one connection.
const AT_ONCE: usize = 32;
const POLICIES: usize = 100;
/// About as many permissions as a tenant with so many policies has.
const PERMISSIONS: usize = 20;
const SOON: Duration = Duration::from_secs(20);

pub(crate) fn rows(signetd: &Path, environment: &Environment, rounds: usize, scale: Scale) -> Result<Vec<Row>> {
    let here = runtime()?;
    // One service asks all the time here.
    let settings = [
        ("SIGNET_LIMITS__CALLS_PER_SECOND_PER_PRINCIPAL", "100000"),
        ("SIGNET_LIMITS__CALLS_PER_SECOND_PER_TENANT", "100000"),
        ("SIGNET_TOKENS__ISSUER", "https://id.example.com"),
    ];
    let node = here.block_on(Node::start_with(signetd, environment, &settings))?;
    let (identity, leaf) = here.block_on(prepare(environment))?;
    let mut rows = vec![layer(&here, &identity, &leaf, rounds, scale)?, by_token(&here, &identity, rounds, scale)?];
    let count = scale.of(10_000);
    let each = repeated(rounds, || {
        let before = node.cpu()?;
        here.block_on(ask(&identity, &leaf, count))?;
        Ok(micros_each(node.cpu()? - before, count))
    })?;
    rows.push(
        Row::alone("Check, with a certificate in hand", "us", each)
            .budget(Budget::AtMost(50.0))
            .note("CPU of signetd, with gRPC over TLS and the certificate's signature"),
    );
    rows.extend(policies(PERMISSIONS, rounds, scale)?);
    rows.extend(policies(1, rounds, scale)?);
    Ok(rows)
}

async fn prepare(environment: &Environment) -> Result<(Identity, Vec<u8>)> {
    let tenant_id = format!("layer-{}", std::process::id());
    let (admin, leaf) = tenant::with_worker(environment, &tenant_id, PERMISSION).await?;
    let token = SecretString::from(tenant::service_token(&admin, &tenant_id).await?);
    let identity = Identity::enroll(environment.settings()?, &Enrollment::join_token(token)).await?;
    Ok((identity, leaf))
}

fn nothing<B: Send + 'static>()
-> impl Service<Request<B>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send {
    service_fn(|_: Request<B>| ready(Ok(Response::new(Body::empty()))))
}

/// What it adds to a call of a service that does nothing, once the answer is kept.
fn layer(here: &Runtime, identity: &Identity, leaf: &[u8], rounds: usize, scale: Scale) -> Result<Row> {
    let (peer, authorizer) = here.block_on(async {
        let peer = identity.peer(Some(&[CertificateDer::from(leaf.to_vec())])).ok_or("the worker is no peer")?;
        let authorizer = identity.authorizer();
        let question = Question::new(PeerCertificate::from_der(leaf), PERMISSION.into());
        let started = Instant::now();
        while !authorizer.decide(&question).await.allowed {
            if started.elapsed() > SOON {
                return Err("the worker is not allowed".into());
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>((Arc::new(peer), authorizer))
    })?;
    let plain = nothing::<Body>();
    let layered = ServiceBuilder::new().layer(authorizer.require(PERMISSION)).service(nothing());
    let count = scale.of(200_000);
    let pair = in_turn(
        rounds,
        || here.block_on(calls(plain.clone(), &peer, None, count)),
        || here.block_on(calls(layered.clone(), &peer, None, count)),
    )?;
    Ok(Row::alone("the SDK's layer: what it adds to a call", "us", pair.difference)
        .budget(Budget::AtMost(1.0))
        .note("CPU; floor: the same service without it"))
}

/// The same for who shows an access token: its signature was verified once, its binding and end are looked at each
/// time.
fn by_token(here: &Runtime, identity: &Identity, rounds: usize, scale: Scale) -> Result<Row> {
    let leaf = identity.with_credentials(|own| own.chain_der().first().cloned()).ok_or("there is no certificate")?;
    let peer = identity.peer(Some(&[CertificateDer::from(leaf)])).map(Arc::new).ok_or("the service is no peer")?;
    let audience = PERMISSION.split(':').next().unwrap_or_default();
    let token = here.block_on(identity.tokens().authorization(audience, &[]))?;
    let authorizer = here.block_on(async { identity.authorizer() });
    let layered = ServiceBuilder::new().layer(authorizer.require(PERMISSION).with_access_token()).service(nothing());
    let started = Instant::now();
    while here.block_on(calls(layered.clone(), &peer, Some(&token), 1)).is_err() {
        if started.elapsed() > SOON {
            return Err("the token is not taken".into());
        }
    }
    let count = scale.of(200_000);
    let pair = in_turn(
        rounds,
        || here.block_on(calls(nothing::<Body>(), &peer, Some(&token), count)),
        || here.block_on(calls(layered.clone(), &peer, Some(&token), count)),
    )?;
    Ok(Row::alone("  with an access token", "us", pair.difference)
        .budget(Budget::AtMost(6.0))
        .note("CPU; bound to the connection's certificate, verified before"))
}

async fn calls<S, B>(mut service: S, peer: &Arc<Peer>, authorization: Option<&HeaderValue>, count: usize) -> Result<f64>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
{
    let before = thread_cpu();
    for _ in 0..count {
        let mut request = Request::new(Body::empty());
        request.extensions_mut().insert(Arc::clone(peer));
        request.headers_mut().extend(authorization.map(|value| (AUTHORIZATION, value.clone())));
        if service.call(request).await?.status() != http::StatusCode::OK {
            return Err("a call was refused".into());
        }
    }
    Ok(micros_each(thread_cpu() - before, count))
}

async fn ask(identity: &Identity, leaf: &[u8], count: usize) -> Result<()> {
    let client = AuthorizationServiceClient::new(identity.channel()?);
    let question = CheckRequest {
        subject: Some(CheckSubject { by: Some(By::CertificateDer(leaf.to_vec())) }),
        action: PERMISSION.into(),
        ..CheckRequest::default()
    };
    let asked = stream::iter(0..count).map(|_| {
        let (mut client, question) = (client.clone(), question.clone());
        async move { client.check(question).await }
    });
    Ok(asked.buffer_unordered(AT_ONCE).try_for_each(|_| async { Ok(()) }).await?)
}

/// A decision with many policies about `permissions` together, of which the last about the one in question permits.
fn policies(permissions: usize, rounds: usize, scale: Scale) -> Result<Vec<Row>> {
    let name = |n: usize| {
        if n.is_multiple_of(permissions) { PERMISSION.to_owned() } else { format!("other:n{}", n % permissions) }
    };
    let text: String = (0..POLICIES)
        .map(|n| {
            format!(
                "permit (principal is Worker, action == Action::\"{}\", resource is Resource)\n\
                 when {{ resource.kind == \"queue\" && resource.id == \"q-{n}\" }};\n",
                name(n)
            )
        })
        .collect();
    let rules =
        Rules { permissions: [(PERMISSION.to_owned(), String::new())].into(), policies: text, ..Rules::default() };
    let tenant = "acme".parse()?;
    let model = AuthorizationModel {
        tenant,
        version: 1,
        rules,
        note: String::new(),
        proved: Proved::NotProved,
        set_by: String::new(),
        set_at: now(),
    };
    let tenant = model.tenant.clone();
    let (book, id, last) =
        (Rulebook::new(Some(Arc::new(model)), None), "w-1".parse()?, format!("q-{}", POLICIES - permissions));
    let subject = Subject { tenant: &tenant, principal_type: PrincipalType::Worker, id: &id, roles: &[], groups: &[] };
    let target =
        Target::Resource(ServiceResource { tenant: &tenant, kind: "queue", id: &last, owner: None, tags: &[] });
    let context = Context::at(now());
    let decide = || book.decide(&subject, PERMISSION, &target, &context, false).allowed;
    if !decide() {
        return Err("the policies do not permit it".into());
    }
    let count = scale.of(20_000);
    let each = repeated(rounds, || {
        let before = thread_cpu();
        let allowed = (0..count).filter(|_| decide()).count();
        if allowed == count { Ok(micros_each(thread_cpu() - before, count)) } else { Err("a decision differs".into()) }
    })?;
    let one = || {
        let before = thread_cpu();
        decide();
        micros_each(thread_cpu() - before, 1)
    };
    let all: Vec<f64> = (0..count).map(|_| one()).collect();
    let slowest = Spread::exactly(percentile(&all, 0.99));
    if permissions == 1 {
        let name = format!("  all {POLICIES} about that permission");
        return Ok(vec![Row::alone(name, "us", each), Row::alone("  99th percentile", "us", slowest)]);
    }
    Ok(vec![
        Row::alone(format!("a decision of a tenant with {POLICIES} Cedar policies"), "us", each)
            .budget(Budget::AtMost(20.0))
            .note(format!("about {permissions} permissions; those about the one in question are evaluated")),
        Row::alone("  99th percentile", "us", slowest).budget(Budget::AtMost(50.0)),
    ])
}
