//! `signet-agent` keeps certificates of this machine fresh, for programs that read files or ask [`workload_api`].
//!
//! [`config`] says which identities; each is an [`instance`] that enrolls once, is renewed by the SDK and is published
//! by [`publish`] in the formats asked for; then [`handover`] tells the programs that use it. [`agent`] runs them all.

mod advice;
pub mod agent;
mod canary;
mod check;
pub mod cli;
pub mod config;
mod control;
mod handover;
mod instance;
mod knock;
mod lock;
mod metrics;
mod proof;
mod publish;
pub mod report;
mod socket;
mod table;
pub mod workload_api;

pub use agent::Agent;
pub use config::Config;
