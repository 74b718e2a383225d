use signet_core::store::Write;

use super::*;
use crate::{
    fixtures::{NOW, tenant, transaction},
    memory_store::MemoryStore,
};

fn create(id: &str) -> Transaction {
    transaction([Write::Create(tenant(&id.parse().unwrap()).into())])
}

/// Two transactions around a read: which of the three answered, and which records are there afterwards.
async fn run(ops: &'static [Op], number: usize, fault: Option<Fault<StoreError>>) -> ([bool; 3], [bool; 2]) {
    let store = FaultyStore::new(Arc::new(MemoryStore::default()));
    if let Some(fault) = fault {
        store.fail(ops, number, fault);
    }
    let key = |id: &str| Tenant::key_of(&id.parse().unwrap());
    let first = store.transact(create("a")).await.is_ok();
    let read = store.get(&key("a"), NOW).await.is_ok();
    let second = store.transact(create("b")).await.is_ok();
    assert_eq!(store.calls(), 3);
    assert!(store.restart(), "it happened");
    let mut there = [false; 2];
    for (there, id) in there.iter_mut().zip(["a", "b"]) {
        *there = store.get(&key(id), NOW).await.unwrap().is_some();
    }
    ([first, read, second], there)
}

#[tokio::test]
async fn each_fault_has_its_effect() {
    let (t, f, writes) = (true, false, &[Op::Transact]);
    assert_eq!(run(writes, 0, None).await, ([t, t, t], [t, t]));
    assert_eq!(run(writes, 0, Some(Fault::lost_request())).await, ([f, t, t], [f, t]));
    assert_eq!(run(writes, 0, Some(Fault::lost_answer())).await, ([f, t, t], [t, t]));
    assert_eq!(run(writes, 0, Some(Fault::CrashBefore)).await, ([f, f, f], [f, f]));
    assert_eq!(run(writes, 0, Some(Fault::CrashAfter)).await, ([f, f, f], [t, f]));
    assert_eq!(run(writes, 1, Some(Fault::lost_answer())).await, ([t, t, f], [t, t]));
    assert_eq!(run(Op::READS, 0, Some(Fault::lost_answer())).await, ([t, f, t], [t, t]));
    assert_eq!(run(Op::STORE, 2, Some(Fault::CrashAfter)).await, ([t, t, f], [t, t]));
}

#[tokio::test]
async fn a_fault_that_did_not_happen_is_told() {
    let store = FaultyStore::new(Arc::new(MemoryStore::default()));
    store.arm(1, Fault::lost_answer());
    store.transact(create("a")).await.unwrap();
    assert!(!store.restart());
    store.transact(create("b")).await.unwrap();
}

#[tokio::test]
async fn what_is_held_is_counted_and_goes_on_when_released() {
    let store = FaultyStore::new(Arc::new(MemoryStore::default()));
    store.hold();
    let calls: Vec<_> = ["a", "b"]
        .map(|id| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.transact(create(id)).await })
        })
        .into();
    while store.waiting() < 2 {
        yield_now().await;
    }
    store.let_through(1);
    while store.waiting() == 2 {
        yield_now().await;
    }
    store.release();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(store.waiting(), 0);
}
