//! Errors of the configuration.

use std::io;

use thiserror::Error;

/// Why there is no configuration.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("it cannot be read: {0}; `signet-agent sample` prints one to start from")]
    File(io::Error),
    /// Not TOML, an unknown key, a wrong type.
    #[error("{0}")]
    Syntax(String),
    /// A value that cannot be.
    #[error("{key}: {problem}")]
    Value {
        /// The key, e.g. `identity.web.pem.key.mode`.
        key: String,
        /// What is wrong and what to do.
        problem: String,
    },
}
