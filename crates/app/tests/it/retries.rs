//! Invariant 9: retrying any mutating call with its request id is safe.

use std::sync::Arc;

use signet_core::{Error, PrincipalType, principal::PrincipalStatus};

use crate::{
    operations::{ALL, prepare},
    world::*,
};

use signet_app::{certificates::issuance, principals};

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
    issuance::issue_certificate(&world.app, &call, &acme(), &pid("worker"), &csr()).await.unwrap();
    let other_key = issuance::issue_certificate(&world.app, &call, &acme(), &pid("worker"), &csr()).await.unwrap_err();
    assert_eq!(other_key.reason(), "REQUEST_ID_REUSED");
    let call = call_with_id("CreatePrincipal", "one");
    let input = new_principal("other", PrincipalType::Worker, &[]);
    let other_operation = principals::create_principal(&world.app, &call, &acme(), input).await.unwrap_err();
    assert_eq!(other_operation.reason(), "REQUEST_ID_REUSED");
    assert!(matches!(other_operation, Error::Invalid { field: "request_id", .. }));
}

/// Also of a request that found all as it asked: what it asks for was decided otherwise since.
#[tokio::test]
async fn a_repetition_that_comes_late_takes_back_nothing_that_others_decided() {
    let world = World::new().await;
    world.principal("worker").await;
    let activate = || async {
        let call = call_with_id("ActivatePrincipal", "activate");
        principals::activate_principal(&world.app, &call, &admin(), &acme(), &pid("worker")).await.unwrap()
    };
    let first = activate().await;
    assert_eq!(first.status, PrincipalStatus::Active);
    let suspend = call_with_id("SuspendPrincipal", "suspend");
    principals::suspend_principal(&world.app, &suspend, &admin(), &acme(), &pid("worker")).await.unwrap();
    activate().await;
    let now = world.get_principal("worker").await;
    assert_eq!(now.status, PrincipalStatus::Suspended);
}
