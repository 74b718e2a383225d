//! Why there is no such profile.

use thiserror::Error;

/// Most roles a certificate may carry: they travel in every handshake.
pub const MAX_ROLES: usize = 32;

/// Most characters of a common name (RFC 5280 appendix A.1, ub-common-name).
pub const MAX_COMMON_NAME: usize = 64;

/// Most names a server certificate may carry.
pub const MAX_SERVER_NAMES: usize = 32;

/// Why a profile cannot be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProfileError {
    /// The arc below which our extensions stand.
    #[error("{0:?} is not a usable object identifier: give dotted numbers such as 1.3.6.1.4.1.99999.1")]
    OidArc(String),
    /// A CN of tenant and id that is longer than X.509 allows.
    #[error("{0} is longer than the {MAX_COMMON_NAME} characters of a common name (RFC 5280 appendix A.1)")]
    CommonName(String),
    /// More roles than fit.
    #[error("{0} roles are too many for one certificate: at most {MAX_ROLES}")]
    TooManyRoles(usize),
    /// A server certificate without a name, or with too many.
    #[error("a server certificate takes 1 to {MAX_SERVER_NAMES} names, not {0}")]
    ServerNameCount(usize),
    /// Neither a DNS name nor an IP address.
    #[error("{0:?} is neither a DNS name nor an IP address")]
    ServerName(String),
}
