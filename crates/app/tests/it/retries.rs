//! Invariant 9: retrying any mutating call with its request id is safe.

use std::sync::Arc;

use signet_core::{Error, PrincipalType, principal::PrincipalStatus};

use crate::{
    operations::{ALL, prepare},
    world::*,
};

#[tokio::test]
async fn invariant_9_the_same_request_twice_answers_the_same_and_happens_once() {
    let world = Arc::new(World::new().await);
    for (number, operation) in ALL.iter().enumerate() {
        let run = prepare(&world, operation.name, number).await;
        let events = world.outcomes(operation.name).len();
        let (first, second) = (run().await.unwrap(), run().await);
        match second {
            Err(Error::Precondition { reason: "SECRET_NOT_KEPT", .. }) => assert_eq!(operation.name, "CreateToken"),
            second => assert_eq!(second.unwrap(), first, "{}", operation.name),
        }
        assert_eq!(world.outcomes(operation.name).len() - events, operation.events, "{}", operation.name);
    }
}

/// A client that gave up waiting sends its request again while the first is still under way.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn invariant_9_the_same_request_many_times_at_once_happens_once() {
    let world = Arc::new(World::new().await);
    for (number, operation) in ALL.iter().enumerate().filter(|(_, operation)| operation.name != "CreateToken") {
        let run = prepare(&world, operation.name, number).await;
        let events = world.outcomes(operation.name).len();
        let answers = futures::future::join_all((0..8).map(|_| run())).await;
        for answer in &answers {
            assert_eq!(answer.as_ref().unwrap(), answers[0].as_ref().unwrap(), "{}", operation.name);
        }
        assert_eq!(world.outcomes(operation.name).len() - events, operation.events, "{}", operation.name);
    }
}

#[tokio::test]
async fn a_request_id_is_good_for_one_request_only() {
    let world = World::new().await;
    world.principal("worker").await;
    let call = call_with_id("IssueCertificate", "one");
    world.app.issue_certificate(&call, &acme(), &pid("worker"), &csr()).await.unwrap();
    let other_key = world.app.issue_certificate(&call, &acme(), &pid("worker"), &csr()).await.unwrap_err();
    assert_eq!(other_key.reason(), "REQUEST_ID_REUSED");
    let call = call_with_id("CreatePrincipal", "one");
    let input = new_principal("other", PrincipalType::Worker, &[]);
    let other_operation = world.app.create_principal(&call, &acme(), input).await.unwrap_err();
    assert_eq!(other_operation.reason(), "REQUEST_ID_REUSED");
    assert!(matches!(other_operation, Error::Invalid { field: "request_id", .. }));
}

/// A request that found all as asked is as much done as one that changed something: its repetition, however late, does not
/// undo what somebody else decided since.
#[tokio::test]
async fn invariant_9_what_changed_nothing_is_not_done_later() {
    let world = World::new().await;
    world.principal("worker").await;
    let (permit, tenant, worker) = (admin(), acme(), pid("worker"));
    let early = call_with_id("ActivatePrincipal", "early");
    let activate = || world.app.activate_principal(&early, &permit, &tenant, &worker);
    assert_eq!(activate().await.unwrap().status, PrincipalStatus::Active);
    let suspend = call_with_id("SuspendPrincipal", "since");
    world.app.suspend_principal(&suspend, &permit, &tenant, &worker).await.unwrap();
    assert_eq!(activate().await.unwrap().status, PrincipalStatus::Suspended);
    assert_eq!(world.get_principal("worker").await.status, PrincipalStatus::Suspended);
}
