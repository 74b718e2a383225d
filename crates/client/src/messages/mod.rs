//! Signed messages: is this one from that device? By the device's secret, which the control plane gives to whoever may
//! verify, and tells of as soon as another takes its place.
//!
//! Secrets are fetched over the connection that changes come on: what changes while one is under way is heard. Who
//! hears nothing for 30 seconds refuses everything, as a node of the control plane itself does.

mod asking;
mod connection;
mod follow;
mod handle;
mod memory;
mod signer;
mod state;

pub use handle::MessageVerifier;
pub use signer::{MessageSigner, SignedHeaders};
