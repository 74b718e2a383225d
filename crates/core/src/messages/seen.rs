//! A message that was accepted, so that no node accepts it again.

use serde::{Deserialize, Serialize};

use crate::{
    Lifetime, PrincipalId, TenantId, Time,
    audit::sha256_hex,
    store::layout::{Entity, Key, Table},
};

/// How long it is remembered: the ten minutes in which a message may come, and what two nodes' clocks may differ by.
pub const SEEN_FOR: Lifetime = Lifetime::minutes(15);

/// See the module's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenMessage {
    /// Whose.
    pub tenant: TenantId,
    /// Who sent it.
    pub principal: PrincipalId,
    /// SHA-256 of its id, hexadecimal.
    pub message_sha256: String,
    /// SHA-256 of who asked and its request id, hexadecimal: its repetition is no replay. Without a request id, a
    /// random number of the call's.
    pub asked_by: String,
    /// Until when it is remembered.
    pub until: Time,
}

impl SeenMessage {
    /// A message of `principal` that is accepted at `now`.
    pub fn new(tenant: &TenantId, principal: &PrincipalId, message: &str, asked_by: String, now: Time) -> Self {
        let message_sha256 = sha256_hex(message.as_bytes());
        let (tenant, principal) = (tenant.clone(), principal.clone());
        Self { tenant, principal, message_sha256, asked_by, until: now.plus(SEEN_FOR) }
    }
}

impl Entity for SeenMessage {
    fn key(&self) -> Key {
        let Self { tenant, principal, message_sha256, .. } = self;
        Key::new(Table::Requests, format!("{tenant}#{principal}#{message_sha256}"), "message")
    }
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
    fn principal(&self) -> Option<&PrincipalId> {
        Some(&self.principal)
    }
    fn expires_at(&self) -> Option<Time> {
        Some(self.until)
    }
}
