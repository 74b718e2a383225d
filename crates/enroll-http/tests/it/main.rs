//! The JSON API over the embedded store: what it gives, what it refuses and what it says then; and its description.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "tests fail by panicking"
)]

mod openapi;
mod renewals;
mod requests;
mod world;
