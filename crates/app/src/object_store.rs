//! Where objects are published.

use std::{collections::BTreeMap, fmt};

use async_trait::async_trait;
use signet_core::{Error, audit::sha256_hex};

/// The note that tells one content from another.
pub(crate) const DIGEST: &str = "content-sha256";

/// Where objects are published: an S3 bucket. Failures are [`Error::Unavailable`].
#[async_trait]
pub trait ObjectStore: Send + Sync + fmt::Debug {
    /// What is there under `name`; `None`: nothing.
    async fn look(&self, name: &str) -> Result<Option<ObjectMeta>, Error>;

    /// Puts an object in place of the one with the tag `replaces`, or where there must be none.
    async fn put(&self, object: Object, replaces: Option<&str>) -> Result<Put, Error>;
}

/// An object in the bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Tells its content from any other (an ETag).
    pub tag: String,
    /// What was noted with it.
    pub notes: BTreeMap<String, String>,
}

/// An object to be put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// E.g. `crl/acme.1.crl`.
    pub name: String,
    /// Its media type.
    pub content_type: &'static str,
    /// Bytes; the store does not look into them.
    pub content: Vec<u8>,
    /// Names (a-z and hyphens) and values to be kept with it.
    pub notes: BTreeMap<String, String>,
}

/// How a put ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is there.
    Done,
    /// Somebody else has put another one meanwhile.
    Superseded,
}

pub(crate) fn object(name: String, content_type: &'static str, content: Vec<u8>) -> Object {
    let notes = BTreeMap::from([(DIGEST.to_owned(), sha256_hex(&content))]);
    Object { name, content_type, content, notes }
}
