//! Errors of the configuration.

use std::io;

use thiserror::Error;

/// Why there is no configuration.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("it cannot be read: {0}")]
    File(io::Error),
    /// Not TOML, an unknown key, a wrong type; the text names the line.
    #[error("{0}")]
    Syntax(String),
    /// A value that cannot be.
    #[error("{key}: {problem}")]
    Value {
        /// The key, e.g. `topics.2.publish`.
        key: String,
        /// What is wrong and what to do.
        problem: String,
    },
}

pub(super) fn bad(key: impl Into<String>, problem: impl Into<String>) -> ConfigError {
    ConfigError::Value { key: key.into(), problem: problem.into() }
}
