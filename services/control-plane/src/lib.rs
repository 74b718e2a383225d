//! The control plane: wiring, listeners and thin services over the operations of `signet-app`.
//!
//! [`Config`] is read and checked, [`wiring::open`] opens what it names, [`serve`] listens until told to stop. A
//! request passes the gate (session, rule, permit), a service that parses and converts, an operation, and the one
//! table of errors.

pub mod config;
mod pem;
pub mod server_identity;
pub mod wiring;

pub use config::{Config, ConfigError};
pub use server_identity::{PublicMaterial, ServerCredentials, ServerIdentityError, ServerIdentityStore};
