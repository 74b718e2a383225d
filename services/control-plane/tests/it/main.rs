//! The control plane from outside: real nodes on the embedded default, real mTLS clients.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    missing_docs,
    unreachable_pub,
    reason = "tests fail by panicking"
)]

mod bans;
mod deleted;
mod dynamic;
mod failures;
mod faulty;
mod program;
mod world;

mod authorization;
mod authzen;
mod aws;
mod bad_input;
mod clones;
mod config;
mod contract;
mod foreign;
mod health;
mod identities;
mod layer;
mod lifecycle;
mod lists;
mod matrix;
mod messages;
mod names;
mod ocsp;
mod plain;
mod quotas;
mod races;
mod refusals;
mod restoring;
mod server_certificate;
mod shares;
mod shutdown;
mod staleness;
mod status;
mod streams;
mod table;
mod telemetry;
mod tokens;
mod unrecorded;
