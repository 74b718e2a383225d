//! Conditions of writes, and what a transaction applies.

use std::sync::Arc;

use signet_core::{
    Store, StoreError, TenantId,
    store::{Entity, Query, Table, Version, Write, commit::Commit},
};

use super::support::{CONFLICT_AT_0, all, assert_absent, assert_kept, write};
use crate::fixtures::{NOW, ca, event, principal, request, tenant, transaction, unique_tenant};

/// `Write::Create`.
pub async fn create_is_refused_where_a_record_exists(store: Arc<dyn Store>) {
    let mut worker = principal(&unique_tenant(), "a");
    assert_absent(&*store, &worker.key()).await;
    write(&*store, Write::create(worker.clone())).await.unwrap();
    assert_kept(&*store, &worker, 1).await;

    let before = worker.clone();
    worker.display_name = "another".into();
    assert_eq!(write(&*store, Write::create(worker)).await, CONFLICT_AT_0);
    assert_kept(&*store, &before, 1).await;
}

/// `Write::Replace`.
pub async fn replace_needs_the_version_that_was_read(store: Arc<dyn Store>) {
    let mut worker = principal(&unique_tenant(), "a");
    assert_eq!(write(&*store, Write::replace(worker.clone(), Version::new(1))).await, CONFLICT_AT_0, "absent");
    assert_absent(&*store, &worker.key()).await;

    write(&*store, Write::create(worker.clone())).await.unwrap();
    worker.generation = 2;
    write(&*store, Write::replace(worker.clone(), Version::new(1))).await.unwrap();
    assert_kept(&*store, &worker, 2).await;
    for wrong in [0, 1, 3] {
        let other = signet_core::principals::Principal { generation: 9, ..worker.clone() };
        assert_eq!(write(&*store, Write::replace(other, Version::new(wrong))).await, CONFLICT_AT_0, "version {wrong}");
    }
    assert_kept(&*store, &worker, 2).await;
}

/// `Write::Delete`.
pub async fn delete_needs_the_version_that_was_read(store: Arc<dyn Store>) {
    let worker = principal(&unique_tenant(), "a");
    let key = worker.key();
    assert_eq!(write(&*store, Write::Delete(key.clone(), Version::new(1))).await, CONFLICT_AT_0, "absent");

    write(&*store, Write::create(worker.clone())).await.unwrap();
    assert_eq!(write(&*store, Write::Delete(key.clone(), Version::new(2))).await, CONFLICT_AT_0, "wrong version");
    assert_kept(&*store, &worker, 1).await;

    write(&*store, Write::Delete(key.clone(), Version::new(1))).await.unwrap();
    assert_absent(&*store, &key).await;
    assert_eq!(write(&*store, Write::Delete(key, Version::new(1))).await, CONFLICT_AT_0, "again");

    write(&*store, Write::create(worker.clone())).await.unwrap();
    assert_kept(&*store, &worker, 1).await;
}

/// `Write::Check` refuses the transaction at another version, and writes nothing itself.
pub async fn check_needs_the_version_and_writes_nothing(store: Arc<dyn Store>) {
    let tenant = unique_tenant();
    let (checked, made) = (principal(&tenant, "checked"), principal(&tenant, "made"));
    let check = |version| [Write::Check(checked.key(), Version::new(version)), Write::create(made.clone())];
    assert_eq!(store.transact(transaction(check(1))).await, CONFLICT_AT_0, "absent");

    write(&*store, Write::create(checked.clone())).await.unwrap();
    assert_eq!(store.transact(transaction(check(2))).await, CONFLICT_AT_0, "wrong version");
    assert_absent(&*store, &made.key()).await;

    store.transact(transaction(check(1))).await.unwrap();
    assert_kept(&*store, &made, 1).await;
    assert_kept(&*store, &checked, 1).await;
}

/// A record's version starts at one and grows by one a write.
pub async fn versions_count_the_writes(store: Arc<dyn Store>) {
    let mut worker = principal(&unique_tenant(), "a");
    write(&*store, Write::create(worker.clone())).await.unwrap();
    for version in 1..12 {
        assert_kept(&*store, &worker, version).await;
        worker.generation += 1;
        write(&*store, Write::replace(worker.clone(), Version::new(version))).await.unwrap();
    }
    assert_kept(&*store, &worker, 12).await;
}

