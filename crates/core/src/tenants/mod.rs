//! Tenants, how much each may have, and how they end.

mod deletion;
mod failure_limit;
pub mod quota;
mod tenant;

pub use deletion::{DEFAULT_DELETION_GRACE, Deletion, Purge};
pub use failure_limit::{FailureLimit, Failures};
pub use tenant::{
    DEFAULT_MAX_CERTIFICATES, Isolation, MAX_LIFETIME, MAX_UNIT, MIN_LIFETIME, SubjectForm, Tenant, TenantStatus,
    default_lifetime,
};
