//! Quotas as callers see them, and the pace of CAs.

use signet_proto::v1::{
    self as pb, Isolation, principal_service_client::PrincipalServiceClient,
    tenant_service_client::TenantServiceClient, trust_service_client::TrustServiceClient,
};
use tonic::Code;
use tonic_types::StatusExt;

use crate::world::{World, reason};

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sets_quotas_one_by_one_and_callers_are_told_how_much_of_how_many() {
    let world = World::new().await;
    let node = world.node().await;
    world.tenant(&node, "acme", Isolation::Dedicated).await;
    let mut tenants = TenantServiceClient::new(world.admin(&node));
    let mut set = async |path: &str, quotas: pb::TenantQuotas| {
        let tenant = pb::Tenant { tenant_id: "acme".into(), quotas: Some(quotas), ..Default::default() };
        let mask = prost_types::FieldMask { paths: vec![path.into()] };
        let request = pb::UpdateTenantRequest {
            tenant: Some(tenant),
            update_mask: Some(mask),
            request_id: signet_client::request_id(),
        };
        tenants.update_tenant(request).await.unwrap().into_inner().quotas.unwrap()
    };
    let defaults = set("quotas.join_tokens", pb::TenantQuotas::default()).await;
    let expected = pb::TenantQuotas {
        principals: 100_000,
        join_tokens: 10_000,
        enrollment_rules: 100,
        certificate_authorities: 20,
    };
    assert_eq!(defaults, expected);
    let one = set("quotas.principals", pb::TenantQuotas { principals: 1, join_tokens: 7, ..Default::default() }).await;
    assert_eq!(one, pb::TenantQuotas { principals: 1, ..expected }, "only what the mask names");

    let mut principals = PrincipalServiceClient::new(world.admin(&node));
    let mut create = async |id: &str| {
        let (principal_id, principal_type) = (id.to_owned(), pb::PrincipalType::Worker.into());
        let principal = pb::Principal { tenant_id: "acme".into(), principal_id, principal_type, ..Default::default() };
        principals
            .create_principal(pb::CreatePrincipalRequest {
                principal: Some(principal),
                request_id: signet_client::request_id(),
            })
            .await
    };
    create("w-1").await.unwrap();
    let full = create("w-2").await.unwrap_err();
    assert_eq!((full.code(), reason(&full).as_str()), (Code::ResourceExhausted, "PRINCIPAL_QUOTA"));
    let facts = full.get_details_error_info().unwrap().metadata;
    assert_eq!(["quota", "used", "limit"].map(|name| facts[name].as_str()), ["principals", "1", "1"]);
    assert_eq!(full.get_details_quota_failure().unwrap().violations.len(), 1);

    let request = pb::GetTenantRequest { tenant_id: "acme".into() };
    let tenant = TenantServiceClient::new(world.admin(&node)).get_tenant(request).await.unwrap().into_inner();
    let used = pb::TenantQuotas { principals: 1, certificate_authorities: 1, ..Default::default() };
    assert_eq!(tenant.quota_use, Some(used));
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_ca_is_activated_when_verifiers_know_it_or_by_force() {
    let world = World::new().await;
    let node = world.node().await;
    world.tenant(&node, "acme", Isolation::Dedicated).await;
    let mut trust = TrustServiceClient::new(world.admin(&node));
    let mut rotate = async |action: pb::RotationAction, force| {
        let request = pb::RotateCertificateAuthorityRequest {
            tenant_id: "acme".into(),
            kind: pb::CaKind::Tenant.into(),
            action: action.into(),
            request_id: signet_client::request_id(),
            force,
        };
        trust.rotate_certificate_authority(request).await.map(|done| done.into_inner().steps)
    };
    let wrong = rotate(pb::RotationAction::Prepare, true).await.unwrap_err();
    assert_eq!((wrong.code(), reason(&wrong).as_str()), (Code::InvalidArgument, "ONLY_ACTIVATION"));
    rotate(pb::RotationAction::Prepare, false).await.unwrap();
    let early = rotate(pb::RotationAction::Activate, false).await.unwrap_err();
    assert_eq!((early.code(), reason(&early).as_str()), (Code::FailedPrecondition, "CA_NOT_KNOWN_YET"));
    assert_eq!(rotate(pb::RotationAction::Activate, true).await.unwrap().len(), 2);
    node.end().await;
}
