//! Sizes.

use std::sync::Arc;

use signet_core::{
    Store, StoreError,
    audit::AuditEvent,
    store::{Entity, Index, Query, Table, Version, Write},
};

use super::support::{all, assert_absent, assert_kept, eventually, write};
use crate::fixtures::{NOW, ca, event, principal, seal, transaction, unique_tenant};

/// `Store::transact`: at most 100 writes.
pub async fn a_transaction_takes_100_writes(store: Arc<dyn Store>) {
    let tenant = unique_tenant();
    let seals: Vec<_> = (0..100).map(|minute| seal(&tenant, minute)).collect();
    store.transact(transaction(seals.clone().into_iter().map(Write::create))).await.unwrap();
    assert_kept(&*store, &seals[99], 1).await;
    let mut mixed: Vec<_> = seals.iter().map(|seal| Write::replace(seal.clone(), Version::new(1))).collect();
    mixed[50] = Write::Check(seals[50].key(), Version::new(1));
    mixed[99] = Write::Delete(seals[99].key(), Version::new(1));
    store.transact(transaction(mixed)).await.unwrap();
    assert_kept(&*store, &seals[98], 2).await;
    assert_kept(&*store, &seals[50], 1).await;
    assert_absent(&*store, &seals[99].key()).await;
}

/// `StoreError::TooLarge`: too many writes; nothing was applied.
pub async fn more_than_100_writes_are_too_large(store: Arc<dyn Store>) {
    let tenant = unique_tenant();
    let seals: Vec<_> = (0..101).map(|minute| seal(&tenant, minute)).collect();
    let refused = store.transact(transaction(seals.clone().into_iter().map(Write::create))).await;
    assert!(matches!(refused, Err(StoreError::TooLarge(_))), "{refused:?}");
    assert_absent(&*store, &seals[0].key()).await;
}

/// `Store::transact`: each write of another key.
pub async fn one_key_twice_in_a_transaction_is_refused(store: Arc<dyn Store>) {
    let worker = principal(&unique_tenant(), "a");
    let twice = [Write::create(worker.clone()), Write::replace(worker.clone(), Version::new(1))];
    assert!(store.transact(transaction(twice)).await.is_err());
    assert_absent(&*store, &worker.key()).await;
    write(&*store, Write::create(worker.clone())).await.unwrap();
    let twice = [Write::Check(worker.key(), Version::new(1)), Write::replace(worker.clone(), Version::new(1))];
    assert!(store.transact(transaction(twice)).await.is_err());
    assert_kept(&*store, &worker, 1).await;
}

/// A record may be almost as large as DynamoDB takes (400 KB with its names), in its table and in an index.
pub async fn a_record_of_300_kilobytes_is_kept(store: Arc<dyn Store>) {
    let tenant = unique_tenant();
    let large = AuditEvent { payload: "0123456789".repeat(30_000), ..event(&tenant, "0001") };
    write(&*store, Write::create(large.clone())).await.unwrap();
    assert_kept(&*store, &large, 1).await;
    let place = large.indexes().remove(0);
    let query = Query::index(Table::Audit, Index::Listing, place.partition);
    eventually(&*store, &query, NOW, |found| found.len() == 1 && found[0].value == large.clone().into()).await;
}

/// `StoreError::TooLarge`: a record above 400 KB, in every store, so that none takes what production refuses.
pub async fn a_record_above_the_limit_is_too_large(store: Arc<dyn Store>) {
    let tenant = unique_tenant();
    let huge = AuditEvent { payload: "0123456789".repeat(100_000), ..event(&tenant, "0001") };
    let beside = principal(&tenant, "beside");
    let refused = store.transact(transaction([Write::create(beside.clone()), Write::create(huge.clone())])).await;
    assert!(matches!(refused, Err(StoreError::TooLarge(_))), "{refused:?}");
    assert_absent(&*store, &beside.key()).await;
    assert_absent(&*store, &huge.key()).await;
}

/// `Page`: fewer records than asked for is no end (DynamoDB ends a page at 1 MB).
pub async fn a_page_may_be_larger_than_one_answer(store: Arc<dyn Store>) {
    let tenant = unique_tenant();
    for generation in 1..=12 {
        let mut large = ca(&tenant, generation);
        large.certificate_der = vec![0xff; 200_000];
        write(&*store, Write::create(large)).await.unwrap();
    }
    let query = Query::table(Table::Tenants, tenant.as_str()).limit(1000);
    assert_eq!(all(&*store, &query, NOW).await.len(), 12);
    assert_eq!(all(&*store, &query.descending(), NOW).await.len(), 12);
}
