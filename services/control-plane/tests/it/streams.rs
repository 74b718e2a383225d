//! Streams: the trust bundle as it changes, the audit log as it grows.

use std::time::Duration;

use signet_core::PrincipalType;
use signet_proto::v1::{
    self as pb, Isolation, audit_service_client::AuditServiceClient, principal_service_client::PrincipalServiceClient,
    trust_service_client::TrustServiceClient,
};
use tokio::time::timeout;
use tonic::Code;

use crate::world::{World, reason};

pub const SOON: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_watcher_gets_the_bundle_and_every_new_one() {
    let world = World::new().await;
    let node = world.node().await;
    world.tenant(&node, "acme", Isolation::Dedicated).await;
    let worker = world.principal(&node, "acme", "w-1", PrincipalType::Worker, &[]).await;
    let mut client = TrustServiceClient::new(world.channel(&node, &worker));
    let request = pb::WatchTrustBundleRequest::default();
    let mut bundles = client.watch_trust_bundle(request).await.unwrap().into_inner();
    let first = bundles.message().await.unwrap().unwrap();
    assert_eq!((first.tenant_id.as_str(), first.trust_domain.as_str()), ("acme", "acme.test.example.com"));
    assert_eq!((first.anchor_der.len(), &first.root_der), (1, &world.roots));
    // A suspension elsewhere moves the trust epoch, and no bundle.
    world.tenant(&node, "globex", Isolation::Shared).await;
    let rotate = pb::RotateCertificateAuthorityRequest {
        tenant_id: "acme".into(),
        kind: pb::CaKind::Tenant.into(),
        action: pb::RotationAction::Prepare.into(),
        request_id: signet_client::request_id(),
        ..Default::default()
    };
    let rotated = TrustServiceClient::new(world.admin(&node)).rotate_certificate_authority(rotate).await.unwrap();
    assert!(!rotated.into_inner().steps.is_empty());
    let second = timeout(SOON, bundles.message()).await.unwrap().unwrap().unwrap();
    assert_eq!(second.anchor_der.len(), 2);
    assert!(second.anchor_der.contains(&first.anchor_der[0]));
    let (status, json) = node.http("/v1/tenants/acme.test.example.com/bundle.json").await;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((status, json["keys"].as_array().unwrap().len()), (200, 2));
    node.end().await;
}

#[tokio::test]
async fn a_tail_shows_events_as_they_happen() {
    let world = World::new().await;
    let node = world.node().await;
    world.tenant(&node, "acme", Isolation::Shared).await;
    let mut client = AuditServiceClient::new(world.admin(&node));
    let request = pb::TailAuditEventsRequest { tenant_id: "acme".into(), start_time: None };
    let mut events = client.tail_audit_events(request).await.unwrap().into_inner();
    world.principal(&node, "acme", "w-1", PrincipalType::Worker, &[]).await;
    let mut operations = Vec::new();
    while operations.len() < 2 {
        let event = timeout(SOON, events.message()).await.unwrap().unwrap().unwrap();
        let payload: serde_json::Value = serde_json::from_str(&event.payload_json).unwrap();
        assert_eq!(event.tenant_id, "acme");
        operations.push(payload["operation"].as_str().unwrap().to_owned());
    }
    assert_eq!(operations, ["CreatePrincipal", "IssueCertificate"]);
    node.end().await;
}

#[tokio::test]
async fn a_role_that_is_taken_away_ends_an_open_tail() {
    let world = World::new().await;
    let node = world.node().await;
    world.tenant(&node, "acme", Isolation::Shared).await;
    let viewer = world.principal(&node, "acme", "ann", PrincipalType::User, &["viewer"]).await;
    let channel = world.channel(&node, &viewer);
    let request = pb::TailAuditEventsRequest { tenant_id: "acme".into(), start_time: None };
    let mut events = AuditServiceClient::new(channel.clone()).tail_audit_events(request).await.unwrap().into_inner();
    // What every principal may read goes on.
    let request = pb::WatchTrustBundleRequest::default();
    let mut bundles = TrustServiceClient::new(channel).watch_trust_bundle(request).await.unwrap().into_inner();
    bundles.message().await.unwrap().unwrap();
    let update = pb::UpdatePrincipalRequest {
        principal: Some(pb::Principal { tenant_id: "acme".into(), principal_id: "ann".into(), ..Default::default() }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["roles".into()] }),
        request_id: signet_client::request_id(),
    };
    PrincipalServiceClient::new(world.admin(&node)).update_principal(update).await.unwrap();
    let end = async {
        loop {
            match events.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the tail ended without a word"),
                Err(status) => return status,
            }
        }
    };
    let end = timeout(SOON, end).await.expect("the tail goes on");
    assert_eq!((end.code(), reason(&end).as_str()), (Code::PermissionDenied, "PERMISSION_MISSING"));
    let rotate = pb::RotateCertificateAuthorityRequest {
        kind: pb::CaKind::Shared.into(),
        tenant_id: "system".into(),
        action: pb::RotationAction::Prepare.into(),
        request_id: signet_client::request_id(),
        ..Default::default()
    };
    TrustServiceClient::new(world.admin(&node)).rotate_certificate_authority(rotate).await.unwrap();
    assert_eq!(timeout(SOON, bundles.message()).await.unwrap().unwrap().unwrap().anchor_der.len(), 2);
    node.end().await;
}
