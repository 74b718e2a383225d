//! Signet's domain: types, decisions, plans and ports.
//!
//! Nothing here does I/O, reads a clock or draws a random number: time ([`Time`]) and entropy
//! ([`Entropy`]) are arguments, and the ports ([`Store`], [`Signer`], [`KeyManager`]) are traits that
//! adapters implement in crates of their own.

pub mod attestation;
pub mod audit;
pub mod authz;
pub mod body;
pub mod ca;
pub mod certificate;
pub mod change;
pub mod checkpoint;
pub mod cidr;
pub mod commit;
pub mod enrollment;
pub mod enrollment_rule;
pub mod error;
pub mod expiry;
pub mod id;
pub mod identity;
pub mod lineage;
pub mod merkle;
pub mod principal;
pub mod principal_type;
pub mod quota;
pub mod record;
pub mod renewal;
pub mod request;
pub mod scope;
pub mod sealing;
pub mod signer;
pub mod spiffe;
pub mod store;
pub mod stored;
pub mod tally;
pub mod tenant;
pub mod text;
pub mod time;
pub mod trust;

pub use cidr::{Cidr, CidrError};
pub use error::Error;
pub use id::{CaId, KeyRef, PrincipalId, RequestId, Role, RuleId, Serial, TenantId, TokenId};
pub use identity::{Actor, Identity};
pub use principal_type::PrincipalType;
pub use scope::TenantScope;
pub use signer::{Entropy, KeyError, KeyLabel, KeyManager, Signer};
pub use store::{Store, StoreError};
pub use time::{ClockWatch, Lifetime, Time, Uptime};
