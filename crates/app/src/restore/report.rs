//! What a restore tells.

use serde::Serialize;

/// What a restore does, or has done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RestoreReport {
    /// The tables in their order.
    pub tables: Vec<TableReport>,
    /// Events of the audit log that are newer than the source.
    pub events_since: u64,
    /// Decisions since then that refuse somebody, as the log and the feed tell them.
    pub refusals_since: usize,
    /// What does not come back, in words; the first thousand.
    pub withheld: Vec<String>,
    /// Records, events and entries that cannot be read, and were not restored or heeded.
    pub unreadable: Vec<String>,
    /// Whether the changes feed was lost, so that all refusals are announced again.
    pub feed_lost: bool,
    /// Whether events were lost that the source has: then those since are lost too, and nobody knows who was refused.
    pub audit_lost: bool,
}

/// What comes back to one table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TableReport {
    /// Its name without the environment's prefix.
    pub table: &'static str,
    /// Records of the source.
    pub read: u64,
    /// Of those, the ones that the store had lost.
    pub missing: u64,
    /// Of those, the ones that the store had otherwise.
    pub changed: u64,
}

impl RestoreReport {
    /// Records that are written.
    pub fn written(&self) -> u64 {
        self.tables.iter().fold(0, |sum, table| sum.saturating_add(table.missing).saturating_add(table.changed))
    }
}
