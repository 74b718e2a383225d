//! Where and under which names records are kept: tables, keys, indexes, queries.
//!
//! What an entity is called, where it is kept and how it is found is decided once, for every adapter ([`Entity`]); an
//! adapter knows tables, keys, indexes, versions and expiry, and nothing else.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{PrincipalId, TenantId, Time};

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
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct Key {
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
pub trait Entity {
    /// Where it is kept.
    fn key(&self) -> Key;
    /// The tenant that owns it.
    fn tenant(&self) -> &TenantId;
    /// The principal that it is of, if it is one's own: others of its tenant who may see themselves only do not see it.
    fn principal(&self) -> Option<&PrincipalId> {
        None
    }
    /// Where else it is found.
    fn indexes(&self) -> Vec<IndexEntry> {
        Vec::new()
    }
    /// When it stops to exist. Readers filter; the store deletes later.
    fn expires_at(&self) -> Option<Time> {
        None
    }
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
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct Query {
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
