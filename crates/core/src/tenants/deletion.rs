//! The end of a tenant: deleted, then purged, then an id that is never given again.

use serde::{Deserialize, Serialize};

use crate::{Lifetime, Time};

/// How long a deleted tenant can be undeleted, where the operator sets nothing else.
pub const DEFAULT_DELETION_GRACE: Lifetime = Lifetime::days(30);

/// That a tenant was deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deletion {
    /// When.
    pub at: Time,
    /// From then on it is purged. Before, it can be undeleted.
    pub purge_at: Time,
    /// How far the purge is, once it has begun: from then on nothing brings the tenant back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purge: Option<Purge>,
}

/// The purge of a tenant, with what it has removed so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purge {
    /// When it began.
    pub began_at: Time,
    /// When it ended. What is left then is the tenant's record, without an end, so that its id is never given again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done_at: Option<Time>,
    /// Keys that were ended.
    #[serde(default)]
    pub keys: u64,
    /// Records that were removed: CAs, rules, principals and counts.
    #[serde(default)]
    pub records: u64,
}

impl Purge {
    /// One that begins.
    pub const fn began(at: Time) -> Self {
        Self { began_at: at, done_at: None, keys: 0, records: 0 }
    }
}
