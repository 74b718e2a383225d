//! The SPIFFE Workload API and Envoy's SDS on a Unix socket, for programs that take keys from there instead of files.
//!
//! [`caller`] says who is at the other end, [`rules`] which identities such a caller gets, [`offers`] what they are at
//! the moment; [`svids`] and [`sds`] put that into the messages of the two protocols.

mod authority;
mod caller;
mod codec;
mod offers;
mod rules;
mod sds;
mod secrets;
mod server;
mod session;
mod svids;
pub mod wire;

pub(crate) use offers::{Keeper, Offers, follow};
pub use rules::{Executable, Workload};
pub(crate) use server::serve;
