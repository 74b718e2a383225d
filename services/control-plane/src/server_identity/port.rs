//! The port: what is kept, and how it fails.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use secrecy::SecretString;
use thiserror::Error;

/// The server's certificate chain and its key.
#[derive(Clone, Debug)]
pub struct ServerCredentials {
    /// PEM: the leaf, then its issuer.
    pub chain_pem: String,
    /// PEM, PKCS#8.
    pub key_pem: SecretString,
}

/// Material that anybody may know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicMaterial {
    /// The environment's root certificate.
    Root,
    /// The first admin's certificate chain; its key stays with whoever made it.
    AdminChain,
}

/// Why the server's identity cannot be read or written. Texts hold no secrets.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ServerIdentityError {
    /// It is there but cannot be used.
    #[error("{place} is damaged: {problem}")]
    Damaged {
        /// File, parameter or secret.
        place: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// The place cannot be reached, or refuses.
    #[error("{place}: {problem}")]
    Unavailable {
        /// File, parameter or secret.
        place: String,
        /// What went wrong.
        problem: String,
    },
}

/// Keeps the server's credentials. `get` after `put` returns what was put, chain and key together: a reader never sees
/// the chain of one and the key of another. The last `put` wins.
#[async_trait]
pub trait ServerIdentityStore: Send + Sync + fmt::Debug {
    /// The server's chain and key; `None` before the first `put`.
    async fn get(&self) -> Result<Option<ServerCredentials>, ServerIdentityError>;

    /// Replaces the server's chain and key.
    async fn put(&self, credentials: &ServerCredentials) -> Result<(), ServerIdentityError>;

    /// Public material as PEM; `None` before it was put.
    async fn get_public(&self, what: PublicMaterial) -> Result<Option<String>, ServerIdentityError>;

    /// Replaces public material.
    async fn put_public(&self, what: PublicMaterial, pem: &str) -> Result<(), ServerIdentityError>;

    /// Whether the process that serves renews the certificate; if not, somebody else does.
    fn renewed_by_server(&self) -> bool;

    /// How often to look for a new one.
    fn poll_interval(&self) -> Duration {
        Duration::from_secs(60)
    }
}
