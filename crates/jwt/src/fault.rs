//! What keys are refused for.

use jsonwebtoken::Algorithm;
use thiserror::Error;

/// Why a key cannot be used. Says nothing of what the key holds.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KeyFault {
    /// It is not a PKCS#8 private key, or not a public key, of the algorithm.
    #[error("this is not a key for {0}")]
    NotOne(&'static str),
    /// Tokens are signed with ES256 or RS256 here.
    #[error("tokens are not signed with {0:?} here: use ES256 or RS256")]
    Algorithm(Algorithm),
    /// A claim cannot be written as JSON, or the random source failed.
    #[error("the token cannot be signed: {0}")]
    Signing(String),
}
