//! The storage port: records with versions, paged queries and all-or-nothing transactions.
//!
//! What an entity is called, where it is kept and how it is found is decided here, once, for every adapter
//! ([`Entity`]); an adapter knows tables, keys, indexes, versions and expiry, and nothing else.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::{
    TenantId, Time,
    audit::{AuditEvent, Seal, SealHead},
    ca::Ca,
    certificate::Certificate,
    change::{ChangeEntry, ChangeHead},
    checkpoint::Checkpoint,
    enrollment::{EnrollmentToken, UsedProof},
    enrollment_rule::EnrollmentRule,
    expiry::{BrokenOff, ExpiryWarning},
    principal::Principal,
    quota::QuotaCount,
    request::RequestRecord,
    stored::Stored,
    tenant::Tenant,
};

pub use crate::commit::{Transaction, Write};

/// Shards of listing partitions: a DynamoDB partition takes 1,000 writes a second, a GSI's too.
pub const LISTING_SHARDS: u32 = 4;

/// The tables; Terraform (`infra/modules/tables`) makes one of each as `<prefix>-<name>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Table {
    /// Tenants and their CAs.
    Tenants,
    /// Principals.
    Principals,
    /// Certificates and reservations.
    Certificates,
    /// Enrollment tokens, and proofs that were used.
    Enrollments,
    /// Idempotency records.
    Requests,
    /// The changes feed.
    Changes,
    /// Audit events and seals.
    Audit,
}

impl Table {
    /// All tables.
    pub const ALL: [Self; 7] = [
        Self::Tenants,
        Self::Principals,
        Self::Certificates,
        Self::Enrollments,
        Self::Requests,
        Self::Changes,
        Self::Audit,
    ];

    /// The table's name without the environment's prefix.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tenants => "tenants",
            Self::Principals => "principals",
            Self::Certificates => "certificates",
            Self::Enrollments => "enrollments",
            Self::Requests => "requests",
            Self::Changes => "changes",
            Self::Audit => "audit",
        }
    }

    /// The indexes of this table.
    pub const fn indexes(self) -> &'static [Index] {
        match self {
            Self::Tenants | Self::Principals | Self::Enrollments | Self::Audit => &[Index::Listing],
            Self::Certificates => &[Index::ByPrincipal, Index::ByDeadline, Index::Revoked],
            Self::Requests | Self::Changes => &[],
        }
    }
}

/// A secondary index. It may lag behind its table (DynamoDB GSIs do), so no security decision rests on one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Index {
    /// Lists a table's entities by owner and shard.
    Listing,
    /// Certificates of one principal.
    ByPrincipal,
    /// Certificates and reservations by the time at which something is due.
    ByDeadline,
    /// Sparse: revoked certificates by issuer and shard.
    Revoked,
}

impl Index {
    /// The index's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Listing => "listing",
            Self::ByPrincipal => "by_principal",
            Self::ByDeadline => "by_deadline",
            Self::Revoked => "revoked",
        }
    }
}

/// Where a record is: table, partition and sort key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Table.
    pub table: Table,
    /// Partition key, not empty.
    pub partition: String,
    /// Sort key, not empty.
    pub sort: String,
}

impl Key {
    /// Only entities make keys, so that the layout of a table stands in one place.
    pub(crate) fn new(table: Table, partition: impl Into<String>, sort: &str) -> Self {
        Self { table, partition: partition.into(), sort: sort.to_owned() }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.table.name(), self.partition, self.sort)
    }
}

/// A record's place in an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// Which index.
    pub index: Index,
    /// Partition key in the index.
    pub partition: String,
    /// Sort key in the index; records with the same one are all kept.
    pub sort: String,
}

impl IndexEntry {
    pub(crate) fn new(index: Index, partition: impl Into<String>, sort: &str) -> Self {
        Self { index, partition: partition.into(), sort: sort.to_owned() }
    }
}

