//! The file: who may read it, what is refused and what the errors say.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use rusqlite::Connection;
use signet_core::{
    Store, StoreError,
    audit::Seal,
    store::{Entity, Query, Table, Version, Write},
};
use signet_sqlite::{OpenError, SqliteStore};
use signet_testkit::fixtures::{NOW, principal, seal, transaction, unique_tenant};

use super::{open, path};

#[tokio::test]
async fn only_the_owner_can_read_any_of_the_files() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(path(&folder), "").unwrap();
    fs::set_permissions(path(&folder), Permissions::from_mode(0o644)).unwrap();
    let store = open(&path(&folder));
    store.transact(transaction([Write::create(principal(&unique_tenant(), "a"))])).await.unwrap();
    let mut names = Vec::new();
    for entry in fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.file_name());
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, ["signet.db", "signet.db-reserve", "signet.db-shm", "signet.db-wal"]);
}

#[tokio::test]
async fn records_outlive_the_process_and_two_stores_share_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let worker = principal(&unique_tenant(), "a");
    let first = open(&path(&folder));
    let second = open(&path(&folder));
    first.transact(transaction([Write::create(worker.clone())])).await.unwrap();
    assert!(second.get(&worker.key(), NOW).await.unwrap().is_some());
    second.transact(transaction([Write::replace(worker.clone(), Version::new(1))])).await.unwrap();
    let stale = first.transact(transaction([Write::replace(worker.clone(), Version::new(1))])).await;
    assert_eq!(stale, Err(StoreError::Conflict { write: 0 }));
    drop((first, second));
    assert_eq!(open(&path(&folder)).get(&worker.key(), NOW).await.unwrap().unwrap().version, Version::new(2));
}

fn refusal(path: &Path) -> (OpenError, String) {
    let error = SqliteStore::open(path).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(path.to_str().unwrap()), "{text}");
    (error, text)
}

#[test]
fn a_file_of_another_kind_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (error, text) = refusal(folder.path());
    assert!(matches!(error, OpenError::Io { .. }) && text.contains("must exist and be writable"), "{text}");
    let (error, _) = refusal(&folder.path().join("missing/signet.db"));
    assert!(matches!(error, OpenError::Io { .. }));

    let noise = folder.path().join("noise");
    fs::write(&noise, "no database at all, but a text that is long enough\n".repeat(100)).unwrap();
    let (error, text) = refusal(&noise);
    assert!(matches!(error, OpenError::Damaged { .. }) && text.contains("choose another path"), "{text}");
    assert_eq!(fs::read(&noise).unwrap().len(), 5100);

    let foreign = folder.path().join("foreign");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE theirs (a)").unwrap();
    let before = fs::read(&foreign).unwrap();
    assert!(matches!(refusal(&foreign).0, OpenError::Foreign { .. }));
    assert_eq!(fs::read(&foreign).unwrap(), before);
}

#[test]
fn a_newer_schema_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(&path(&folder)));
    Connection::open(path(&folder)).unwrap().pragma_update(None, "user_version", 9).unwrap();
    let (error, text) = refusal(&path(&folder));
    assert!(matches!(error, OpenError::Newer { found: 9, known: 1, .. }) && text.contains("newer release"), "{text}");
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&path(&folder));
    let worker = principal(&unique_tenant(), "a");
    store.transact(transaction([Write::create(worker.clone())])).await.unwrap();
    let vandal = Connection::open(path(&folder)).unwrap();
    let expected = worker.key().to_string();
    for damage in ["schema_version = 99", "schema_version = 1, body = '{}'", "version = -1"] {
        vandal.execute_batch(&format!("UPDATE principals SET {damage}")).unwrap();
        let Err(StoreError::Corrupt { key, .. }) = store.get(&worker.key(), NOW).await else { panic!("{damage}") };
        assert_eq!(key, expected);
        let query = Query::table(Table::Principals, worker.key().partition);
        let page = store.query(&query, NOW).await.unwrap();
        assert_eq!((page.records, page.unreadable[0].key.to_string()), (vec![], expected.clone()), "{damage}");
    }
}

#[tokio::test]
async fn a_damaged_file_is_reported_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&path(&folder));
    let tenant = unique_tenant();
    store.transact(transaction((0..100).map(|minute| Write::create(seal(&tenant, minute))))).await.unwrap();
    Connection::open(path(&folder)).unwrap().pragma_update(None, "wal_checkpoint", "truncate").unwrap();
    drop(store);
    let mut bytes = fs::read(path(&folder)).unwrap();
    bytes[4096..].fill(0x5a);
    fs::write(path(&folder), bytes).unwrap();

    let outcome = match SqliteStore::open(&path(&folder)) {
        Err(error) => error.to_string(),
        Ok(store) => {
            let refused = store.transact(transaction([Write::create(seal(&tenant, 1000))])).await.unwrap_err();
            assert!(matches!(refused, StoreError::Misconfigured(_)), "{refused}");
            refused.to_string()
        }
    };
    assert!(outcome.contains("restore a backup") && outcome.contains("-wal"), "{outcome}");
}

