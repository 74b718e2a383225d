//! Why a node does not serve.

use std::net::SocketAddr;

use thiserror::Error;

use crate::{authorization::TableError, wiring::WiringError};

/// Why a node does not start.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub enum ServeError {
    /// The API has an RPC without a rule.
    #[error(transparent)]
    Authorization(#[from] TableError),
    /// A port is taken, or its address is not ours.
    #[error("{key} = \"{address}\" cannot be opened: {problem}")]
    Listen {
        /// The configuration's key.
        key: &'static str,
        /// What it says.
        address: SocketAddr,
        problem: String,
    },
    /// The store is not this environment's.
    #[error(transparent)]
    Wiring(#[from] WiringError),
    /// The node ended although nobody had asked for it.
    #[error("the gRPC listener has ended by itself: {0}")]
    Ended(String),
    /// A part refuses its settings.
    #[error("{0}")]
    Setup(String),
}
