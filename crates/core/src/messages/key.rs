//! The key that a tenant's message secrets are kept under.

use serde::{Deserialize, Serialize};

use crate::{
    TenantId, Time,
    store::layout::{Entity, Key, Table, bytes},
};

/// A tenant's data key, made with its first secret and kept until the tenant is purged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageKey {
    /// Whose.
    pub tenant: TenantId,
    /// 32 bytes, wrapped by [`crate::KeyManager::make_data_key`].
    #[serde(with = "bytes")]
    pub wrapped: Vec<u8>,
    /// When it was made.
    pub made_at: Time,
}

impl MessageKey {
    /// Where a tenant's key is.
    pub fn key_of(tenant: &TenantId) -> Key {
        Key::new(Table::Tenants, tenant.as_str(), "message-key")
    }
}

impl Entity for MessageKey {
    fn key(&self) -> Key {
        Self::key_of(&self.tenant)
    }
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
}
