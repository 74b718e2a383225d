//! What tests share: one suite per port that every adapter passes, wrappers that fail on purpose, and fixtures.
//! A dev-dependency only; knows the core and no adapter.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

pub mod drops;
pub mod entropy;
pub mod faults;
pub mod faulty;
pub mod fixtures;
pub mod issuer;
pub mod lambda;
pub mod memory_store;
pub mod pki;
pub mod releases;
pub mod scripted;
pub mod signer_suite;
pub mod store_suite;
pub mod uptime;
pub mod wrapping;

mod suite;
