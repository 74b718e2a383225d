//! The embedded store: everything in one SQLite file, for development, tests and a single host.
//!
//! Writes go through one thread that commits many transactions at once ([`writer`]): a durable commit costs some
//! milliseconds however much is in it. Reads have connections of their own ([`readers`]).

mod error;
mod file;
mod query;
mod readers;
mod record;
mod statements;
mod writer;

use std::path::Path;

use async_trait::async_trait;
use rusqlite::Connection;
use signet_core::{
    Store, StoreError, Time,
    store::{Body, Key, Page, Query, Transaction, Versioned},
};

pub use crate::error::OpenError;
use crate::{readers::Readers, writer::WriterHandle};

/// A [`Store`] in one file. Several processes may open the same file; they wait for each other's commits.
///
/// * `transact` answers after the commit is on disk (WAL, `synchronous=FULL`). A caller that stops to wait does not stop
///   the transaction.
/// * Records that expired more than an hour before a transaction's `now` are deleted in passing, some at a time.
/// * A record may have 400 KB and a transaction 4 MB, as in DynamoDB, measured in JSON.
#[derive(Debug)]
pub struct SqliteStore {
    writer: WriterHandle,
    readers: Readers,
}

impl SqliteStore {
    /// Opens the store at `path`, making or upgrading it first if need be; the file is its owner's only (0600).
    /// Blocks: call it at start.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::open_tuned(path, |_| Ok(()))
    }

    /// For tests of this crate: `tune` is applied to the connection that writes.
    pub(crate) fn open_tuned(
        path: &Path,
        tune: impl FnOnce(&Connection) -> rusqlite::Result<()>,
    ) -> Result<Self, OpenError> {
        let connection = file::open(path)?;
        tune(&connection).map_err(|error| OpenError::sqlite(path, &error))?;
        Ok(Self { writer: writer::start(path, connection)?, readers: Readers::new(path) })
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn get(&self, key: &Key, now: Time) -> Result<Option<Versioned<Body>>, StoreError> {
        let key = key.clone();
        self.readers.read(move |connection| query::get(connection, &key, now)).await
    }

    async fn query(&self, query: &Query, now: Time) -> Result<Page, StoreError> {
        let query = query.clone();
        self.readers.read(move |connection| query::page(connection, &query, now)).await
    }

    async fn transact(&self, transaction: Transaction) -> Result<(), StoreError> {
        let writes = record::prepare(transaction.writes())?;
        if writes.is_empty() {
            return Ok(());
        }
        self.writer.apply(transaction.now(), writes).await
    }
}
