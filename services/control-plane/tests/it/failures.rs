//! Principals whose calls are refused too often, after they have proved their keys.

use signet_core::PrincipalType;
use signet_proto::v1::{
    self as pb, Isolation, PrincipalStatus, certificate_service_client::CertificateServiceClient,
    principal_service_client::PrincipalServiceClient as Principals,
};
use tonic::{Code, Status, transport::Channel};

use crate::{
    status::{is_refused, open, who_am_i},
    world::{Node, World, eventually, reason},
};

/// A call that a worker has no right to.
async fn fail(channel: &Channel) -> Status {
    Principals::new(channel.clone()).list_principals(pb::ListPrincipalsRequest::default()).await.unwrap_err()
}

/// A call of an admin in another tenant.
async fn fail_abroad(channel: &Channel) -> Status {
    let request = pb::ListPrincipalsRequest { tenant_id: "globex".into(), ..Default::default() };
    Principals::new(channel.clone()).list_principals(request).await.unwrap_err()
}

async fn status_of(world: &World, node: &Node, id: &str) -> PrincipalStatus {
    let request = pb::GetPrincipalRequest { tenant_id: "acme".into(), principal_id: id.into() };
    Principals::new(world.admin(node)).get_principal(request).await.unwrap().into_inner().status()
}

async fn told(world: &World, node: &Node, name: &str, value: &str) -> Vec<serde_json::Value> {
    let events = world.audit(node, "acme").await;
    events.into_iter().filter(|event| event[name] == value).collect()
}

#[tokio::test]
async fn ten_refused_calls_suspend_a_principal_on_every_node_until_an_admin_activates_it() {
    let world = World::new().await;
    let (one, two) = (world.node().await, world.node_apart().await);
    world.tenant(&one, "acme", Isolation::Dedicated).await;
    let worker = world.principal(&one, "acme", "w-1", PrincipalType::Worker, &[]).await;
    let other = world.principal(&one, "acme", "w-2", PrincipalType::Worker, &[]).await;
    let (held, others) = (open(&world, [&one, &two], &worker).await, world.channel(&one, &other));
    let channel = world.channel(&one, &worker);
    for _ in 0..9 {
        assert_eq!(fail(&others).await.code(), Code::PermissionDenied);
        assert_eq!(fail(&channel).await.code(), Code::PermissionDenied);
    }
    who_am_i(&channel).await.unwrap();
    fail(&channel).await;
    eventually("it is suspended", async || status_of(&world, &one, "w-1").await == PrincipalStatus::Suspended).await;
    is_refused(&world, [&one, &two], &worker, held, "PRINCIPAL_DENIED").await;
    who_am_i(&others).await.unwrap();
    let events = told(&world, &one, "operation", "SuspendPrincipal").await;
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0]["actor"]["name"], "failure-limit");
    assert_eq!(events[0]["resource"]["id"], "w-1");
    assert_eq!(events[0]["details"]["reason"], "FAILURE_LIMIT_REACHED");
    assert_eq!(events[0]["details"]["last_operation"], "ListPrincipals");
    let metrics = one.metrics().await;
    assert!(metrics.contains("signet_failure_limits_total{outcome=\"suspended\"} 1"), "{metrics}");
    let request = pb::ActivatePrincipalRequest {
        tenant_id: "acme".into(),
        principal_id: "w-1".into(),
        request_id: signet_client::request_id(),
    };
    Principals::new(world.admin(&one)).activate_principal(request).await.unwrap();
    eventually("it is let in again", async || {
        who_am_i(&world.channel(&one, &worker)).await.is_ok() && who_am_i(&world.channel(&two, &worker)).await.is_ok()
    })
    .await;
    one.end().await;
    two.end().await;
}

#[tokio::test]
async fn an_admin_is_told_of_and_not_suspended() {
    let world = World::new().await;
    let node = world.node().await;
    world.tenant(&node, "acme", Isolation::Shared).await;
    let admin = world.principal(&node, "acme", "boss", PrincipalType::Admin, &[]).await;
    let channel = world.channel(&node, &admin);
    for _ in 0..10 {
        assert_eq!(fail_abroad(&channel).await.code(), Code::NotFound);
    }
    let is_told = async || told(&world, &node, "outcome", "FAILURE_LIMIT_REACHED").await.len() == 1;
    eventually("it is told", is_told).await;
    let event = told(&world, &node, "outcome", "FAILURE_LIMIT_REACHED").await.remove(0);
    assert_eq!((&event["actor"]["principal"], &event["details"]["failures"]), (&"boss".into(), &"10".into()));
    who_am_i(&channel).await.unwrap();
    assert_eq!(status_of(&world, &node, "boss").await, PrincipalStatus::Active);
    node.end().await;
}

#[tokio::test]
async fn a_tenant_has_a_limit_of_its_own_or_none_and_what_is_no_want_of_a_right_does_not_count() {
    let world = World::new().await;
    let node = world.node().await;
    world.tenant_with_limit(&node, "acme", Isolation::Shared, 2).await;
    world.tenant_with_limit(&node, "globex", Isolation::Shared, 0).await;
    let worker = world.principal(&node, "acme", "w-1", PrincipalType::Worker, &[]).await;
    let free = world.principal(&node, "globex", "w-1", PrincipalType::Worker, &[]).await;
    let (channel, free) = (world.channel(&node, &worker), world.channel(&node, &free));
    for _ in 0..30 {
        assert_eq!(fail(&free).await.code(), Code::PermissionDenied);
    }
    let mut certificates = CertificateServiceClient::new(channel.clone());
    for _ in 0..10 {
        let bad = pb::RenewCertificateRequest { csr_der: vec![1], request_id: signet_client::request_id() };
        let refused = certificates.renew_certificate(bad).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{}", reason(&refused));
    }
    fail(&channel).await;
    who_am_i(&channel).await.unwrap();
    fail(&channel).await;
    eventually("two are enough", async || status_of(&world, &node, "w-1").await == PrincipalStatus::Suspended).await;
    who_am_i(&free).await.unwrap();
    node.end().await;
}
