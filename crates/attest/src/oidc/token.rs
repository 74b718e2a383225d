//! The token's form and signature (RFC 7515, RFC 7519). Times and audience are the claims' matter.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use signet_core::enrollment::attestation::AttestationError;

use super::claims::Claims;
use crate::{refused, shown};

/// Tokens of people in many groups take some KiB.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// Public-key algorithms, without SHA-1 and without `none`.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// A token whose signature has not been checked.
pub(super) struct Token<'a> {
    text: &'a str,
    algorithm: Algorithm,
    key_id: Option<String>,
    issuer: String,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// RFC 7515 section 4.1.11: who does not understand what it lists must refuse; we understand none.
    crit: Option<Value>,
}

#[derive(Deserialize)]
struct Issued {
    iss: String,
}

impl<'a> Token<'a> {
    /// Reads what says whom to ask. None of it is believed yet.
    pub(super) fn parse(text: &'a str) -> Result<Self, AttestationError> {
        let malformed = |what: &str| refused("OIDC_TOKEN_MALFORMED", what);
        if text.len() > MAX_TOKEN_BYTES {
            return Err(malformed("it is larger than 16 KiB"));
        }
        let parts: Vec<&str> = text.split('.').collect();
        let [header, claims, _] = parts.as_slice() else { return Err(malformed("it has not three parts")) };
        let header: Header = part(header).ok_or_else(|| malformed("its header is not JSON with `alg`"))?;
        let Issued { iss } = part(claims).ok_or_else(|| malformed("its claims are not JSON with `iss`"))?;
        if header.crit.is_some() {
            return Err(malformed("it has critical header fields"));
        }
        let known: Option<Algorithm> = header.alg.parse().ok();
        let algorithm = known.filter(|algorithm| ALGORITHMS.contains(algorithm)).ok_or_else(|| {
            refused("OIDC_ALGORITHM_NOT_ALLOWED", format!("it is signed with {}", shown(&header.alg)))
        })?;
        Ok(Self { text, algorithm, key_id: header.kid, issuer: iss })
    }

    pub(super) fn claimed_issuer(&self) -> &str {
        &self.issuer
    }

    pub(super) fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    pub(super) const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The claims, if `key` signed them.
    pub(super) fn verify(&self, key: &DecodingKey) -> Result<Claims, AttestationError> {
        // The library would read the system's clock; our own checks follow.
        let mut signature_only = Validation::new(self.algorithm);
        signature_only.required_spec_claims.clear();
        signature_only.validate_exp = false;
        signature_only.validate_aud = false;
        let verified = decode::<Map<String, Value>>(self.text, key, &signature_only);
        let verified = verified.map_err(|error| refused("OIDC_BAD_SIGNATURE", error.to_string()))?;
        Ok(Claims::new(verified.claims))
    }
}

fn part<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}
