//! The marker of a restore.

use serde::{Deserialize, Serialize};

use crate::{
    TenantId, Time,
    store::layout::{Entity, Key, Table},
};

/// A restore that is under way. While the record is there, nobody writes but its run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restoration {
    /// The system tenant.
    pub tenant: TenantId,
    /// Names the run that writes. A later run of the same restore puts its own name here, and the earlier one stops.
    pub run: String,
    /// Where the records come from, as its operator named it.
    pub source: String,
    /// When the first run began.
    pub started_at: Time,
    /// Whether the changes feed was lost, so that every refusal must be announced again.
    pub feed_lost: bool,
    /// Whether the audit log was lost, so that nobody knows who was refused since.
    #[serde(default)]
    pub audit_lost: bool,
}

impl Restoration {
    /// The key of the one marker.
    pub fn key_of() -> Key {
        Key::new(Table::Tenants, TenantId::system().as_str(), "restoration")
    }
}

impl Entity for Restoration {
    fn key(&self) -> Key {
        Self::key_of()
    }
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
}
