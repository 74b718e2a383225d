//! The operations over the embedded store: what they do, what they refuse, and what crashes and races leave behind.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod audit;
mod bad_input;
mod bootstrap;
mod cas;
mod certificates;
mod crashes;
mod enrollment;
mod faulty_store;
mod feed;
mod invariants;
mod issuance;
mod keys;
mod nodes;
mod operations;
mod principals;
mod restart;
mod retries;
mod sweep;
mod tenants;
mod tokens;
mod world;
