//! Idempotency: a mutating call's request id and what came of it (AIP-155).

use serde::{Deserialize, Serialize};

use crate::{
    CaId, Lifetime, RequestId, Serial, TenantId, Time,
    store::layout::{Entity, Key, Table},
};

/// How long a request id is remembered.
const REQUEST_RETENTION: Lifetime = Lifetime::days(1);

/// What a request made, enough to answer it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub enum Outcome {
    /// The resource is named by the request itself.
    Done,
    /// This certificate, reserved or issued.
    Certificate {
        /// Its issuer.
        issuer: CaId,
        serial: Serial,
    },
}

/// A request that was carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct RequestRecord {
    /// The tenant it acted in.
    pub tenant: TenantId,
    /// Who asked: request ids of different callers do not meet. See [`crate::Actor::key`].
    pub actor: String,
    /// The caller's id for it.
    pub id: RequestId,
    /// SHA-256 over operation and arguments, hexadecimal: the same id with other arguments is an error.
    pub fingerprint: String,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
    pub at: Time,
}

impl RequestRecord {
    /// Key of the request `id` of `actor` in `tenant`.
    pub fn key_of(tenant: &TenantId, actor: &str, id: &RequestId) -> Key {
        Key::new(Table::Requests, format!("{tenant}#{actor}#{id}"), "request")
    }
}

impl Entity for RequestRecord {
    fn key(&self) -> Key {
        Self::key_of(&self.tenant, &self.actor, &self.id)
    }
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
    fn expires_at(&self) -> Option<Time> {
        Some(self.at.plus(REQUEST_RETENTION))
    }
}
