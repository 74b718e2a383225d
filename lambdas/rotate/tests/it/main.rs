//! The function as AWS runs it: the real program, zipped, invoked on the emulator (`scripts/aws-emulator`, as
//! `scripts/test` does).
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

mod rotation;
mod tasks;
mod world;