#[tokio::test]
async fn a_page_of_large_records_ends_at_a_megabyte() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&path(&folder));
    let tenant = unique_tenant();
    for minute in 0..12 {
        let mut large = seal(&tenant, minute);
        large.signature = vec![0; 200_000];
        store.transact(transaction([Write::create(large)])).await.unwrap();
    }
    let page = store.query(&Seal::of(&tenant).limit(1000), NOW).await.unwrap();
    assert!((4..=5).contains(&page.records.len()) && page.next.is_some(), "{} records", page.records.len());
}

/// The field's way to back up: `cp signet.db`.
#[tokio::test]
async fn a_settled_store_is_whole_in_its_file_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (store, worker) = (open(&path(&folder)), principal(&unique_tenant(), "a"));
    store.transact(transaction([Write::create(worker.clone())])).await.unwrap();
    let copy = |name: &str| {
        let copy = folder.path().join(name);
        fs::copy(path(&folder), &copy).unwrap();
        copy
    };
    let kept = async |file: &Path| open(file).get(&worker.key(), NOW).await;
    assert_ne!(kept(&copy("before")).await.ok().flatten().map(|found| found.value), Some(worker.clone().into()));
    store.settle().await.unwrap();
    assert_eq!(kept(&copy("after")).await.unwrap().unwrap().value, worker.clone().into());
    store.transact(transaction([Write::replace(worker.clone(), Version::new(1))])).await.expect("it can still be used");
}

#[tokio::test]
async fn a_copy_of_a_store_in_use_is_whole_private_and_never_replaces_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let (store, worker) = (open(&path(&folder)), principal(&unique_tenant(), "a"));
    store.transact(transaction([Write::create(worker.clone())])).await.unwrap();
    let copy = folder.path().join("copy");
    SqliteStore::back_up(&path(&folder), &copy).unwrap();
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(open(&copy).get(&worker.key(), NOW).await.unwrap().unwrap().value, worker.into());
    assert!(matches!(SqliteStore::back_up(&path(&folder), &copy), Err(OpenError::Copy { .. })));
    assert!(SqliteStore::back_up(&folder.path().join("nothing"), &folder.path().join("other")).is_err());
}

#[tokio::test]
async fn a_copy_that_failed_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let _store = open(&path(&folder));
    // Nobody else has this one open.
    let damaged = folder.path().join("damaged");
    SqliteStore::back_up(&path(&folder), &damaged).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&damaged).unwrap();
    file.set_len(file.metadata().unwrap().len() - 4096).unwrap();
    let copy = folder.path().join("copy");
    let error = SqliteStore::back_up(&damaged, &copy).unwrap_err();
    assert!(error.to_string().contains("restore a backup"), "{error}");
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().starts_with("copy")), "{names:?}");
}

/// The runbook's first step forgotten: the store is put back while a process uses the file that was there.
#[tokio::test]
async fn a_file_that_was_replaced_is_neither_read_nor_written() {
    let folder = tempfile::tempdir().unwrap();
    let (store, worker) = (open(&path(&folder)), principal(&unique_tenant(), "a"));
    store.transact(transaction([Write::create(worker.clone())])).await.unwrap();
    let backup = folder.path().join("backup");
    SqliteStore::back_up(&path(&folder), &backup).unwrap();
    let aside = folder.path().join("aside");
    let refused = async || {
        let query = Query::table(Table::Changes, "shard#0");
        let answers = [
            store.get(&worker.key(), NOW).await.map(|_| ()),
            store.query(&query, NOW).await.map(|_| ()),
            store.transact(transaction([Write::replace(worker.clone(), Version::new(1))])).await,
            store.settle().await,
        ];
        for answer in answers {
            let Err(StoreError::Unavailable(text)) = answer else { panic!("{answer:?}") };
            assert!(text.contains("replaced") && text.contains("restart signetd"), "{text}");
        }
    };
    fs::rename(path(&folder), &aside).unwrap();
    refused().await;
    fs::copy(&backup, path(&folder)).unwrap();
    refused().await;
    // Put back as it was, with its log: nothing is lost.
    fs::rename(&aside, path(&folder)).unwrap();
    store.transact(transaction([Write::replace(worker.clone(), Version::new(1))])).await.unwrap();
}
