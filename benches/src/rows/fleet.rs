//! A fleet that renews: the SDK's identities against the whole node, each with a handshake, a renewal with a new key,
//! another handshake with the new certificate, and its confirmation.

use std::{path::Path, time::Instant};

use futures::{StreamExt, TryStreamExt, stream};
use signet_client::{Credentials, Identity, IdentitySettings};
use signet_proto::v1::{
    CreatePrincipalRequest, CreateTenantRequest, IssueCertificateRequest, Principal, PrincipalType, Tenant,
    certificate_service_client::CertificateServiceClient, principal_service_client::PrincipalServiceClient,
    tenant_service_client::TenantServiceClient,
};
use signet_x509::KeyAndCsr;
use tonic::transport::Channel;

use crate::{
    Result, Scale,
    measure::{Spread, in_turn, micros_each},
    node::{Environment, Node},
    pki::Pki,
    report::Row,
    rows::{handshake::Clients, issuance::Bare},
    server::runtime,
};

const TENANT: &str = "fleet";
const FLEET: usize = 1000;
/// Renewals under way at once.
const AT_ONCE: usize = 32;
/// Handshakes of a renewal: with the old certificate, and with the new one.
const HANDSHAKES: f64 = 2.0;

pub(crate) fn rows(
    (pki, clients): (&Pki, &Clients),
    signetd: &Path,
    environment: &Environment,
    rounds: usize,
    scale: Scale,
) -> Result<Vec<Row>> {
    let here = runtime()?;
    let count = scale.of(FLEET);
    let node = here.block_on(Node::start(signetd, environment))?;
    let admin = here.block_on(tenant(environment))?;
    let bare = Bare::new(pki, scale)?;
    let (mut prefixes, mut rates) = (0.., Vec::new());
    let pair = in_turn(
        rounds,
        || Ok(bare.round()? + HANDSHAKES * clients.plain_round()?),
        || {
            let prefix = prefixes.next().unwrap_or(0);
            let fleet = here.block_on(fleet(environment, &admin, prefix, count))?;
            let (before, started) = (node.cpu()?, Instant::now());
            here.block_on(renew(&fleet))?;
            rates.push(count as f64 / started.elapsed().as_secs_f64());
            Ok(micros_each(node.cpu()? - before, count))
        },
    )?;
    Ok(vec![
        Row::pair(format!("a fleet of {count} renews and confirms, by the SDK"), "us", &pair)
            .note("floor: an issuance's bare cryptography and two full handshakes of rustls alone; CPU of signetd"),
        Row::alone("  renewals a second, the fleet on this machine too", "/s", Spread::of(rates)),
    ])
}

async fn tenant(environment: &Environment) -> Result<Channel> {
    let admin = environment.connect().await?;
    let tenant = Tenant { tenant_id: TENANT.into(), ..Tenant::default() };
    let request = CreateTenantRequest { tenant: Some(tenant), request_id: signet_client::request_id() };
    match TenantServiceClient::new(admin.clone()).create_tenant(request).await {
        Err(status) if status.code() != tonic::Code::AlreadyExists => Err(status.into()),
        _ => Ok(admin),
    }
}

/// Workers with their first certificates, confirmed.
async fn fleet(environment: &Environment, admin: &Channel, prefix: usize, count: usize) -> Result<Vec<Identity>> {
    let (run, settings) = (std::process::id(), environment.settings()?);
    let make = |number: usize| {
        let (id, settings) = (format!("f-{run}-{prefix}-{number}"), settings.clone());
        async move { worker(admin, id, settings).await }
    };
    stream::iter(0..count).map(make).buffer_unordered(AT_ONCE).try_collect().await
}

async fn worker(admin: &Channel, id: String, settings: IdentitySettings) -> Result<Identity> {
    let principal = Principal {
        tenant_id: TENANT.into(),
        principal_id: id.clone(),
        principal_type: PrincipalType::Worker.into(),
        ..Principal::default()
    };
    let request = CreatePrincipalRequest { principal: Some(principal), request_id: signet_client::request_id() };
    PrincipalServiceClient::new(admin.clone()).create_principal(request).await?;
    let KeyAndCsr { key, csr_der } = KeyAndCsr::generate()?;
    let request = IssueCertificateRequest {
        tenant_id: TENANT.into(),
        principal_id: id,
        csr_der,
        request_id: signet_client::request_id(),
    };
    let issued = CertificateServiceClient::new(admin.clone()).issue_certificate(request).await?.into_inner();
    let identity = Identity::adopt(settings, Credentials::new(issued.chain_der, issued.root_der, key)?).await?;
    identity.status().wait_for(|status| status.confirmed).await?;
    Ok(identity)
}

async fn renew(fleet: &[Identity]) -> Result<()> {
    let renewals = stream::iter(fleet).map(|identity| async move {
        identity.renew_now();
        identity.status().wait_for(|status| status.renewals > 0 && status.confirmed).await.map(drop)
    });
    Ok(renewals.buffer_unordered(AT_ONCE).try_for_each(|()| async { Ok(()) }).await?)
}
