//! Signatures as others make and verify them.

#![expect(clippy::panic, clippy::unwrap_used, reason = "tests fail by panicking, also in what they share")]

mod examples;
mod judge;
