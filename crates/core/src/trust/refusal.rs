//! Why somebody is refused.

use thiserror::Error;

/// Why an identity is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Before its validity.
    #[error("the certificate is not valid yet")]
    NotYetValid,
    /// After its validity.
    #[error("the certificate has expired")]
    Expired,
    /// It was revoked.
    #[error("the certificate was revoked")]
    Revoked,
    /// It was never recorded, and this node refuses such.
    #[error("there is no record of the certificate")]
    Unrecorded,
    /// Its principal was suspended or deleted.
    #[error("the principal is suspended or deleted")]
    PrincipalDenied,
    /// Its tenant is suspended.
    #[error("the tenant is suspended")]
    TenantSuspended,
    /// Its tenant does not exist here.
    #[error("the tenant is not known")]
    UnknownTenant,
    /// It is older than its tenant: another of that name was lost with a restore.
    #[error("the certificate is older than its tenant")]
    TenantReplaced,
    /// Its tenant's record, or a change of its tenant, is not what this node can read.
    #[error("records of the tenant cannot be read")]
    TenantUnreadable,
    /// The CA that signed it was retired.
    #[error("the certificate authority is no longer trusted")]
    IssuerRetired,
    /// This node has not heard from the feed for too long.
    #[error("this node cannot reach the store")]
    Stale,
}

impl Refusal {
    /// The reason in `google.rpc.ErrorInfo`, audit events and metrics.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NotYetValid => "CERTIFICATE_NOT_YET_VALID",
            Self::Expired => "CERTIFICATE_EXPIRED",
            Self::Revoked => "CERTIFICATE_REVOKED",
            Self::Unrecorded => "CERTIFICATE_UNKNOWN",
            Self::PrincipalDenied => "PRINCIPAL_DENIED",
            Self::TenantSuspended => "TENANT_SUSPENDED",
            Self::UnknownTenant => "UNKNOWN_TENANT",
            Self::TenantReplaced => "TENANT_REPLACED",
            Self::TenantUnreadable => "TENANT_UNREADABLE",
            Self::IssuerRetired => "ISSUER_RETIRED",
            Self::Stale => "NODE_STALE",
        }
    }
}
