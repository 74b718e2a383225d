//! The SDK against a real front door (signet-mtls) with services behind it that do what a test says.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod connecting;
mod files;
mod identities;
mod identity;
mod messages;
mod once;
mod peers;
mod places;
mod refusals;
mod revocations;
mod root;
mod server;
mod state;
mod tokens;
