//! Invariant 4: what is revoked, suspended or deleted is refused on every node, on new and on open connections, and on
//! open streams. Times are measured from the moment that the change was answered.

use std::time::{Duration, Instant};

use signet_client::Credentials;
use signet_core::PrincipalType;
use signet_proto::v1::{
    self as pb, Isolation, certificate_service_client::CertificateServiceClient,
    principal_service_client::PrincipalServiceClient, tenant_service_client::TenantServiceClient,
    trust_service_client::TrustServiceClient,
};
use tonic::{Code, Status, Streaming, transport::Channel};

use crate::world::{Node, World, eventually, reason};

/// The promise is one second; a loaded machine gets some more.
const BUDGET: Duration = Duration::from_secs(5);

pub async fn who_am_i(channel: &Channel) -> Result<pb::WhoAmIResponse, Status> {
    let mut client = PrincipalServiceClient::new(channel.clone());
    client.who_am_i(pb::WhoAmIRequest {}).await.map(tonic::Response::into_inner)
}

pub async fn watch(channel: &Channel) -> Streaming<pb::TrustBundle> {
    let mut client = TrustServiceClient::new(channel.clone());
    let mut stream = client.watch_trust_bundle(pb::WatchTrustBundleRequest::default()).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    stream
}

/// A principal on both nodes: an open connection and an open stream each.
pub struct Open {
    channels: [Channel; 2],
    streams: [Streaming<pb::TrustBundle>; 2],
}

pub async fn open(world: &World, nodes: [&Node; 2], credentials: &Credentials) -> Open {
    let channels = nodes.map(|node| world.channel(node, credentials));
    for channel in &channels {
        eventually("the node accepts", async || who_am_i(channel).await.is_ok()).await;
    }
    let streams = [watch(&channels[0]).await, watch(&channels[1]).await];
    Open { channels, streams }
}