/// `Store::transact`: `Conflict` names the first write whose condition failed, and nothing was applied.
pub async fn a_conflict_names_the_first_failing_write_and_nothing_is_applied(store: Arc<dyn Store>) {
    let tenant = unique_tenant();
    let [present, replaced, deleted] = ["present", "replaced", "deleted"].map(|id| principal(&tenant, id));
    for worker in [&present, &replaced, &deleted] {
        write(&*store, Write::create(worker.clone())).await.unwrap();
    }
    let fresh = principal(&tenant, "fresh");
    let good = [
        Write::create(fresh.clone()),
        Write::replace(replaced.clone(), Version::new(1)),
        Write::Delete(deleted.key(), Version::new(1)),
        Write::Check(present.key(), Version::new(1)),
    ];
    let absent = principal(&tenant, "absent");
    let bad = [
        Write::replace(absent, Version::new(1)),
        Write::Delete(principal(&tenant, "gone").key(), Version::new(1)),
        Write::Check(principal(&tenant, "missing").key(), Version::new(1)),
    ];
    for at in 0..=good.len() {
        let mut writes = good.to_vec();
        writes.splice(at..at, bad.clone());
        assert_eq!(store.transact(transaction(writes)).await, Err(StoreError::Conflict { write: at }));
        assert_absent(&*store, &fresh.key()).await;
        for worker in [&present, &replaced, &deleted] {
            assert_kept(&*store, worker, 1).await;
        }
    }
    store.transact(transaction(good)).await.unwrap();
    assert_kept(&*store, &fresh, 1).await;
    assert_kept(&*store, &replaced, 2).await;
    assert_absent(&*store, &deleted.key()).await;
}

/// `Store::transact`: all writes, whatever their tables.
pub async fn a_transaction_applies_all_its_writes_in_all_tables(store: Arc<dyn Store>) {
    let id = unique_tenant();
    let (owner, issuer, worker) = (tenant(&id), ca(&id, 1), principal(&id, "worker"));
    let (asked, noted) = (request(&id, "process/test", "request"), event(&id, "0001"));
    let commit = Commit::audited(noted.clone(), NOW)
        .write(Write::create(owner.clone()))
        .write(Write::create(issuer.clone()))
        .write(Write::create(worker.clone()))
        .write(Write::create(asked.clone()));
    store.transact(commit.to_transaction(None)).await.unwrap();
    assert_kept(&*store, &owner, 1).await;
    assert_kept(&*store, &issuer, 1).await;
    assert_kept(&*store, &worker, 1).await;
    assert_kept(&*store, &asked, 1).await;
    assert_kept(&*store, &noted, 1).await;
}

/// `Store`: reads of a table are strongly consistent, `get` as well as `query`.
pub async fn reads_of_a_table_see_what_was_answered(store: Arc<dyn Store>) {
    let id: TenantId = unique_tenant();
    let partition = Query::table(Table::Tenants, id.as_str());
    for generation in 1..=50 {
        let issuer = ca(&id, generation);
        write(&*store, Write::create(issuer.clone())).await.unwrap();
        assert_kept(&*store, &issuer, 1).await;
        assert_eq!(all(&*store, &partition, NOW).await.len(), generation as usize);
    }
}

/// A transaction that was applied is not applied again: the caller who had no answer repeats it and sees a conflict.
pub async fn repeating_a_transaction_is_a_conflict_and_changes_nothing(store: Arc<dyn Store>) {
    let id = unique_tenant();
    let mut worker = principal(&id, "a");
    write(&*store, Write::create(worker.clone())).await.unwrap();
    worker.generation = 2;
    let both = transaction([Write::replace(worker.clone(), Version::new(1)), Write::create(event(&id, "0001"))]);
    store.transact(both.clone()).await.unwrap();
    assert_eq!(store.transact(both).await, CONFLICT_AT_0);
    assert_kept(&*store, &worker, 2).await;
}
