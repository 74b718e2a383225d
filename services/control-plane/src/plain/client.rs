//! Who asks.

use std::net::IpAddr;

/// The address of a request's client, as its connection told it.
#[derive(Clone, Copy)]
pub(super) struct Client(pub(super) IpAddr);
