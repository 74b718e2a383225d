//! Tokens from others: their form and signature.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use thiserror::Error;

/// Tokens of people in many groups take some KiB.
const MAX_BYTES: usize = 16 * 1024;

/// Why a token is not taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TokenFault {
    /// It has not the form of a signed token.
    #[error("{0}")]
    Malformed(&'static str),
    /// Its `alg` is none that is taken here. The text is the token's own.
    #[error("it is signed with an algorithm that is not taken here")]
    Algorithm(String),
    /// The key did not sign it.
    #[error("its signature does not verify")]
    Signature,
}

/// A token whose signature has not been checked.
#[derive(Debug)]
pub struct Token<'a> {
    text: &'a str,
    claims: &'a str,
    algorithm: Algorithm,
    header: Header,
}

#[derive(Debug, Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    /// RFC 7515 section 4.1.11: who does not understand what it lists must refuse; we understand none.
    crit: Option<Value>,
}

impl<'a> Token<'a> {
    /// Reads its header. None of it is believed yet. Refuses tokens above 16 KiB, and algorithms not `allowed`.
    pub fn parse(text: &'a str, allowed: &[Algorithm]) -> Result<Self, TokenFault> {
        if text.len() > MAX_BYTES {
            return Err(TokenFault::Malformed("it is larger than 16 KiB"));
        }
        let mut parts = text.split('.');
        let (Some(header), Some(claims), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenFault::Malformed("it has not three parts"));
        };
        let header: Header = part(header).ok_or(TokenFault::Malformed("its header is not JSON with `alg`"))?;
        if header.crit.is_some() {
            return Err(TokenFault::Malformed("it has critical header fields"));
        }
        let known: Option<Algorithm> = header.alg.parse().ok();
        match known.filter(|algorithm| allowed.contains(algorithm)) {
            Some(algorithm) => Ok(Self { text, claims, algorithm, header }),
            None => Err(TokenFault::Algorithm(header.alg)),
        }
    }

    /// Its `kid`.
    pub fn key_id(&self) -> Option<&str> {
        self.header.kid.as_deref()
    }

    /// Its `typ`, which tells one kind of token from another.
    pub fn typ(&self) -> Option<&str> {
        self.header.typ.as_deref()
    }

    /// Its `alg`, one of those that are allowed.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// What it claims, not believed: whom to ask. `None`: it is not JSON of that shape.
    pub fn claimed<T: DeserializeOwned>(&self) -> Option<T> {
        part(self.claims)
    }

    /// The claims, if `key` signed them. Times and audience are still to be checked.
    pub fn verify<T: DeserializeOwned + Clone>(&self, key: &DecodingKey) -> Result<T, TokenFault> {
        // The library would read the system's clock.
        let mut signature_only = Validation::new(self.algorithm);
        signature_only.required_spec_claims.clear();
        signature_only.validate_exp = false;
        signature_only.validate_aud = false;
        let verified = decode::<Value>(self.text, key, &signature_only).map_err(|_| TokenFault::Signature)?;
        serde_json::from_value(verified.claims)
            .map_err(|_| TokenFault::Malformed("its claims lack what they must have"))
    }
}

/// The name of an algorithm in headers and metadata.
pub(crate) const fn name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::ES256 => "ES256",
        Algorithm::RS256 => "RS256",
        _ => "ES256 or RS256",
    }
}

fn part<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}
