//! The embedded store against the suite, and what only it promises: one private file that survives a crash.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod crash;
mod files;
mod raw;

use std::{path::Path, sync::Arc};

use signet_core::Store;
use signet_sqlite::SqliteStore;
use tempfile::TempDir;

signet_testkit::store_suite!(store);

async fn store() -> (Arc<dyn Store>, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (open(&path(&folder)), folder)
}

fn path(folder: &TempDir) -> std::path::PathBuf {
    folder.path().join("signet.db")
}

fn open(path: &Path) -> Arc<dyn Store> {
    Arc::new(SqliteStore::open(path).unwrap())
}
