//! Private keys that sign in this process.

use std::fmt;

use aws_lc_rs::{
    rand::SystemRandom,
    rsa,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{KeyFault, PublicKey, public, token::name};

/// A private key with the name by which verifiers find its public half. Does not print itself.
pub struct SigningKey {
    pair: Pair,
    public: PublicKey,
    id: String,
}

enum Pair {
    Es256(EcdsaKeyPair),
    Rs256(rsa::KeyPair),
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// The key in a PKCS#8 document: P-256 for ES256, RSA of 2048 bits or more for RS256. Its `kid` is its thumbprint
    /// (RFC 7638).
    pub fn from_pkcs8(algorithm: Algorithm, pkcs8_der: &[u8]) -> Result<Self, KeyFault> {
        let not_one = || KeyFault::NotOne(name(algorithm));
        let (pair, public) = match algorithm {
            Algorithm::ES256 => {
                let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8_der);
                let pair = pair.map_err(|_| not_one())?;
                let public = PublicKey::from_point(pair.public_key().as_ref()).ok_or_else(not_one)?;
                (Pair::Es256(pair), public)
            }
            Algorithm::RS256 => {
                let pair = rsa::KeyPair::from_pkcs8(pkcs8_der).map_err(|_| not_one())?;
                let public = public::from_pkcs1(pair.public_key().as_ref()).ok_or_else(not_one)?;
                (Pair::Rs256(pair), public)
            }
            other => return Err(KeyFault::Algorithm(other)),
        };
        let id = public.thumbprint();
        Ok(Self { pair, public, id })
    }

    /// Its `kid`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its public half.
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// A compact JWS (RFC 7515 section 7.1) over `claims`, with `alg`, `kid` and, if it is not empty, this `typ`.
    pub fn sign(&self, typ: &str, claims: &impl Serialize) -> Result<String, KeyFault> {
        self.sign_with(typ, Map::new(), claims)
    }

    /// The same with more header parameters, e.g. `x5c`.
    pub fn sign_with(
        &self,
        typ: &str,
        mut header: Map<String, Value>,
        claims: &impl Serialize,
    ) -> Result<String, KeyFault> {
        header.insert("alg".into(), name(self.public.algorithm()).into());
        header.insert("kid".into(), self.id.as_str().into());
        if !typ.is_empty() {
            header.insert("typ".into(), typ.into());
        }
        let json = |error: serde_json::Error| KeyFault::Signing(error.to_string());
        let (header, claims) = (serde_json::to_vec(&header).map_err(json)?, serde_json::to_vec(claims).map_err(json)?);
        let mut text = String::with_capacity((header.len() + claims.len() + 70) * 4 / 3);
        URL_SAFE_NO_PAD.encode_string(header, &mut text);
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(claims, &mut text);
        let signature = self.signature(text.as_bytes())?;
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut text);
        Ok(text)
    }

    fn signature(&self, message: &[u8]) -> Result<Vec<u8>, KeyFault> {
        let failed = |_| KeyFault::Signing("the key did not sign".into());
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Es256(pair) => Ok(pair.sign(&random, message).map_err(failed)?.as_ref().to_vec()),
            Pair::Rs256(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).map_err(failed)?;
                Ok(signature)
            }
        }
    }
}
