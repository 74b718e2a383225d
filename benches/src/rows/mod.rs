//! What is measured, one module per subject.

pub(crate) mod decision;
pub(crate) mod denies;
pub(crate) mod ext_authz;
pub(crate) mod feed;
pub(crate) mod fleet;
pub(crate) mod handshake;
pub(crate) mod issuance;
pub(crate) mod layer;
pub(crate) mod lists;
pub(crate) mod messages;
pub(crate) mod neighbour;
pub(crate) mod ocsp;
pub(crate) mod peers;
pub(crate) mod renewals;
pub(crate) mod revocation;
mod tenant;
pub(crate) mod tokens;
pub(crate) mod unary;
pub(crate) mod wire;
