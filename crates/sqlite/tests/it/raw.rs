//! The way around the adapter.

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use rusqlite::{Connection, ToSql, params};
use serde_json::Value;
use signet_core::store::Key;
use signet_testkit::store_suite::{Raw, RawStore};
use tempfile::TempDir;

signet_testkit::raw_suite!(raw_store);

async fn raw_store() -> (RawStore, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = crate::path(&folder);
    ((crate::open(&path), Arc::new(RawFile(path))), folder)
}

struct RawFile(PathBuf);

impl RawFile {
    fn set(&self, key: &Key, column: &str, value: impl ToSql) {
        let sql = format!("UPDATE {} SET {column} = ?3 WHERE pk = ?1 AND sk = ?2", key.table.name());
        let connection = Connection::open(&self.0).unwrap();
        assert_eq!(connection.execute(&sql, params![key.partition, key.sort, value]).unwrap(), 1, "{key}");
    }
}

#[async_trait]
impl Raw for RawFile {
    async fn body(&self, key: &Key) -> Value {
        let sql = format!("SELECT body FROM {} WHERE pk = ?1 AND sk = ?2", key.table.name());
        let connection = Connection::open(&self.0).unwrap();
        let body: String = connection.query_row(&sql, [&key.partition, &key.sort], |row| row.get(0)).unwrap();
        serde_json::from_str(&body).unwrap()
    }

    async fn set_body(&self, key: &Key, body: Value) {
        self.set(key, "body", body.to_string());
    }

    async fn set_schema(&self, key: &Key, version: u32) {
        self.set(key, "schema_version", version);
    }
}
