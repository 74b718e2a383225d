//! A deleted tenant over the wire: it is read, nothing of it changes, and purged it is known no more but by its id.

use signet_app::{Chore, purge};
use signet_client::request_id;
use signet_core::{PrincipalType, Time};
use signet_proto::v1::{
    self as pb, Isolation, principal_service_client::PrincipalServiceClient,
    tenant_service_client::TenantServiceClient, trust_service_client::TrustServiceClient,
};
use tonic::Code;

use crate::world::{World, eventually, reason};

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_tenant_is_read_and_not_changed_until_it_is_undeleted_or_purged() {
    let world = World::new().await;
    let node = world.node().await;
    world.tenant(&node, "acme", Isolation::Shared).await;
    world.principal(&node, "acme", "w-1", PrincipalType::Worker, &[]).await;
    let admin = world.admin(&node);
    let (mut tenants, mut principals) =
        (TenantServiceClient::new(admin.clone()), PrincipalServiceClient::new(admin.clone()));
    let tenant_id = || "acme".to_owned();
    let delete = || pb::DeleteTenantRequest { tenant_id: tenant_id(), request_id: request_id() };
    let early = tenants.delete_tenant(delete()).await.unwrap_err();
    assert_eq!((early.code(), reason(&early).as_str()), (Code::FailedPrecondition, "TENANT_NOT_SUSPENDED"));
    let suspend = pb::SuspendTenantRequest { tenant_id: tenant_id(), request_id: request_id() };
    tenants.suspend_tenant(suspend).await.unwrap();
    let deleted = tenants.delete_tenant(delete()).await.unwrap().into_inner();
    let (at, until) = (deleted.delete_time.unwrap(), deleted.expire_time.unwrap());
    assert_eq!((until.seconds - at.seconds, deleted.purge_time), (30 * 86_400, None));
    assert_eq!(deleted.status(), pb::TenantStatus::Suspended);

    // What the store would let through is refused by the node, once it has heard.
    let revoke = async |operation: &'static str| {
        let request = pb::SuspendPrincipalRequest {
            tenant_id: tenant_id(),
            principal_id: "w-1".into(),
            request_id: request_id(),
        };
        let answer = PrincipalServiceClient::new(admin.clone()).suspend_principal(request).await;
        answer.map_or_else(|status| reason(&status), |_| operation.to_owned())
    };
    eventually("nothing changes", async || revoke("changed").await == "TENANT_DELETED").await;
    let get = pb::GetPrincipalRequest { tenant_id: tenant_id(), principal_id: "w-1".into() };
    assert_eq!(principals.get_principal(get.clone()).await.unwrap().into_inner().principal_id, "w-1");
    let list = |show_deleted| pb::ListTenantsRequest { show_deleted, ..Default::default() };
    let ids = |page: pb::ListTenantsResponse| page.tenants.into_iter().map(|t| t.tenant_id).collect::<Vec<_>>();
    assert_eq!(ids(tenants.list_tenants(list(false)).await.unwrap().into_inner()), ["system"]);
    assert!(ids(tenants.list_tenants(list(true)).await.unwrap().into_inner()).contains(&tenant_id()));

    let undelete = || pb::UndeleteTenantRequest { tenant_id: tenant_id(), request_id: request_id() };
    let back = tenants.undelete_tenant(undelete()).await.unwrap().into_inner();
    assert_eq!((back.delete_time, back.expire_time), (None, None));
    eventually("it changes again", async || revoke("changed").await == "changed").await;

    let until = tenants.delete_tenant(delete()).await.unwrap().into_inner().expire_time.unwrap();
    let due = Time::from_unix_seconds(until.seconds + 1);
    let (app, chore) = (&world.wired.app, Chore::new(purge::PURGE, due));
    let report = purge::purge_tenants(app, &chore, None, &|| Some(due)).await.unwrap();
    assert_eq!((report.failed, report.done.len()), (vec![], 1));
    let get_tenant = pb::GetTenantRequest { tenant_id: tenant_id() };
    assert!(tenants.get_tenant(get_tenant).await.unwrap().into_inner().purge_time.is_some());
    assert_eq!(reason(&tenants.undelete_tenant(undelete()).await.unwrap_err()), "TENANT_PURGED");
    assert_eq!(principals.get_principal(get).await.unwrap_err().code(), Code::NotFound);
    let bundle = || pb::GetTrustBundleRequest { tenant_id: tenant_id() };
    eventually("nobody of it is trusted", async || {
        let found = TrustServiceClient::new(admin.clone()).get_trust_bundle(bundle()).await.unwrap().into_inner();
        found.anchor_der.is_empty()
    })
    .await;
    let (status, json) = node.http("/v1/tenants/acme/bundle.json").await;
    assert!(status == 200 && json.contains("17179869180"), "{status} {json}");
    node.end().await;
}
