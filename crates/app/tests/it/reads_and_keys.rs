//! Invariants 1, 5, 9 and 12 under faults that change nothing themselves: every operation × read, and × use of a key, ×
//! error. What went wrong is told by who must act, nothing is half done, and the same request completes it.

use std::sync::Arc;

use signet_app::sync::detached;
use signet_core::{Error, KeyError, KeyManager, StoreError};
use signet_testkit::{
    faulty::{Fault, Op},
    fixtures::NOW,
};

use crate::{
    crashes::completes,
    operations::{ALL, Operation, prepare},
    world::*,
};

/// Of a record that cannot be read: it is named, or the operation does without it.
const UNREADABLE: &str = "UNREADABLE";

/// What a read can answer, and the reason that its caller is told.
fn read_errors() -> [(StoreError, &'static str); 3] {
    let cause = || "by the test".to_owned();
    [
        (StoreError::Unavailable(cause()), "UNAVAILABLE"),
        (StoreError::Misconfigured(cause()), "MISCONFIGURED"),
        (StoreError::Corrupt { key: "somewhere".into(), reason: cause() }, UNREADABLE),
    ]
}

/// What a key manager or a signer can answer, having done its work or not, and the reason that the caller is told.
fn key_errors() -> Vec<(Fault<KeyError>, &'static str)> {
    let (key, reason) = ("somewhere".to_owned(), "by the test".to_owned());
    let errors = [
        (KeyError::Unavailable(reason.clone()), "UNAVAILABLE"),
        (KeyError::Unusable { key: key.clone(), reason: reason.clone() }, "MISCONFIGURED"),
        (KeyError::Denied { key: key.clone(), reason: reason.clone() }, "MISCONFIGURED"),
        (KeyError::NotMade { key: key.clone(), reason }, "MISCONFIGURED"),
        (KeyError::BadSignature(key), "INTERNAL"),
    ];
    let faults = errors.map(|(error, reason)| [Fault::Before(error.clone()), Fault::After(error)].map(|f| (f, reason)));
    faults.into_iter().flatten().collect()
}

#[tokio::test]
async fn invariant_9_12_every_operation_survives_a_failure_of_every_read() {
    for operation in ALL {
        let world = Arc::new(World::new().await);
        let run = prepare(&world, operation.name, 0).await;
        let before = world.store.count(Op::READS);
        run().await.unwrap();
        let reads = world.store.count(Op::READS) - before;
        assert!(reads > 0, "{} reads nothing", operation.name);
        let cases = (0..reads).flat_map(|read| read_errors().map(|error| (read, error)));
        for (number, (read, (error, reason))) in (1..).zip(cases) {
            let case = format!("{} read {read} {error:?}", operation.name);
            let arm = || world.store.fail(Op::READS, read, Fault::Before(error));
            one_case(&world, operation, number, reason, &case, arm).await;
        }
    }
}

#[tokio::test]
async fn invariant_1_9_12_every_operation_survives_a_failure_of_every_use_of_a_key() {
    let mut opened = 0;
    for operation in ALL {
        let world = World::new().await;
        let first = Arc::new(world.restarted(1000));
        let run = prepare(&first, operation.name, 0).await;
        let (before, open) = (world.key_faults.count(Op::KEYS), world.key_faults.count(&[Op::Open]));
        run().await.unwrap();
        let uses = world.key_faults.count(Op::KEYS) - before;
        opened += world.key_faults.count(&[Op::Open]) - open;
        let cases = (0..uses).flat_map(|nth| key_errors().into_iter().map(move |error| (nth, error)));
        for (number, (nth, (fault, reason))) in (1..).zip(cases) {
            let case = format!("{} use {nth} of a key {fault:?}", operation.name);
            let arm = || world.key_faults.fail(Op::KEYS, nth, fault);
            let restarted = Arc::new(world.restarted(1000 + number as u64));
            one_case(&restarted, operation, number, reason, &case, arm).await;
        }
    }
    assert!(opened > 4, "keys are opened by {opened} operations only");
}

async fn one_case(
    world: &Arc<World>,
    operation: &Operation,
    number: usize,
    reason: &str,
    case: &str,
    arm: impl FnOnce(),
) {
    let run = prepare(world, operation.name, number).await;
    let events = world.outcomes(operation.name).len();
    arm();
    let first = run().await;
    detached::wait_detached(&world.app).await;
    world.ledger.settled().await;
    assert!(world.store.restart() && world.key_faults.mend(), "{case}: the fault did not happen");
    let told = first.as_ref().map_err(Error::reason);
    match reason {
        UNREADABLE => assert!(matches!(told, Ok(_) | Err("RECORD_UNREADABLE")), "{case}: {told:?}"),
        reason => assert_eq!(told, Err(reason), "{case}"),
    }
    assert!(world.keys.unnamed(NOW).await.unwrap().is_empty(), "{case}: a key was made that nothing refers to");
    let (second, third) = (run().await, run().await);
    assert!(completes(&second, operation, &first), "{case}: {second:?}");
    if operation.name != "CreateToken" {
        assert_eq!(second, third, "{case}");
    }
    assert_eq!(world.outcomes(operation.name).len() - events, operation.events, "{case}");
}
