//! What bootstrap reports.

use serde::Serialize;

/// What was made or found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct Item {
    pub item: String,
    /// `created`, `exists`, `changed` or `revoked`.
    pub status: &'static str,
}

impl Item {
    /// An item.
    pub fn new(item: impl Into<String>, made: bool) -> Self {
        Self { item: item.into(), status: if made { "created" } else { "exists" } }
    }
}