/// Everything that was open is refused, and nothing new gets in.
pub async fn is_refused(world: &World, nodes: [&Node; 2], credentials: &Credentials, open: Open, why: &str) {
    let changed = Instant::now();
    for (place, mut stream) in open.streams.into_iter().enumerate() {
        let end = tokio::time::timeout(BUDGET, async {
            loop {
                match stream.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("the stream ended without a word"),
                    Err(status) => return status,
                }
            }
        });
        let end = end.await.expect("the open stream goes on");
        eprintln!("{why}: stream on node {place} ended after {:?}", changed.elapsed());
        assert_eq!((end.code(), reason(&end).as_str()), (Code::Unauthenticated, why), "{end:?}");
    }
    for (place, channel) in open.channels.iter().enumerate() {
        eventually("the open connection is refused", async || who_am_i(channel).await.is_err()).await;
        eprintln!("{why}: connection to node {place} refused after {:?}", changed.elapsed());
        // Once refused, always refused.
        assert!(who_am_i(channel).await.is_err());
    }
    for node in nodes {
        eventually("a new connection is refused", async || {
            world.connector(node, Some(credentials)).connect().await.is_err()
        })
        .await;
        assert!(world.connector(node, Some(credentials)).connect().await.is_err());
    }
    eprintln!("{why}: all refused after {:?}", changed.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_is_in_force_on_every_node() {
    let world = World::new().await;
    let (one, two) = (world.node().await, world.node_apart().await);
    let nodes = [&one, &two];
    world.tenant(&one, "acme", Isolation::Dedicated).await;
    let admin = world.admin(&one);
    let mut principals = PrincipalServiceClient::new(admin.clone());

    // Suspended; others go on.
    let worker = world.principal(&one, "acme", "w-1", PrincipalType::Worker, &[]).await;
    let other = world.principal(&one, "acme", "w-2", PrincipalType::Worker, &[]).await;
    let (opened, others) = (open(&world, nodes, &worker).await, open(&world, nodes, &other).await);
    let suspend = pb::SuspendPrincipalRequest {
        tenant_id: "acme".into(),
        principal_id: "w-1".into(),
        request_id: "suspend-1".into(),
    };
    principals.suspend_principal(suspend).await.unwrap();
    is_refused(&world, nodes, &worker, opened, "PRINCIPAL_DENIED").await;
    for channel in &others.channels {
        assert_eq!(who_am_i(channel).await.unwrap().principal_id, "w-2");
    }

    // Active again: the same certificate.
    let activate = pb::ActivatePrincipalRequest {
        tenant_id: "acme".into(),
        principal_id: "w-1".into(),
        request_id: signet_client::request_id(),
    };
    principals.activate_principal(activate).await.unwrap();
    let opened = open(&world, nodes, &worker).await;

    // One certificate revoked: the principal's other one goes on.
    let second = world.issue(&one, "acme", "w-1").await;
    let seconds = open(&world, nodes, &second).await;
    let revoke = pb::RevokeCertificateRequest {
        tenant_id: "acme".into(),
        issuer_id: "acme.1".into(),
        serial_number: worker.facts().serial_number.clone(),
        reason: pb::RevocationReason::KeyCompromise.into(),
        request_id: signet_client::request_id(),
        or_unrecorded: false,
    };
    let revoked = CertificateServiceClient::new(admin.clone()).revoke_certificate(revoke).await.unwrap().into_inner();
    assert_eq!(revoked.state(), pb::CertificateState::Revoked);
    is_refused(&world, nodes, &worker, opened, "CERTIFICATE_REVOKED").await;
    for channel in &seconds.channels {
        assert_eq!(who_am_i(channel).await.unwrap().serial_number, second.facts().serial_number);
    }

    // The tenant suspended: everybody in it.
    let suspend = pb::SuspendTenantRequest { tenant_id: "acme".into(), request_id: signet_client::request_id() };
    TenantServiceClient::new(admin.clone()).suspend_tenant(suspend).await.unwrap();
    is_refused(&world, nodes, &second, seconds, "TENANT_SUSPENDED").await;
    is_refused(&world, nodes, &other, others, "TENANT_SUSPENDED").await;
    assert!(who_am_i(&admin).await.is_ok());
    one.end().await;
    two.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_is_for_good_and_roles_change_at_once() {
    let world = World::new().await;
    let node = world.node().await;
    world.tenant(&node, "acme", Isolation::Shared).await;
    let user = world.principal(&node, "acme", "ann", PrincipalType::User, &["viewer"]).await;
    let channel = world.channel(&node, &user);
    let mut principals = PrincipalServiceClient::new(world.admin(&node));
    assert_eq!(who_am_i(&channel).await.unwrap().roles, ["viewer"]);
    assert!(list(&channel).await.is_ok());
    let update = pb::UpdatePrincipalRequest {
        principal: Some(pb::Principal { tenant_id: "acme".into(), principal_id: "ann".into(), ..Default::default() }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["roles".into()] }),
        request_id: signet_client::request_id(),
    };
    principals.update_principal(update).await.unwrap();
    // The certificate still says "viewer".
    let took = eventually("the role is gone", async || list(&channel).await.is_err()).await;
    eprintln!("role taken away after {took:?}");
    assert!(who_am_i(&channel).await.unwrap().roles.is_empty());
    let delete = pb::DeletePrincipalRequest {
        tenant_id: "acme".into(),
        principal_id: "ann".into(),
        request_id: signet_client::request_id(),
    };
    principals.delete_principal(delete).await.unwrap();
    eventually("refused", async || who_am_i(&channel).await.is_err()).await;
    let activate = pb::ActivatePrincipalRequest {
        tenant_id: "acme".into(),
        principal_id: "ann".into(),
        request_id: signet_client::request_id(),
    };
    let status = principals.activate_principal(activate).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "PRINCIPAL_DELETED"));
    node.end().await;
}

async fn list(channel: &Channel) -> Result<(), Status> {
    let request = pb::ListPrincipalsRequest::default();
    PrincipalServiceClient::new(channel.clone()).list_principals(request).await.map(|_| ())
}
