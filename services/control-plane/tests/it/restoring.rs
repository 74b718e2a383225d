//! A node whose store is being restored, or whose restore was cut off.

use std::{process::Stdio, sync::Mutex};

use signet_core::{
    restore::Restoration,
    store::commit::{Commit, Write},
};
use signet_proto::v1::{self as pb, Isolation, tenant_service_client::TenantServiceClient};
use signet_testkit::fixtures::{NOW, unique};
use tonic::Code;
use tonic_types::StatusExt;

use crate::{
    program::Program,
    status::who_am_i,
    world::{World, eventually, http, reason},
};

/// Calls that read are answered, and all nodes are alike: to take this one out of service would help nobody.
#[tokio::test]
async fn it_says_so_and_goes_on_to_serve() {
    let world = World::new().await;
    let node = world.node().await;
    let marker = Restoration {
        tenant: "system".parse().unwrap(),
        run: "one".into(),
        source: "backup.db".into(),
        started_at: NOW,
        feed_lost: false,
        audit_lost: false,
    };
    let begun = Commit::bookkeeping(NOW).write(Write::create(marker));
    world.wired.app.store().transact(begun.to_transaction(None)).await.unwrap();
    let (tenants, refused) = (TenantServiceClient::new(world.admin(&node)), Mutex::default());
    eventually("a writer has looked", async || {
        let tenant = pb::Tenant { tenant_id: unique("t-"), isolation: Isolation::Shared.into(), ..Default::default() };
        let request = pb::CreateTenantRequest { tenant: Some(tenant), request_id: signet_client::request_id() };
        *refused.lock().unwrap() = tenants.clone().create_tenant(request).await.err();
        refused.lock().unwrap().is_some()
    })
    .await;
    let refused = refused.into_inner().unwrap().unwrap();
    assert_eq!((refused.code(), reason(&refused)), (Code::Unavailable, "STORE_RESTORING".into()));
    assert!(refused.message().contains("being restored") && !refused.message().contains("backup.db"), "{refused:?}");
    assert!(refused.get_details_retry_info().is_some());
    who_am_i(&world.admin(&node)).await.unwrap();
    node.end().await;

    let program = Program::start(&world, "", Stdio::piped()).await;
    let (status, body) = http(program.public, "/readyz").await;
    let readiness: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &readiness["warnings"][0]["reason"]), (200, &"STORE_RESTORING".into()));
    let check = String::from_utf8(program.check().await.stdout).unwrap();
    let line = check.lines().find(|line| line.starts_with("restore "));
    assert!(line.is_some_and(|line| line.contains("from backup.db") && line.contains("--give-up")), "{check}");
    program.end().await;
}
