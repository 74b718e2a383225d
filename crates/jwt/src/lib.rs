//! JSON Web Tokens (RFC 7519) as pure functions: keys as JWKs, signing, and reading tokens that are not trusted yet.
//!
//! What claims mean is the caller's matter: times, audiences, issuers and the certificate that a token is bound to.

mod fault;
mod key;
mod public;
mod set;
mod token;

pub use jsonwebtoken::{Algorithm, DecodingKey};

pub use fault::KeyFault;
pub use key::SigningKey;
pub use public::{PublicKey, Use};
pub use set::KeySet;
pub use token::{Token, TokenFault};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

/// SHA-256 of a DER certificate as the confirmation claim `cnf.x5t#S256` has it: base64url, 43 characters (RFC 8705
/// section 3.1).
pub fn x5t_s256(certificate_der: &[u8]) -> String {
    digest(certificate_der)
}

/// The same for who has SHA-256 of the certificate.
pub fn x5t_s256_of(certificate_sha256: &[u8; 32]) -> String {
    encode(certificate_sha256)
}

fn digest(bytes: &[u8]) -> String {
    encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes))
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests;
