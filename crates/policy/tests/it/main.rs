//! Policies that are decided, refused and proved.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod decide;
mod faults;
mod proofs;
mod world;
