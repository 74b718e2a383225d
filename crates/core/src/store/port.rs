//! The storage port: records with versions, paged queries and all-or-nothing transactions.

use std::fmt;

use async_trait::async_trait;
use thiserror::Error;

use crate::Time;

use super::{
    body::Body,
    commit::Transaction,
    layout::{Cursor, Key, Query},
    stored::{Version, Versioned},
};

/// One page of a query, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// May be fewer than asked for (also none) even if there is a next page: expired records are left out.
    pub records: Vec<Versioned<Body>>,
    /// What this version cannot read; with `records` at most as many as were asked for.
    pub unreadable: Vec<Unreadable>,
    /// `Some`: ask again after this place. `None`: that was all.
    pub next: Option<Cursor>,
}

/// A record that this version cannot read: damaged, or of another version's form. A page goes on without it, so that it
/// is the trouble of nobody but its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Where it is.
    pub key: Key,
    /// When it stops to exist, as the store knows it beside the record's body.
    pub expires_at: Option<Time>,
    /// Its version, likewise: the handle to write it anew or to delete it.
    pub version: Option<Version>,
    /// Why it cannot be read.
    pub reason: String,
}

impl From<Unreadable> for StoreError {
    fn from(unreadable: Unreadable) -> Self {
        Self::Corrupt { key: unreadable.key.to_string(), reason: unreadable.reason }
    }
}

/// Where everything is kept. Adapters: `signet-sqlite`, `signet-dynamodb`; both pass `signet_testkit::store_suite`.
///
/// * Reads of a table are strongly consistent: they see every transaction that had answered before.
/// * A record whose `expires_at` is not after `now` is absent for every call, also as the object of a condition.
/// * Replacing a record keeps what this version does not know of it ([`Version`]).
/// * A record that cannot be read is `Corrupt` where it alone is asked for, and [`Page::unreadable`] beside others.
/// * Adapters retry throttling and lost connections themselves, within their time limit; nobody else does.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// The record at `key`; `None` if there is none.
    async fn get(&self, key: &Key, now: Time) -> Result<Option<Versioned<Body>>, StoreError>;

    /// One page.
    async fn query(&self, query: &Query, now: Time) -> Result<Page, StoreError>;

    /// Applies all writes or none. `Conflict` names the first write whose condition failed: nothing was applied.
    /// `Unknown` means that it may or may not have been; the caller reads to find out.
    /// At most 100 writes, each of another key (DynamoDB `TransactWriteItems`).
    async fn transact(&self, transaction: Transaction) -> Result<(), StoreError>;

    /// Puts all that was committed where a copy of the store finds it, before a process ends. Nothing is lost without.
    async fn settle(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Why a storage call failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub enum StoreError {
    /// The condition of a write did not hold; nothing was applied.
    #[error("the condition of write {write} did not hold")]
    Conflict {
        /// Index of the write in its transaction.
        write: usize,
    },
    /// No answer in time: the transaction may or may not have been applied.
    #[error("no answer, the write may have been applied: {0}")]
    Unknown(String),
    /// Not reachable, throttled, read-only or full; nothing was applied.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// The store is being restored, or a restore was cut off: nothing was applied, and nothing will be until that has
    /// ended. Says from what.
    #[error("the store is being restored: {0}")]
    Restoring(String),
    /// A table is missing, or this process may not use it: nothing was applied, and trying again changes nothing.
    #[error("the store cannot be used as it is configured: {0}")]
    Misconfigured(String),
    /// The store does not take such a call, which is our own fault: nothing was applied, and trying again changes
    /// nothing.
    #[error("the store refuses the call: {0}")]
    Refused(String),
    /// A record is not what this version writes or reads.
    #[error("the record {key} cannot be read: {reason}")]
    Corrupt {
        /// Which record.
        key: String,
        reason: String,
    },
    /// The transaction is larger than a store takes.
    #[error("the transaction is too large: {0}")]
    TooLarge(String),
}
