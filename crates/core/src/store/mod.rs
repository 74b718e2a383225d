//! What is kept and how: the layout of records, what is written together, who may touch it, and the storage port.

pub mod body;
pub mod commit;
pub mod layout;
mod port;
pub mod request;
pub mod scope;
pub mod stored;
pub mod tally;

pub use body::{Body, Record, SCHEMA_VERSION};
pub use commit::{Transaction, Write};
pub use layout::{
    Cursor, Entity, Index, IndexEntry, Key, LISTING_SHARDS, Query, Segment, SortRange, Table, byte_strings, bytes,
    shard_of,
};
pub use port::{Page, Store, StoreError, Unreadable};
pub use stored::{Version, Versioned};
