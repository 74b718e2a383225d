//! Records that somebody else wrote: another release, or a hand. An adapter's tests reach around the adapter ([`Raw`])
//! and the suite sees what it makes of them: `signet_testkit::raw_suite!(factory)`, with a factory of a store and its
//! `Raw`.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};
use signet_core::{
    Store, StoreError,
    principals::{HeldCertificate, Principal, PrincipalStatus},
    store::{Body, Entity, Key, Query, Table, Unreadable, Version, Write},
};

use super::support::{CONFLICT_AT_0, get, keys, write, write_at};
use crate::fixtures::{
    NOW, ca, certificate, event, later, principal, request, seal, tenant, token, unique, unique_tenant,
};

/// What is stored under a key, without the adapter.
#[async_trait]
pub trait Raw: Send + Sync {
    /// The record's body.
    async fn body(&self, key: &Key) -> Value;
    /// Puts another body in its place; all else of the record stays as it is.
    async fn set_body(&self, key: &Key, body: Value);
    /// Sets the schema version it claims.
    async fn set_schema(&self, key: &Key, version: u32);
}

/// A store and the way around it.
pub type RawStore = (Arc<dyn Store>, Arc<dyn Raw>);

/// Makes one test per case. See [the module](mod@crate::store_suite).
#[macro_export]
macro_rules! raw_suite {
    ($factory:path) => {
        $crate::suite_tests! { [store_suite $factory]
            an_unreadable_record_is_named_in_every_table
            others_are_read_beside_an_unreadable_record
            an_unreadable_record_can_be_deleted_and_expires
            what_a_later_release_added_survives_a_replacement
            what_a_later_release_added_goes_where_its_record_goes
            records_of_every_release_are_read_and_lose_nothing
        }
    };
}

/// Ways in which a record cannot be read.
async fn harms(raw: &dyn Raw, key: &Key, number: usize) {
    let entity = raw.body(key).await["entity"].clone();
    match number {
        0 => raw.set_body(key, json!({})).await,
        1 => raw.set_body(key, json!({ "entity": entity })).await,
        2 => raw.set_body(key, json!({ "entity": "of a later release" })).await,
        // Another's, whole and good.
        3 => raw.set_body(key, serde_json::to_value(Body::from(tenant(&unique_tenant()))).unwrap()).await,
        _ => raw.set_schema(key, 99).await,
    }
}

const HARMS: usize = 5;

/// Adds a field to each object at any depth, as a later release may.
pub(super) fn extend(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            // Keys of these are names of variants: a new one is a new type of principal or threshold, which is another
            // matter.
            let of_variants = |name: &str| {
                matches!(name, "lifetimes" | "subjects" | "threshold" | "permissions" | "roles" | "groups" | "to")
            };
            fields.iter_mut().filter(|(name, _)| !of_variants(name)).for_each(|(_, value)| extend(value));
            fields.insert("of_a_later_release".into(), json!({ "list": [1, null, "text"] }));
        }
        Value::Array(list) => list.iter_mut().for_each(extend),
        _ => {}
    }
}

/// `Store`: what this version does not know survives its writes, at any depth and in every kind of record.
pub async fn what_a_later_release_added_survives_a_replacement((store, raw): RawStore) {
    for body in super::roundtrip::full(&unique_tenant()) {
        let key = body.key();
        write(&*store, Write::Create(body.clone())).await.unwrap();
        let mut extended = raw.body(&key).await;
        extend(&mut extended);
        raw.set_body(&key, extended.clone()).await;
        for _ in 0..2 {
            let found = get(&*store, &key).await.unwrap();
            // Of a change that is not known all is kept, with what was added to it.
            assert!(found.value == body || key.table == Table::Changes, "it is read all the same: {:?}", found.value);
            write(&*store, Write::Replace(found.value, found.version)).await.unwrap();
            assert_eq!(raw.body(&key).await, extended, "{key}");
        }
    }
}

/// The same of what is changed: fields go by their object, and elements keep theirs from list to list; what is gone is
/// gone.
pub async fn what_a_later_release_added_goes_where_its_record_goes((store, raw): RawStore) {
    let id = unique_tenant();
    let held = |number| {
        let of = certificate(&principal(&id, "worker"), number);
        HeldCertificate { issuer: of.issuer, serial: of.serial, not_after: of.not_after, instance: None }
    };
    let before = Principal { certificates: vec![held(1), held(2), held(3)], ..principal(&id, "worker") };
    write(&*store, Write::create(before.clone())).await.unwrap();
    let mut body = raw.body(&before.key()).await;
    body["max_certificates"] = json!(7);
    for number in 0..3 {
        body["certificates"][number]["mark"] = json!(number + 1);
    }
    raw.set_body(&before.key(), body).await;
    let found = get(&*store, &before.key()).await.unwrap();
    let after = Principal {
        certificates: vec![held(3), held(4)],
        superseded: vec![held(1)],
        status: PrincipalStatus::Suspended,
        ..before
    };
    write(&*store, Write::replace(after.clone(), found.version)).await.unwrap();
    assert_eq!(get(&*store, &after.key()).await.unwrap().value, after.clone().into());
    let body = raw.body(&after.key()).await;
    let marks = |list: &str| -> Vec<Value> {
        body[list].as_array().unwrap().iter().map(|held| held.get("mark").cloned().unwrap_or_default()).collect()
    };
    assert_eq!(body["max_certificates"], json!(7));
    assert_eq!((marks("certificates"), marks("superseded")), (vec![json!(3), Value::Null], vec![json!(1)]));
}

