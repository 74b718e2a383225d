//! Principals that are suspended by themselves.

use signet_app::{
    Chore,
    principals::{self, failures},
};
use signet_core::{Lifetime, PrincipalId, PrincipalType, Time, principals::PrincipalStatus, tenants::FailureLimit};
use signet_testkit::fixtures::{NOW, later};

use crate::world::*;

fn last() -> failures::RefusedCall {
    let limit = FailureLimit { failures: 10, window: Lifetime::minutes(5) };
    let source = Some("192.0.2.7".parse().unwrap());
    failures::RefusedCall { limit, operation: "ListPrincipals", reason: "PERMISSION_MISSING", source }
}

async fn suspend(world: &World, id: &PrincipalId, now: Time) -> bool {
    let chore = Chore::new("failure-limit", now);
    failures::suspend_for_failures(&world.app, &chore, &tid("acme"), id, &last()).await.unwrap()
}

#[tokio::test]
async fn a_principal_is_suspended_once_by_many_nodes_and_the_log_says_why() {
    let world = World::new().await;
    world.principal("w-1").await;
    let before = world.ledger.events().len();
    let id = pid("w-1");
    let many: Vec<bool> = futures::future::join_all((0..4).map(|_| suspend(&world, &id, later(1)))).await;
    assert_eq!(many.iter().filter(|is_new| **is_new).count(), 1, "{many:?}");
    let found = principals::get_principal(&world.app, &call("GetPrincipal"), &acme(), &id).await.unwrap();
    assert_eq!(found.status, PrincipalStatus::Suspended);
    let events = world.ledger.events();
    assert_eq!(events.len(), before + 1);
    let event: serde_json::Value = serde_json::from_str(&events[before].payload).unwrap();
    assert_eq!(event["operation"], "SuspendPrincipal");
    assert_eq!(event["actor"], serde_json::json!({ "kind": "process", "name": "failure-limit" }));
    assert_eq!((&event["outcome"], &event["source"]), (&"OK".into(), &"192.0.2.7".into()));
    let details = &event["details"];
    let told = ["reason", "failures", "window_seconds", "last_operation", "last_reason"].map(|name| &details[name]);
    assert_eq!(told, ["FAILURE_LIMIT_REACHED", "10", "300", "ListPrincipals", "PERMISSION_MISSING"]);
}

#[tokio::test]
async fn admins_and_those_who_are_not_active_are_left_as_they_are() {
    let world = World::new().await;
    for (id, of) in [("boss", PrincipalType::Admin), ("gone", PrincipalType::Worker)] {
        let input = new_principal(id, of, &[]);
        principals::create_principal(&world.app, &call("CreatePrincipal"), &acme(), input).await.unwrap();
    }
    let permit = operator();
    principals::deletion::delete_principal(&world.app, &call("DeletePrincipal"), &permit, &acme(), &pid("gone"))
        .await
        .unwrap();
    let before = world.ledger.events().len();
    assert!(!suspend(&world, &pid("boss"), NOW).await && !suspend(&world, &pid("gone"), NOW).await);
    assert_eq!(world.ledger.events().len(), before);
}
