//! Sets of public keys from others (RFC 7517 section 5), as verifiers look keys up.

use std::collections::HashMap;

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk},
};
use serde_json::Value;

use crate::{Token, Use};

/// Most keys of a set.
const MOST: usize = 100;

/// Keys for one use, by their `kid`.
#[derive(Clone, Default)]
pub struct KeySet {
    keys: HashMap<String, (Algorithm, DecodingKey)>,
    json: Vec<Value>,
}

impl KeySet {
    /// Those of a set of JWKs, JSON, that are for `for_use`; `None`: it is none. A key that is not understood is left
    /// out (RFC 7517 section 5), and one without `kid`.
    pub fn parse(json: &[u8], for_use: Use) -> Option<Self> {
        let set: Value = serde_json::from_slice(json).ok()?;
        let mut this = Self::default();
        for value in set.get("keys")?.as_array()?.iter().take(MOST) {
            if value.get("use").and_then(Value::as_str) == Some(for_use.name())
                && let Some((id, algorithm, key)) = one(value)
            {
                this.keys.insert(id, (algorithm, key));
                this.json.push(value.clone());
            }
        }
        Some(this)
    }

    /// The key that a token names, if it is one for the token's algorithm: `alg` is the key's to say (RFC 8725 section
    /// 3.1).
    pub fn of(&self, token: &Token<'_>) -> Option<&DecodingKey> {
        let (algorithm, key) = self.keys.get(token.key_id()?)?;
        (*algorithm == token.algorithm()).then_some(key)
    }

    /// Whether there is a key of this `kid`.
    pub fn has(&self, id: &str) -> bool {
        self.keys.contains_key(id)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// As JWKs, as they came.
    pub fn jwks(&self) -> &[Value] {
        &self.json
    }
}

fn one(value: &Value) -> Option<(String, Algorithm, DecodingKey)> {
    let jwk: Jwk = serde_json::from_value(value.clone()).ok()?;
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => Algorithm::ES256,
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        _ => return None,
    };
    let id = jwk.common.key_id.clone().filter(|id| !id.is_empty())?;
    Some((id, algorithm, DecodingKey::from_jwk(&jwk).ok()?))
}