/// What is stored under a key, as a pure function of the value.
pub trait Entity: Into<Body> + TryFrom<Body, Error = Body> {
    /// Where it is kept.
    fn key(&self) -> Key;
    /// The tenant that owns it.
    fn tenant(&self) -> &TenantId;
    /// Where else it is found.
    fn indexes(&self) -> Vec<IndexEntry> {
        Vec::new()
    }
    /// When it stops to exist. Readers filter; the store deletes later.
    fn expires_at(&self) -> Option<Time> {
        None
    }
}

macro_rules! bodies {
    ($($name:ident($entity:ident)),+ $(,)?) => {
        /// Every kind of entity; stored with its name in the attribute `entity`.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(tag = "entity", rename_all = "snake_case")]
        pub enum Body {
            $(#[doc = concat!("A [`", stringify!($entity), "`].")] $name($entity),)+
        }

        $(
            impl From<$entity> for Body {
                fn from(entity: $entity) -> Self {
                    Self::$name(entity)
                }
            }
            impl TryFrom<Body> for $entity {
                type Error = Body;
                fn try_from(body: Body) -> Result<Self, Body> {
                    match body {
                        Body::$name(entity) => Ok(entity),
                        other => Err(other),
                    }
                }
            }
        )+

        impl Body {
            /// See [`Entity::key`].
            pub fn key(&self) -> Key {
                match self { $(Self::$name(entity) => entity.key(),)+ }
            }
            /// See [`Entity::tenant`].
            pub fn tenant(&self) -> &TenantId {
                match self { $(Self::$name(entity) => entity.tenant(),)+ }
            }
            /// See [`Entity::indexes`].
            pub fn indexes(&self) -> Vec<IndexEntry> {
                match self { $(Self::$name(entity) => entity.indexes(),)+ }
            }
            /// See [`Entity::expires_at`].
            pub fn expires_at(&self) -> Option<Time> {
                match self { $(Self::$name(entity) => entity.expires_at(),)+ }
            }
        }
    };
}

bodies!(
    Tenant(Tenant),
    Ca(Ca),
    Principal(Principal),
    QuotaCount(QuotaCount),
    Certificate(Certificate),
    Token(EnrollmentToken),
    Rule(EnrollmentRule),
    UsedProof(UsedProof),
    Request(RequestRecord),
    Warning(ExpiryWarning),
    BrokenOff(BrokenOff),
    Change(ChangeEntry),
    ChangeHead(ChangeHead),
    AuditEvent(AuditEvent),
    Seal(Seal),
    SealHead(SealHead),
    Checkpoint(Checkpoint),
);

/// The stored form's version; readers accept this one and the one before.
pub const SCHEMA_VERSION: u32 = 1;

/// How often a record was written: 1 after its creation. One that was read knows the record's stored form, so that what this
/// version does not understand of it survives a replacement.
#[derive(Clone)]
pub struct Version {
    number: u64,
    stored: Option<Arc<Stored>>,
}

impl Version {
    /// Of a record whose form is known: this version has just written it.
    pub const fn new(number: u64) -> Self {
        Self { number, stored: None }
    }

    /// Of a record that was read.
    pub fn read(number: u64, stored: Stored) -> Self {
        Self { number, stored: Some(Arc::new(stored)) }
    }

    /// Of the record that replaces one of this version.
    #[must_use]
    pub fn next(&self) -> Self {
        Self { number: self.number.saturating_add(1), stored: self.stored.clone() }
    }

    /// How often it was written.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// The body to be stored for `next` in place of the record of this version; `None`: `next` as it is.
    pub fn form_of(&self, next: &Body) -> serde_json::Result<Option<Value>> {
        self.stored.as_ref().map_or(Ok(None), |stored| stored.form_of(next))
    }

    /// See [`Stored::beside`].
    pub fn beside(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.stored.iter().flat_map(|stored| &stored.beside)
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Version {}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Version({})", self.number)
    }
}

/// A value and the version it was read at; the handle for a compare-and-swap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The value as it was read.
    pub value: T,
    /// Its version then.
    pub version: Version,
}

/// A range of sort keys within a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SortRange {
    /// All of them.
    All,
    /// Those that start with this text, not empty.
    Prefix(String),
    /// From the first to the second, both included.
    Between(String, String),
}

/// A part of a whole table, so that several can be read at once (DynamoDB `Scan`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Which, from 0.
    pub number: u32,
    /// Of how many.
    pub of: u32,
}

