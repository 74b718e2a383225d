//! Signet's domain: types, decisions, plans and ports.
//!
//! Nothing here does I/O, reads a clock or draws a random number: time ([`Time`]) and entropy
//! ([`Entropy`]) are arguments, and the ports ([`Store`], [`Signer`], [`KeyManager`]) are traits that
//! adapters implement in crates of their own.

pub mod audit;
pub mod authorities;
pub mod authorization;
pub mod brokers;
pub mod certificates;
pub mod cidr;
pub mod enrollment;
pub mod error;
pub mod id;
pub mod identity;
pub mod messages;
pub mod principal_type;
pub mod principals;
pub mod reasons;
pub mod restore;
pub mod spiffe;
pub mod store;
pub mod tenants;
pub mod text;
pub mod time;
pub mod tokens;
pub mod trust;

pub use authorities::signer::{
    Entropy, KeyError, KeyLabel, KeyManager, PolicyReport, Signer, WrapLabel, WrapUse, WrappedKey,
};
pub use cidr::{Cidr, CidrError};
pub use error::Error;
pub use id::{CaId, KeyRef, PrincipalId, RequestId, Role, RuleId, SecretId, Serial, TenantId, TokenId};
pub use identity::{Actor, Identity};
pub use principal_type::PrincipalType;
pub use store::{Store, StoreError, scope::TenantScope};
pub use time::{Clock, ClockWatch, Lifetime, Time, Uptime};
