//! The control plane: wiring, listeners and thin services over the operations of `signet-app`.
//!
//! [`Config`] is read and checked, [`wiring::open`] opens what it names, [`serve()`] listens until told to stop. A
//! request passes the gate (session, rule, permit), a service that parses and converts, an operation, and the one
//! table of errors.

mod answer;
mod arriving;
mod asked;
pub mod authorization;
mod bans;
mod bundles;
mod certificate;
mod check;
pub mod cli;
pub mod config;
mod connections;
mod decisions;
mod descriptors;
pub mod earlier;
mod endpoint;
pub mod errors;
mod failures;
mod gate;
mod grpc;
mod http1;
mod issuer;
mod lists;
mod metrics;
mod node;
mod ocsp;
mod pem;
mod plain;
mod readiness;
mod receivers;
mod refusals;
mod serve;
mod serve_error;
pub mod server_identity;
mod services;
mod shares;
mod shutdown;
mod strangers;
pub mod telemetry;
mod unrecorded;
mod upkeep;
mod waiting;
pub mod wiring;

pub use config::{Config, ConfigError};
pub use endpoint::handshake;
pub use serve::{Reloader, Running, serve};
pub use serve_error::ServeError;
pub use server_identity::{PublicMaterial, ServerCredentials, ServerIdentityError, ServerIdentityStore};
pub use signet_core::Clock;
