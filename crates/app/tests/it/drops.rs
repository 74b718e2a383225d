//! Callers that hang up, at every point of every operation: what was decided is carried out, and a repetition
//! completes.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use signet_app::{
    App, Enroll, IssuedLeaf, Proof,
    certificates::renewal,
    enrollment::{self, out_of_band},
    sync::detached,
};
use signet_core::{Error, KeyManager};
use signet_testkit::{
    drops::{dropped_after, dropped_once},
    fixtures::NOW,
};

use crate::{
    crashes::completes,
    lineage::{confirm, now, renew, signed, worker},
    operations::{ALL, Operation, prepare},
    world::*,
};

/// More waits than any operation has.
const MOST_WAITS: usize = 500;

/// Wherever the call of an operation is dropped, the same request completes the operation, once, and answers the same
/// from then on. (The store and the keys of these tests check at each write and signature that it was audited and
/// recorded.)
#[tokio::test]
async fn invariant_12_every_operation_may_be_dropped_at_every_point_and_repeated() {
    let world = Arc::new(World::new().await);
    let mut number = 0;
    for operation in ALL {
        let mut waits = 0;
        loop {
            (number, waits) = (number + 1, waits + 1);
            assert!(waits < MOST_WAITS, "{} never ends", operation.name);
            if one_drop(&world, operation, number, waits).await {
                break;
            }
        }
        assert!(waits > 2, "{} does not wait for the store", operation.name);
    }
}

/// Returns whether the operation ended before it was dropped.
async fn one_drop(world: &Arc<World>, operation: &Operation, number: usize, waits: usize) -> bool {
    let case = format!("{} dropped at wait {waits}", operation.name);
    let run = prepare(world, operation.name, number).await;
    let events = world.outcomes(operation.name).len();
    let first = dropped_after(waits, run()).await;
    detached::wait_detached(&world.app).await;
    world.ledger.settled().await;
    assert!(world.keys.unnamed(NOW).await.unwrap().is_empty(), "{case}: a key was made that nothing refers to");
    let (second, third) = (run().await, run().await);
    assert!(completes(&second, operation, &first.clone().unwrap_or_else(|| Ok(String::new()))), "{case}: {second:?}");
    if operation.name != "CreateToken" {
        assert_eq!(second, third, "{case}");
    }
    assert_eq!(world.outcomes(operation.name).len() - events, operation.events, "{case}");
    first.is_some()
}

/// Every RPC that changes something carries a request id, and is among the operations that the tests of crashes, drops
/// and retries go through.
#[test]
fn every_mutating_rpc_is_an_operation_of_these_tests() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto/signet/v1");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap());
    let text = files.collect::<Vec<_>>().join("\n");
    let mutating = |request: &str| {
        let message = text.split(&format!("message {request} {{")).nth(1).expect("the request's message");
        let end = if message.starts_with('}') { "}" } else { "\n}" };
        message.split(end).next().unwrap().contains(" request_id = ")
    };
    let rpcs = text.lines().filter_map(|line| line.trim().strip_prefix("rpc ")?.split_once('('));
    let rpcs: Vec<_> = rpcs.filter(|(_, rest)| mutating(rest.split(')').next().unwrap())).collect();
    assert!(rpcs.len() > 15, "the .proto files are not read rightly: {rpcs:?}");
    let known: BTreeSet<&str> = ALL.iter().map(|operation| operation.name).collect();
    let steps = ["PrepareCa", "ActivateCa", "RetireCa"];
    let is_known = |name: &str| match name {
        "RotateCertificateAuthority" => steps.iter().all(|step| known.contains(step)),
        name => known.contains(name),
    };
    let missing: Vec<_> = rpcs.iter().map(|(name, _)| name).filter(|name| !is_known(name)).collect();
    assert!(missing.is_empty(), "add them to operations.rs: {missing:?}");
}

impl World {
    /// Drops `call` once it, or what it entails, has asked the store that often.
    async fn dropped_at<T>(&self, calls: usize, call: impl Future<Output = T>) -> Option<T> {
        let from = self.store.calls();
        dropped_once(|| self.store.calls() - from >= calls, call).await
    }
}

async fn copied(world: &World, name: &str) -> (IssuedLeaf, IssuedLeaf) {
    world.principal(name).await;
    let first = world.issue(name).await;
    let second = renew(world, &first).await.unwrap();
    confirm(world, &second).await.unwrap();
    (first, second)
}

/// Whoever renews from a copied key and resets its stream: from the moment of the decision, the instance is locked.
#[tokio::test]
async fn a_thief_that_hangs_up_is_locked_out_all_the_same() {
    let world = World::new().await;
    let mut locked = 0;
    for calls in 1..MOST_WAITS {
        let (first, second) = copied(&world, &format!("worker-{calls}")).await;
        let (permit, scope, csr, call) = (renewal_of(&first), acme(), csr(), call("RenewCertificate"));
        let answer =
            world.dropped_at(calls, renewal::renew_certificate(&world.app, &call, &permit, &scope, &csr)).await;
        detached::wait_detached(&world.app).await;
        world.ledger.settled().await;
        let is_locked = now(&world, &second).await.lineage.locked_at.is_some();
        locked += usize::from(is_locked);
        // Once it is decided at some call, it is at all later ones.
        assert!(is_locked || locked == 0, "not locked at call {calls}");
        let clones = world.outcomes("RenewCertificate").iter().filter(|outcome| *outcome == "CLONE_DETECTED").count();
        assert_eq!(clones, locked, "call {calls}");
        if let Some(answer) = answer {
            assert_eq!(answer.unwrap_err().reason(), "CLONE_DETECTED");
            break;
        }
    }
    assert!(locked > 2, "the lock took no time at all: nobody could have hung up meanwhile");
}

/// By the door without a handshake, too.
#[tokio::test]
async fn a_refusal_is_recorded_and_counted_though_its_caller_is_gone() {
    for way in ["token", "renewal"] {
        let world = World::new().await;
        let mut recorded = 0;
        for calls in 1..MOST_WAITS {
            let before = world.outcomes(way_of(way)).len();
            let answer = refused_call(&world, way, calls).await;
            detached::wait_detached(&world.app).await;
            world.ledger.settled().await;
            let now = world.outcomes(way_of(way)).len() - before;
            assert!(now == 1 || recorded == 0, "{way}: not recorded at call {calls}");
            recorded += now;
            if let Some(answer) = answer {
                assert!(answer.is_err(), "{way}");
                break;
            }
        }
        assert!(recorded > 1, "{way}: {recorded}");
    }
}

fn way_of(way: &str) -> &'static str {
    if way == "token" { "Enroll" } else { "RenewOutOfBand" }
}

async fn refused_call(world: &World, way: &str, calls: usize) -> Option<Result<IssuedLeaf, Error>> {
    let app: &Arc<App> = &world.app;
    let request = format!("{way}-{calls}");
    if way == "token" {
        let proof = Proof::JoinToken(format!("sgt_{calls}").into());
        let input = Enroll { proof, principal: Some(pid("worker")), csr_der: csr() };
        return world.dropped_at(calls, enrollment::enroll(app, &anonymous(&request), input)).await;
    }
    let (key, held) = worker(world, &format!("worker-{calls}")).await;
    let mut input = signed(world, &key, &held, &request, NOW);
    input.signature_der = signed(world, &key, &held, "other", NOW).signature_der;
    let call = signet_app::Call { operation: "RenewOutOfBand", ..anonymous(&request) };
    world.dropped_at(calls, out_of_band::renew_out_of_band(app, &call, &input)).await
}
