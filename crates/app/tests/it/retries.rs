//! Invariant 9: retrying any mutating call with its request id is safe. And nobody retries for ever.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::future::{join, join_all};
use signet_app::{PrincipalPatch, certificates::issuance, principals};
use signet_core::{Error, PrincipalType, principals::PrincipalStatus};
use tokio::time::sleep;

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
        let answers = join_all((0..8).map(|_| run())).await;
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

/// An admin changes itself as often as it can.
#[tokio::test(start_paused = true)]
async fn who_changes_a_record_again_and_again_keeps_nobody_from_stopping_it() {
    let world = World::new().await;
    world.principal("w").await;
    world.store.take(Duration::from_millis(15));
    let (id, scope, permit) = (pid("w"), acme(), admin());
    let over = AtomicBool::new(false);
    let changes = |caller: usize| {
        let (world, id, scope, over) = (&world, &id, &scope, &over);
        async move {
            for round in 0_u64.. {
                let display_name = Some(format!("{caller} {round}"));
                let patch = PrincipalPatch { display_name, ..Default::default() };
                let changed =
                    principals::update_principal(&world.app, &call("UpdatePrincipal"), scope, id, patch).await;
                if over.load(Ordering::Relaxed) {
                    return changed.is_ok();
                }
            }
            false
        }
    };
    let stop = async {
        for _ in 0..10 {
            sleep(Duration::from_millis(100)).await;
            principals::suspend_principal(&world.app, &call("SuspendPrincipal"), &permit, &scope, &id).await.unwrap();
            principals::activate_principal(&world.app, &call("ActivatePrincipal"), &permit, &scope, &id).await.unwrap();
        }
        over.store(true, Ordering::Relaxed);
    };
    let ((), changed) = join(stop, join_all((0..32).map(changes))).await;
    assert!(changed.contains(&true), "they were at it to the end");
}