/// One page of one partition, or of a part of the whole table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Table.
    pub table: Table,
    /// `Some`: this part of the table whatever the partition, strongly consistent, in no order; not for requests.
    pub segment: Option<Segment>,
    /// `None`: the table itself, strongly consistent. `Some`: an index, which may lag.
    pub index: Option<Index>,
    /// Partition key in the table or index.
    pub partition: String,
    /// Which sort keys.
    pub range: SortRange,
    /// Highest sort key first.
    pub descending: bool,
    /// At most this many records, 1 to 1,000.
    pub limit: u32,
    /// Continue after this place.
    pub after: Option<Cursor>,
}

impl Query {
    /// All of a partition of `table`, 100 records a page.
    pub fn table(table: Table, partition: impl Into<String>) -> Self {
        let (partition, range, limit) = (partition.into(), SortRange::All, 100);
        Self { table, segment: None, index: None, partition, range, descending: false, limit, after: None }
    }

    /// All of a segment of `table`, 1,000 records a page.
    pub fn segment(table: Table, segment: Segment) -> Self {
        Self { segment: Some(segment), limit: 1000, ..Self::table(table, "") }
    }

    /// All of a partition of an index, 100 records a page.
    pub fn index(table: Table, index: Index, partition: impl Into<String>) -> Self {
        Self { index: Some(index), ..Self::table(table, partition) }
    }

    /// Only this range.
    #[must_use]
    pub fn range(self, range: SortRange) -> Self {
        Self { range, ..self }
    }

    /// At most this many records.
    #[must_use]
    pub fn limit(self, limit: u32) -> Self {
        Self { limit, ..self }
    }

    /// Highest first.
    #[must_use]
    pub fn descending(self) -> Self {
        Self { descending: true, ..self }
    }

    /// After this place.
    #[must_use]
    pub fn after(self, after: Option<Cursor>) -> Self {
        Self { after, ..self }
    }
}

/// A place in a query's order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cursor {
    /// Sort key of the last record, in the table or index that was asked.
    pub sort: String,
    /// For an index or a segment: the record's own partition and sort key.
    pub key: Option<(String, String)>,
}

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

/// A record that this version cannot read: damaged, or of another version's form. A page goes on without it, so that it is
/// the trouble of nobody but its owner.
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
    /// A table is missing, or this process may not use it: nothing was applied, and trying again changes nothing.
    #[error("the store cannot be used as it is configured: {0}")]
    Misconfigured(String),
    /// The store does not take such a call, which is our own fault: nothing was applied, and trying again changes nothing.
    #[error("the store refuses the call: {0}")]
    Refused(String),
    /// A record is not what this version writes or reads.
    #[error("the record {key} cannot be read: {reason}")]
    Corrupt {
        /// Which record.
        key: String,
        /// Why.
        reason: String,
    },
    /// The transaction is larger than a store takes.
    #[error("the transaction is too large: {0}")]
    TooLarge(String),
}

/// A stable shard for `text`: FNV-1a, modulo `shards`. Stored keys depend on it; it never changes.
pub fn shard_of(text: &str, shards: u32) -> u32 {
    let hash = text.bytes().fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
    hash.checked_rem(shards).unwrap_or(0)
}

/// Serde form of byte strings: standard base64.
pub mod bytes {
    use base64::{Engine, prelude::BASE64_STANDARD};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes base64.
    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
    }

    /// Reads base64.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64_STANDARD.decode(text).map_err(D::Error::custom)
    }
}

/// Serde form of lists of byte strings: standard base64 each.
pub mod byte_strings {
    use base64::{Engine, prelude::BASE64_STANDARD};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes base64.
    pub fn serialize<S: Serializer>(list: &[Vec<u8>], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(list.iter().map(|bytes| BASE64_STANDARD.encode(bytes)))
    }

    /// Reads base64.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Vec<u8>>, D::Error> {
        let list = Vec::<String>::deserialize(deserializer)?;
        list.iter().map(|text| BASE64_STANDARD.decode(text).map_err(D::Error::custom)).collect()
    }
}
