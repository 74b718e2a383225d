//! Who is calling.

use std::{fmt, sync::Arc};

use serde::Serialize;

use crate::{CaId, PrincipalId, PrincipalType, Role, Serial, TenantId, Time};

/// What a verified certificate says about its holder.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct Identity {
    /// The tenant whose CA signed it.
    pub tenant: TenantId,
    pub principal: PrincipalId,
    /// The holder's type.
    pub principal_type: PrincipalType,
    /// Roles that the certificate carries; [`crate::trust::Trust::admit`] tells those in force.
    pub roles: Arc<[Role]>,
    /// The CA that signed it.
    pub issuer: CaId,
    pub serial: Serial,
    /// Start of validity.
    pub not_before: Time,
    /// End of validity.
    pub not_after: Time,
    /// SHA-256 of the subject public key info.
    pub spki_sha256: [u8; 32],
    /// SHA-256 of the certificate, DER: what tokens are bound to.
    pub certificate_sha256: [u8; 32],
}

/// Who carries out an operation, for audit and idempotency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub enum Actor {
    /// The holder of a certificate.
    Principal {
        tenant: TenantId,
        principal_type: PrincipalType,
        principal: PrincipalId,
        /// The certificate it used.
        serial: Serial,
    },
    /// Nobody we know yet: enrollment.
    Anonymous,
    /// Signet itself or its operator at the machine, e.g. `bootstrap`, `sweeper`.
    Process { name: &'static str },
}

impl Actor {
    /// The actor's name in idempotency keys; different actors never share one.
    pub fn key(&self) -> String {
        match self {
            Self::Principal { tenant, principal, .. } => format!("{tenant}/{principal}"),
            Self::Anonymous => "anonymous".into(),
            Self::Process { name } => format!("process/{name}"),
        }
    }
}

impl From<&Identity> for Actor {
    fn from(identity: &Identity) -> Self {
        Self::Principal {
            tenant: identity.tenant.clone(),
            principal_type: identity.principal_type,
            principal: identity.principal.clone(),
            serial: identity.serial,
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Principal { tenant, principal_type, principal, .. } => {
                write!(f, "{tenant}/{principal_type}/{principal}")
            }
            Self::Anonymous => f.write_str("anonymous"),
            Self::Process { name } => f.write_str(name),
        }
    }
}
