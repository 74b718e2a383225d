//! The SPIFFE Workload API and Envoy's SDS on a Unix socket, for programs that take keys from there instead of files;
//! and ext_authz, for an Envoy that has its keys from there.
//!
//! [`caller`] says who is at the other end, [`rules`] which identities such a caller gets, [`offers`] what they are at
//! the moment; [`svids`], [`jwt_svids`] and [`sds`] put that into the messages of two protocols. [`ext_authz`] decides
//! on requests.

mod authority;
mod caller;
mod codec;
mod ext_authz;
mod jwt_svids;
mod offers;
mod rules;
mod sds;
mod secrets;
mod server;
mod session;
mod svids;
pub mod wire;

pub use ext_authz::{Circumstance, ExtAuthzConfig, Rule};
pub(crate) use offers::{Keeper, Offers, follow};
pub use rules::{Executable, Workload};
pub(crate) use server::serve;
