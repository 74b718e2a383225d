//! Many writers at once.

use std::sync::Arc;

use signet_core::{
    Lifetime, Store, StoreError,
    principals::Principal,
    store::{
        Body, Entity, Key, Version, Versioned, Write,
        commit::{Commit, FeedEnd, Group, Obstacle},
    },
    trust::change::{Change, ChangeEntry, ChangeHead},
};
use tokio::task::JoinSet;

use super::support::{all, get, write};
use crate::fixtures::{NOW, event, principal, transaction, unique_tenant};

const WRITERS: u64 = 8;

async fn worker_at(store: &dyn Store, key: &Key) -> (Principal, Version) {
    let Versioned { value, version } = get(store, key).await.unwrap();
    (Principal::try_from(value).unwrap(), version)
}

/// Replace at version is a compare-and-swap.
pub async fn concurrent_increments_lose_nothing(store: Arc<dyn Store>) {
    let worker = principal(&unique_tenant(), "counter");
    let key = worker.key();
    write(&*store, Write::create(worker)).await.unwrap();
    let mut writers = JoinSet::new();
    for _ in 0..WRITERS {
        let (store, key) = (Arc::clone(&store), key.clone());
        writers.spawn(async move {
            for _ in 0..5 {
                loop {
                    let (mut worker, version) = worker_at(&*store, &key).await;
                    worker.generation += 1;
                    match write(&*store, Write::replace(worker, version)).await {
                        Ok(()) => break,
                        Err(StoreError::Conflict { write: 0 }) => {}
                        Err(other) => panic!("{other}"),
                    }
                }
            }
        });
    }
    writers.join_all().await;
    let (worker, version) = worker_at(&*store, &key).await;
    assert_eq!((worker.generation, version), (1 + WRITERS * 5, Version::new(1 + WRITERS * 5)));
}

/// A single-use token rests on this.
pub async fn of_concurrent_creations_exactly_one_wins(store: Arc<dyn Store>) {
    let tenant = unique_tenant();
    for round in 0..5 {
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let store = Arc::clone(&store);
            let mut worker = principal(&tenant, &format!("round-{round}"));
            worker.generation = writer;
            let mark = event(&tenant, &format!("{round}-{writer}"));
            writers.spawn(async move {
                let both = transaction([Write::create(mark.clone()), Write::create(worker)]);
                (writer, store.transact(both).await, get(&*store, &mark.key()).await)
            });
        }
        let outcomes = writers.join_all().await;
        let won: Vec<u64> = outcomes.iter().filter(|(_, result, _)| result.is_ok()).map(|(n, ..)| *n).collect();
        assert_eq!(won.len(), 1, "{outcomes:?}");
        for (_, result, mark) in &outcomes {
            assert!(matches!(result, Ok(()) | Err(StoreError::Conflict { write: 1 })), "{result:?}");
            assert_eq!(result.is_ok(), mark.is_some());
        }
        let (kept, version) = worker_at(&*store, &principal(&tenant, &format!("round-{round}")).key()).await;
        assert_eq!((kept.generation, version), (won[0], Version::new(1)));
    }
}

/// Transactions that take the same keys in different order neither block each other nor mix.
pub async fn crossing_transactions_stay_whole(store: Arc<dyn Store>) {
    let tenant = unique_tenant();
    let keys = ["a", "b"].map(|id| principal(&tenant, id).key());
    store.transact(transaction(["a", "b"].map(|id| Write::create(principal(&tenant, id))))).await.unwrap();
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (store, mut keys) = (Arc::clone(&store), keys.clone());
        if writer % 2 == 1 {
            keys.reverse();
        }
        writers.spawn(async move {
            for _ in 0..3 {
                while !both_incremented(&*store, &keys).await {}
            }
        });
    }
    writers.join_all().await;
    for key in &keys {
        assert_eq!(worker_at(&*store, key).await.0.generation, 1 + WRITERS * 3, "{key}");
    }
}

async fn both_incremented(store: &dyn Store, keys: &[Key; 2]) -> bool {
    let mut writes = Vec::new();
    for key in keys {
        let (mut worker, version) = worker_at(store, key).await;
        worker.generation += 1;
        writes.push(Write::replace(worker, version));
    }
    match store.transact(transaction(writes)).await {
        Ok(()) => true,
        Err(StoreError::Conflict { .. }) => false,
        Err(other) => panic!("{other}"),
    }
}

/// The changes feed: sequence numbers without gaps, and every commit in it exactly once.
pub async fn the_feed_has_no_gaps_under_concurrency(store: Arc<dyn Store>) {
    let tenant = unique_tenant();
    let shard = ChangeHead::shard_of(&tenant);
    let start = feed_head(&*store, shard).await.map_or(0, |head| head.value.last);
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (store, tenant) = (Arc::clone(&store), tenant.clone());
        writers.spawn(async move {
            for number in 0..3 {
                let commit = Commit::audited(event(&tenant, &format!("{writer}-{number}")), NOW).announce(
                    &tenant,
                    Change::TenantChanged,
                    NOW.plus(Lifetime::hours(1)),
                );
                while !announced(&*store, &commit, shard).await {}
            }
        });
    }
    writers.join_all().await;
    let entries: Vec<ChangeEntry> = all(&*store, &ChangeEntry::after(shard, start), NOW)
        .await
        .into_iter()
        .map(|record| ChangeEntry::try_from(record.value).unwrap())
        .collect();
    assert!(entries.iter().zip(start + 1..).all(|(entry, sequence)| entry.sequence == sequence), "{entries:?}");
    assert_eq!(entries.iter().filter(|entry| entry.tenant == tenant).count() as u64, WRITERS * 3);
}

async fn feed_head(store: &dyn Store, shard: u32) -> Option<Versioned<ChangeHead>> {
    let Versioned { value, version } = get(store, &ChangeHead::key_of(shard)).await?;
    let Body::ChangeHead(value) = value else { panic!("not a head: {value:?}") };
    Some(Versioned { value, version })
}

async fn announced(store: &dyn Store, commit: &Commit, shard: u32) -> bool {
    let end = feed_head(store, shard).await.as_ref().map_or_else(FeedEnd::default, FeedEnd::from);
    let group = Group::new(shard, [commit], end);
    match store.transact(group.transaction.clone()).await {
        Ok(()) => true,
        Err(StoreError::Conflict { write }) if group.obstacle(write) == Obstacle::Feed => false,
        Err(other) => panic!("{other}"),
    }
}
