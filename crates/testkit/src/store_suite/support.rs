//! Shorthands of the cases.

use std::time::{Duration, Instant};

use signet_core::{
    Store, StoreError, Time,
    store::{Body, Index, Key, Page, Query, Record, Version, Versioned, Write},
};

use crate::fixtures::{NOW, transaction, transaction_at};

/// Indexes may lag; after this they must have caught up.
const INDEX_LAG: Duration = Duration::from_secs(30);

pub(super) const CONFLICT_AT_0: Result<(), StoreError> = Err(StoreError::Conflict { write: 0 });

pub(super) async fn write(store: &dyn Store, write: Write) -> Result<(), StoreError> {
    store.transact(transaction([write])).await
}

pub(super) async fn write_at(store: &dyn Store, now: Time, write: Write) -> Result<(), StoreError> {
    store.transact(transaction_at(now, [write])).await
}

/// Creates entities, 100 a transaction.
pub(super) async fn create_all<E: Record>(store: &dyn Store, entities: impl IntoIterator<Item = E>) {
    let writes: Vec<Write> = entities.into_iter().map(Write::create).collect();
    for chunk in writes.chunks(100) {
        store.transact(transaction(chunk.to_vec())).await.unwrap();
    }
}

pub(super) async fn get(store: &dyn Store, key: &Key) -> Option<Versioned<Body>> {
    store.get(key, NOW).await.unwrap()
}

/// Asserts that `entity` is kept at `version`.
pub(super) async fn assert_kept(store: &dyn Store, entity: &(impl Record + Clone), version: u64) {
    let expected = Versioned { value: entity.clone().into(), version: Version::new(version) };
    assert_eq!(get(store, &entity.key()).await, Some(expected));
}

pub(super) async fn assert_absent(store: &dyn Store, key: &Key) {
    assert_eq!(get(store, key).await, None, "{key}");
}

/// All pages of a query; checks each page's size and that the listing ends.
pub(super) async fn all(store: &dyn Store, query: &Query, now: Time) -> Vec<Versioned<Body>> {
    let mut records = Vec::new();
    let mut query = query.clone();
    for _ in 0..10_000 {
        let Page { records: page, unreadable, next } = store.query(&query, now).await.unwrap();
        // The index by time alone and whole tables are shared with tests that damage records of theirs.
        let is_shared = query.index == Some(Index::ByDeadline) || query.segment.is_some();
        assert!(is_shared || unreadable.is_empty(), "all can be read: {unreadable:?}");
        assert!(page.len() <= query.limit as usize, "{} records in a page of {}", page.len(), query.limit);
        records.extend(page);
        match next {
            None => return records,
            Some(_) => query = query.after(next),
        }
    }
    panic!("the listing does not end");
}

/// The keys of all records of a query.
pub(super) async fn keys(store: &dyn Store, query: &Query) -> Vec<Key> {
    all(store, query, NOW).await.iter().map(|record| record.value.key()).collect()
}

/// The sort keys of all records of a query.
pub(super) async fn sorts(store: &dyn Store, query: &Query) -> Vec<String> {
    keys(store, query).await.into_iter().map(|key| key.sort).collect()
}

/// Asks until `accept` holds for the records of a query, or fails when an index may lag no longer.
pub(super) async fn eventually(
    store: &dyn Store,
    query: &Query,
    now: Time,
    accept: impl Fn(&[Versioned<Body>]) -> bool,
) -> Vec<Versioned<Body>> {
    let deadline = Instant::now() + INDEX_LAG;
    loop {
        let records = all(store, query, now).await;
        if accept(&records) {
            return records;
        }
        assert!(Instant::now() < deadline, "the index did not catch up: {query:?} has {records:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
