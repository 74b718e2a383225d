//! The token's form and signature (RFC 7515, RFC 7519). Times and audience are the claims' matter.

use serde::Deserialize;
use serde_json::{Map, Value};
use signet_core::enrollment::attestation::AttestationError;
use signet_jwt::{Algorithm, DecodingKey, TokenFault};

use super::claims::Claims;
use crate::{refused, shown};

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
    token: signet_jwt::Token<'a>,
    issuer: String,
}

#[derive(Deserialize)]
struct Issued {
    iss: String,
}

impl<'a> Token<'a> {
    /// Reads what says whom to ask. None of it is believed yet.
    pub(super) fn parse(text: &'a str) -> Result<Self, AttestationError> {
        let token = signet_jwt::Token::parse(text, &ALGORITHMS).map_err(said)?;
        let claimed = token.claimed().ok_or(TokenFault::Malformed("its claims are not JSON with `iss`"));
        let Issued { iss } = claimed.map_err(said)?;
        Ok(Self { token, issuer: iss })
    }

    pub(super) fn claimed_issuer(&self) -> &str {
        &self.issuer
    }

    pub(super) fn key_id(&self) -> Option<&str> {
        self.token.key_id()
    }

    pub(super) const fn algorithm(&self) -> Algorithm {
        self.token.algorithm()
    }

    /// The claims, if `key` signed them.
    pub(super) fn verify(&self, key: &DecodingKey) -> Result<Claims, AttestationError> {
        self.token.verify::<Map<String, Value>>(key).map(Claims::new).map_err(said)
    }
}

fn said(fault: TokenFault) -> AttestationError {
    match fault {
        TokenFault::Malformed(what) => refused("OIDC_TOKEN_MALFORMED", what),
        TokenFault::Algorithm(of) => refused("OIDC_ALGORITHM_NOT_ALLOWED", format!("it is signed with {}", shown(&of))),
        TokenFault::Signature => refused("OIDC_BAD_SIGNATURE", "no key of its issuer made its signature"),
    }
}
