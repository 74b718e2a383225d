//! `signet-gateway` lets a tenant's principals through to servers that know nothing of certificates.
//!
//! A connection comes through [`signet_mtls`]'s front door; a request is brought into one form, gets its route, is
//! asked about at the control plane, loses what its client may not say, gets what the gateway says of it, and goes to
//! its upstream. What goes on ends with the permission.

mod asked;
mod audit;
mod ban_log;
mod body;
mod caller;
pub mod cli;
pub mod config;
mod entropy;
mod forward;
mod front;
pub mod gateway;
mod handle;
mod headers;
mod identity_token;
mod keys;
mod l4;
mod limits;
mod metrics;
mod observer;
mod path;
mod private;
mod pump;
mod refusal;
mod request_body;
mod routes;
mod serve;
mod shared;
mod stream;
mod subject;
mod token_endpoint;
mod tokens;
mod upgrade;
mod upstream;
mod wire;

pub use config::Config;
pub use gateway::Gateway;
