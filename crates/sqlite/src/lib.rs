//! The embedded store: everything in one SQLite file, for development, tests and a single host.
//!
//! Writes go through one thread that commits many transactions at once ([`writer`]): a durable commit costs some
//! milliseconds however much is in it. Reads have connections of their own ([`readers`]).

mod error;
mod file;
mod original;
mod query;
mod readers;
mod record;
mod reserve;
mod statements;
mod writer;

use std::path::Path;

use async_trait::async_trait;
use rusqlite::Connection;
use signet_core::{
    Store, StoreError, Time,
    store::{Body, Key, Page, Query, Table, Transaction, Versioned, Write},
    trust::change::Change,
};

pub use crate::error::OpenError;
use crate::{
    original::Original,
    readers::{Lane, Readers},
    reserve::{Reserve, ReserveFile},
    writer::WriterHandle,
};

/// A [`Store`] in one file. Several processes may open the same file; they wait for each other's commits.
///
/// * `transact` answers after the commit is on disk (WAL, `synchronous=FULL`). A caller that stops to wait does not
///   stop the transaction.
/// * Records that expired more than an hour before a transaction's `now` are deleted in passing, some at a time.
/// * A reserve beside the file (16 MB, `<path>-reserve`) is for what suspends and revokes, once the disk is full.
/// * Once another file is at its path (a backup was put back), or none, every call is `Unavailable`.
/// * A record may have 400 KB and a transaction 4 MB, as in DynamoDB, measured in JSON.
#[derive(Debug)]
pub struct SqliteStore {
    original: Original,
    writer: WriterHandle,
    readers: Readers,
}

impl SqliteStore {
    /// Opens the store at `path`, making or upgrading it first if need be; the file is its owner's only (0600).
    /// Blocks: call it at start.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::open_tuned(path, |_| Ok(()))
    }

    /// Writes a copy of the store at `path`, as of now, to the new file `copy` (0600), while others use it. Blocks.
    pub fn back_up(path: &Path, copy: &Path) -> Result<(), OpenError> {
        file::back_up(path, copy)
    }

    /// For tests of this crate: `tune` is applied to the connection that writes.
    pub(crate) fn open_tuned(
        path: &Path,
        tune: impl FnOnce(&Connection) -> rusqlite::Result<()>,
    ) -> Result<Self, OpenError> {
        let connection = file::open(path)?;
        tune(&connection).map_err(|error| OpenError::sqlite(path, &error))?;
        Self::with(path, connection, ReserveFile::beside(path))
    }

    /// For tests of this crate: on a disk that is full when the reserve says so.
    #[cfg(test)]
    pub(crate) fn open_on(path: &Path, reserve: impl Reserve + 'static) -> Result<Self, OpenError> {
        Self::with(path, file::open(path)?, reserve)
    }

    fn with(path: &Path, connection: Connection, reserve: impl Reserve + 'static) -> Result<Self, OpenError> {
        let original = Original::at(path)?;
        let writer = writer::start(original.clone(), connection, reserve)?;
        Ok(Self { readers: Readers::new(&original), original, writer })
    }

    /// Whether the disk is so full that only what suspends or revokes is written; all else is refused until there is
    /// room.
    pub fn is_full(&self) -> bool {
        self.writer.is_full()
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn get(&self, key: &Key, now: Time) -> Result<Option<Versioned<Body>>, StoreError> {
        let key = key.clone();
        let lane = if key.table == Table::Changes { Lane::Feed } else { Lane::Records };
        self.readers.read(lane, move |connection| query::get(connection, &key, now)).await
    }

    async fn query(&self, query: &Query, now: Time) -> Result<Page, StoreError> {
        let query = query.clone();
        let lane = match query.table {
            Table::Changes => Lane::Feed,
            // A node that hears of a change reads the tenant again.
            Table::Tenants if query.index.is_none() => Lane::Records,
            _ => Lane::Pages,
        };
        self.readers.read(lane, move |connection| query::page(connection, &query, now)).await
    }

    async fn transact(&self, transaction: Transaction) -> Result<(), StoreError> {
        let writes = record::prepare(transaction.writes())?;
        if writes.is_empty() {
            return Ok(());
        }
        let urgent = transaction.writes().iter().any(takes_a_right_away);
        self.writer.apply(transaction.now(), writes, urgent).await
    }

    /// Leaves the file alone complete: without this a copy of it lacks what is still in the log beside it.
    async fn settle(&self) -> Result<(), StoreError> {
        let original = self.original.clone();
        let settled = tokio::task::spawn_blocking(move || {
            original.check()?;
            file::checkpoint(original.path()).map_err(|error| error::write_error(original.path(), &error))
        });
        settled.await.unwrap_or_else(|error| Err(StoreError::Unavailable(error.to_string())))
    }
}

/// Whether the write announces that a right may have been taken away.
fn takes_a_right_away(write: &Write) -> bool {
    let Write::Create(Body::Change(entry)) = write else { return false };
    let takes = |change: &Change| !matches!(change, Change::PrincipalAllowed { .. });
    !entry.notices.is_empty() || entry.changes.iter().any(takes)
}
