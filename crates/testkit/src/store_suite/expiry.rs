//! Records that have expired. Expiries here are whole seconds: a store may keep no finer ones (DynamoDB's TTL
//! attribute has seconds).

use std::sync::Arc;

use signet_core::{
    Lifetime, Store, Time,
    audit::Seal,
    principals::Principal,
    store::{Entity, Query, Table, Version, Versioned, Write},
};

use super::support::{CONFLICT_AT_0, all, assert_kept, create_all, eventually, write, write_at};
use crate::fixtures::{later, principal, seal, unique_tenant};

/// A worker that expires a minute after `NOW`.
fn mortal() -> (Principal, Time, Time) {
    let expiry = later(60);
    let worker = Principal { free_at: Some(expiry), ..principal(&unique_tenant(), "mortal") };
    (worker, Time::from_unix_millis(expiry.unix_millis() - 1), expiry)
}

/// `Store`: a record whose `expires_at` is not after `now` is absent for every call: `get`, tables and indexes.
pub async fn expired_records_are_absent_from_reads(store: Arc<dyn Store>) {
    let (worker, just_before, expiry) = mortal();
    write(&*store, Write::create(worker.clone())).await.unwrap();
    let kept = Versioned { value: worker.clone().into(), version: Version::new(1) };
    assert_eq!(store.get(&worker.key(), just_before).await.unwrap(), Some(kept));
    assert_eq!(store.get(&worker.key(), expiry).await.unwrap(), None);

    let partition = Query::table(Table::Principals, worker.key().partition);
    assert_eq!(all(&*store, &partition, just_before).await.len(), 1);
    assert_eq!(all(&*store, &partition, expiry).await, []);

    let place = worker.indexes().remove(0);
    let listing = Query::index(Table::Principals, place.index, place.partition);
    eventually(&*store, &listing, just_before, |found| found.len() == 1).await;
    assert_eq!(all(&*store, &listing, expiry).await, []);
}

/// … also as the object of a condition.
pub async fn expired_records_fail_every_condition(store: Arc<dyn Store>) {
    let (worker, just_before, expiry) = mortal();
    write(&*store, Write::create(worker.clone())).await.unwrap();
    let at_version_1 = [
        Write::Check(worker.key(), Version::new(1)),
        Write::replace(worker.clone(), Version::new(1)),
        Write::Delete(worker.key(), Version::new(1)),
    ];
    for attempt in at_version_1 {
        assert_eq!(write_at(&*store, expiry, attempt.clone()).await, CONFLICT_AT_0, "{attempt:?}");
    }
    assert_kept(&*store, &worker, 1).await;
    write_at(&*store, just_before, Write::replace(worker.clone(), Version::new(1))).await.unwrap();
    assert_kept(&*store, &worker, 2).await;
}

/// `Write::Create`: there must be no unexpired record.
pub async fn create_over_an_expired_record_starts_anew(store: Arc<dyn Store>) {
    let (worker, just_before, expiry) = mortal();
    write(&*store, Write::create(worker.clone())).await.unwrap();
    write(&*store, Write::replace(worker.clone(), Version::new(1))).await.unwrap();

    let successor = Principal { free_at: None, display_name: "successor".into(), ..worker };
    assert_eq!(write_at(&*store, just_before, Write::create(successor.clone())).await, CONFLICT_AT_0);
    write_at(&*store, expiry, Write::create(successor.clone())).await.unwrap();
    assert_kept(&*store, &successor, 1).await;
}

/// The expiry is that of the value written last.
pub async fn replacing_moves_or_lifts_the_expiry(store: Arc<dyn Store>) {
    let (worker, _, expiry) = mortal();
    write(&*store, Write::create(worker.clone())).await.unwrap();
    let extended = Principal { free_at: Some(expiry.plus(Lifetime::seconds(1))), ..worker.clone() };
    write(&*store, Write::replace(extended, Version::new(1))).await.unwrap();
    assert!(store.get(&worker.key(), expiry).await.unwrap().is_some());

    let immortal = Principal { free_at: None, ..worker.clone() };
    write(&*store, Write::replace(immortal, Version::new(2))).await.unwrap();
    assert!(store.get(&worker.key(), expiry.plus(Lifetime::days(1))).await.unwrap().is_some());

    write(&*store, Write::replace(worker.clone(), Version::new(3))).await.unwrap();
    assert_eq!(store.get(&worker.key(), expiry).await.unwrap(), None);
}

/// `Page`: it may have fewer records than asked for, also none, and yet a next page.
pub async fn expired_records_do_not_end_a_listing(store: Arc<dyn Store>) {
    let tenant = unique_tenant();
    let expiry = later(60);
    let seals: Vec<Seal> = (0..300)
        .map(|minute| match minute % 100 {
            0..=80 => Seal { keep_until: expiry, ..seal(&tenant, minute) },
            _ => seal(&tenant, minute),
        })
        .collect();
    create_all(&*store, seals.clone()).await;
    let live: Vec<_> = seals.iter().filter(|seal| seal.keep_until > expiry).map(Entity::key).collect();
    for descending in [false, true] {
        let query = Query { descending, ..Seal::of(&tenant).limit(10) };
        let mut found: Vec<_> = all(&*store, &query, expiry).await.iter().map(|seal| seal.value.key()).collect();
        if descending {
            found.reverse();
        }
        assert_eq!(found, live, "descending: {descending}");
    }
}
