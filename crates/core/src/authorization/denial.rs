//! Why a call is refused.

use thiserror::Error;

/// Why a call is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Denial {
    /// A certificate is needed.
    #[error("this call needs a client certificate")]
    Anonymous,
    /// The principal type may not call this.
    #[error("principals of this type may not call this")]
    CallerType,
    /// The permission is missing.
    #[error("the caller's type and roles do not permit this")]
    Permission,
    /// Another tenant's resource: to the caller it does not exist.
    #[error("no such resource")]
    ForeignTenant,
    /// Another principal's resource.
    #[error("the caller may do this for itself only")]
    NotItself,
}

impl Denial {
    /// The reason in `google.rpc.ErrorInfo`, audit events and metrics.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Anonymous => "CERTIFICATE_REQUIRED",
            Self::CallerType => "CALLER_TYPE_DENIED",
            Self::Permission => "PERMISSION_MISSING",
            Self::ForeignTenant => "NOT_FOUND",
            Self::NotItself => "OWN_RESOURCES_ONLY",
        }
    }
}