/// One record of each kind that has a table or partition of its own.
fn one_in_each_table() -> Vec<Body> {
    let id = unique_tenant();
    let worker = principal(&id, "worker");
    vec![
        tenant(&id).into(),
        ca(&id, 1).into(),
        certificate(&worker, 1).into(),
        worker.into(),
        token(&id, "token", &unique("secret")).into(),
        request(&id, "anonymous", "request").into(),
        super::roundtrip::change_entry(&id).into(),
        event(&id, "0001").into(),
        seal(&id, 1).into(),
    ]
}

/// `Store::get`, `Page::unreadable`: whatever the harm, the error names the record.
pub async fn an_unreadable_record_is_named_in_every_table((store, raw): RawStore) {
    let mut tables = std::collections::BTreeSet::new();
    for harm in 0..HARMS {
        for body in one_in_each_table() {
            let key = body.key();
            tables.insert(key.table);
            write(&*store, Write::Create(body)).await.unwrap();
            harms(&*raw, &key, harm).await;
            let error = store.get(&key, NOW).await.unwrap_err();
            let StoreError::Corrupt { key: named, .. } = &error else { panic!("{key}: {error}") };
            assert_eq!(*named, key.to_string());
            let page = store.query(&Query::table(key.table, key.partition.clone()), NOW).await.unwrap();
            assert!(page.unreadable.iter().any(|record| record.key == key), "{key} harmed by {harm}: {page:?}");
        }
    }
    assert_eq!(tables.len(), Table::ALL.len(), "all tables were tried");
}

/// `Page`: everything else of the partition is there, once and in order, whatever the page size; in an index too.
pub async fn others_are_read_beside_an_unreadable_record((store, raw): RawStore) {
    let id = unique_tenant();
    let cas: Vec<_> = (1..=9).map(|generation| ca(&id, generation)).collect();
    for ca in &cas {
        write(&*store, Write::create(ca.clone())).await.unwrap();
    }
    let whole = Query::table(Table::Tenants, id.as_str());
    assert_eq!(keys(&*store, &whole).await.len(), cas.len());
    let bad = cas[4].key();
    harms(&*raw, &bad, 1).await;
    for limit in [1, 2, 3, 100] {
        let (mut found, mut unreadable, mut query) = (Vec::new(), Vec::new(), whole.clone().limit(limit));
        loop {
            let page = store.query(&query, NOW).await.unwrap();
            assert!(page.records.len() + page.unreadable.len() <= limit as usize);
            found.extend(page.records.into_iter().map(|record| record.value));
            unreadable.extend(page.unreadable);
            match page.next {
                None => break,
                next => query = query.after(next),
            }
        }
        let expected: Vec<Body> = cas.iter().filter(|ca| ca.key() != bad).cloned().map(Body::from).collect();
        assert_eq!(found, expected, "{limit} a page");
        let named: Vec<&Key> = unreadable.iter().map(|record| &record.key).collect();
        assert_eq!(named, [&bad]);
    }
}

/// `Write`, `Unreadable::{expires_at, version}`: the version and the expiry hold whatever the body is.
pub async fn an_unreadable_record_can_be_deleted_and_expires((store, raw): RawStore) {
    let id = unique_tenant();
    let (deleted, expiring) = (token(&id, "a", &unique("secret")), token(&id, "b", &unique("secret")));
    for token in [&deleted, &expiring] {
        write(&*store, Write::create(token.clone())).await.unwrap();
        harms(&*raw, &token.key(), 0).await;
        assert_eq!(write(&*store, Write::create(token.clone())).await, CONFLICT_AT_0);
    }
    write(&*store, Write::Delete(deleted.key(), Version::new(1))).await.unwrap();
    assert_eq!(get(&*store, &deleted.key()).await, None);
    let end = expiring.expires_at().unwrap();
    let query = Query::table(Table::Enrollments, expiring.key().partition);
    let Unreadable { expires_at, version, .. } = store.query(&query, NOW).await.unwrap().unreadable.pop().unwrap();
    assert_eq!((expires_at, version.clone()), (Some(end), Some(Version::new(1))));
    write(&*store, Write::replace(expiring.clone(), version.unwrap())).await.unwrap();
    assert_eq!(get(&*store, &expiring.key()).await.unwrap().value, expiring.clone().into(), "written anew");
    harms(&*raw, &expiring.key(), 0).await;
    assert_eq!(store.query(&query, end).await.unwrap().unreadable, []);
    assert_eq!(store.get(&expiring.key(), end).await, Ok(None));
    let anew = signet_core::enrollment::EnrollmentToken { not_after: later(7200), ..expiring };
    write_at(&*store, end, Write::create(anew)).await.unwrap();
}
