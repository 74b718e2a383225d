//! Tenants and how much each may have.

pub mod quota;
mod tenant;

pub use tenant::{
    DEFAULT_MAX_CERTIFICATES, Isolation, MAX_LIFETIME, MIN_LIFETIME, Tenant, TenantStatus, default_lifetime,
};
