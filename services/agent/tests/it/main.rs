//! The agent against a real control plane, and real programs that read what it writes.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod access_tokens;
mod binary;
mod canary;
mod configuration;
mod enrolling;
mod envoy;
mod ext_authz;
mod ext_authz_envoy;
mod files;
mod jwt_svids;
mod mosquitto;
mod nginx;
mod out_of_band;
mod postgres;
mod process;
mod programs;
mod proofs;
mod relying_parties;
mod sds;
mod spiffe_clients;
mod workload_api;
mod world;
