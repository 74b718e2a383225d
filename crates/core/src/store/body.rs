//! The sum of all kinds of records.

use serde::{Deserialize, Serialize};

use crate::{
    TenantId, Time,
    audit::{AuditEvent, Seal, SealHead, checkpoint::Checkpoint},
    authorities::{Ca, RevocationList, RevocationListPart},
    authorization::model::{AuthorizationModel, AuthorizationVersion},
    certificates::{
        Certificate,
        expiry::{BrokenOff, ExpiryWarning},
    },
    enrollment::{EnrollmentToken, UsedProof, rule::EnrollmentRule},
    messages::{MessageKey, MessageSecret, SeenMessage},
    principals::Principal,
    restore::Restoration,
    store::{
        layout::{Entity, IndexEntry, Key},
        request::RequestRecord,
    },
    tenants::{Tenant, quota::QuotaCount},
    tokens::TokenKeys,
    trust::{
        SecurityEventStream,
        change::{ChangeEntry, ChangeHead},
    },
};

/// An entity that is one of the [`Body`] kinds: what stores take and give.
pub trait Record: Entity + Into<Body> + TryFrom<Body, Error = Body> {}

impl<E: Entity + Into<Body> + TryFrom<Body, Error = Body>> Record for E {}

macro_rules! bodies {
    ($($name:ident($entity:ident) = $text:literal),+ $(,)?) => {
        /// Every kind of entity; stored with its name in the attribute `entity`.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(tag = "entity")]
        pub enum Body {
            $(#[doc = concat!("A [`", stringify!($entity), "`].")] #[serde(rename = $text)] $name($entity),)+
        }

        $(
            impl From<$entity> for Body {
                fn from(entity: $entity) -> Self {
                    Self::$name(entity)
                }
            }
            impl TryFrom<Body> for $entity {
                type Error = Body;
                fn try_from(body: Body) -> Result<Self, Body> {
                    match body {
                        Body::$name(entity) => Ok(entity),
                        other => Err(other),
                    }
                }
            }
        )+

        impl Body {
            /// The kind of entity, as it is stored.
            pub const fn name(&self) -> &'static str {
                match self { $(Self::$name(_) => $text,)+ }
            }
            /// See [`Entity::key`].
            pub fn key(&self) -> Key {
                match self { $(Self::$name(entity) => entity.key(),)+ }
            }
            /// See [`Entity::tenant`].
            pub fn tenant(&self) -> &TenantId {
                match self { $(Self::$name(entity) => entity.tenant(),)+ }
            }
            /// See [`Entity::indexes`].
            pub fn indexes(&self) -> Vec<IndexEntry> {
                match self { $(Self::$name(entity) => entity.indexes(),)+ }
            }
            /// See [`Entity::expires_at`].
            pub fn expires_at(&self) -> Option<Time> {
                match self { $(Self::$name(entity) => entity.expires_at(),)+ }
            }
        }
    };
}

bodies!(
    Tenant(Tenant) = "tenant",
    Ca(Ca) = "ca",
    Principal(Principal) = "principal",
    QuotaCount(QuotaCount) = "quota_count",
    Certificate(Certificate) = "certificate",
    Token(EnrollmentToken) = "token",
    Rule(EnrollmentRule) = "rule",
    UsedProof(UsedProof) = "used_proof",
    Request(RequestRecord) = "request",
    Warning(ExpiryWarning) = "warning",
    BrokenOff(BrokenOff) = "broken_off",
    Change(ChangeEntry) = "change",
    ChangeHead(ChangeHead) = "change_head",
    AuditEvent(AuditEvent) = "audit_event",
    Seal(Seal) = "seal",
    SealHead(SealHead) = "seal_head",
    Checkpoint(Checkpoint) = "checkpoint",
    Restoration(Restoration) = "restoration",
    RevocationList(RevocationList) = "revocation_list",
    RevocationListPart(RevocationListPart) = "revocation_list_part",
    AuthorizationModel(AuthorizationModel) = "authorization_model",
    AuthorizationVersion(AuthorizationVersion) = "authorization_version",
    TokenKeys(TokenKeys) = "token_keys",
    SecurityEventStream(SecurityEventStream) = "security_event_stream",
    MessageKey(MessageKey) = "message_key",
    MessageSecret(MessageSecret) = "message_secret",
    SeenMessage(SeenMessage) = "seen_message",
);

impl Body {
    /// Why it is not believed at `key`, unless it is its own: a record that stands in another's place, another tenant's
    /// perhaps, decides nothing.
    pub fn require_key(&self, key: &Key) -> Result<(), String> {
        let own = self.key();
        if own == *key { Ok(()) } else { Err(format!("its body is that of {own}")) }
    }
}

/// The stored form's version; readers accept this one and the one before.
pub const SCHEMA_VERSION: u32 = 1;
