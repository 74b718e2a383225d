//! Public keys as JWKs (RFC 7517, RFC 7518 section 6).

use der::{Decode as _, Sequence, asn1::UintRef};
use jsonwebtoken::{Algorithm, DecodingKey, jwk::Jwk};
use serde_json::{Value, json};
use spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};

use crate::{KeyFault, digest, encode, token::name};

const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
/// RFC 7518 section 3.3: 2048 bits or more.
const LEAST_RSA_BYTES: usize = 256;

/// What a published key is for: RFC 7517 section 4.2, and SPIFFE Trust Domain and Bundle section 4.2.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// `sig`: for OAuth's and OpenID Connect's verifiers.
    Signature,
    /// `jwt-svid`: in SPIFFE bundles.
    JwtSvid,
    /// `wit-svid`: in SPIFFE bundles.
    WitSvid,
}

impl Use {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Signature => "sig",
            Self::JwtSvid => "jwt-svid",
            Self::WitSvid => "wit-svid",
        }
    }
}

/// A P-256 or RSA key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    P256 { x: String, y: String },
    Rsa { n: String, e: String },
}

/// RFC 8017 appendix A.1.1.
#[derive(Sequence)]
struct RsaPublicKey<'a> {
    n: UintRef<'a>,
    e: UintRef<'a>,
}

/// An RSAPublicKey, if it is long enough.
pub(crate) fn from_pkcs1(der: &[u8]) -> Option<PublicKey> {
    let key = RsaPublicKey::from_der(der).ok()?;
    let (n, e) = (key.n.as_bytes(), key.e.as_bytes());
    (n.len() >= LEAST_RSA_BYTES).then(|| PublicKey(Kind::Rsa { n: encode(n), e: encode(e) }))
}

impl PublicKey {
    /// The key in a DER SubjectPublicKeyInfo.
    pub fn from_spki(spki_der: &[u8]) -> Result<Self, KeyFault> {
        let not_one = || KeyFault::NotOne("ES256 or RS256");
        let spki = SubjectPublicKeyInfoRef::from_der(spki_der).map_err(|_| not_one())?;
        let bits = spki.subject_public_key.raw_bytes();
        let key = match spki.algorithm.oid {
            EC => Self::from_point(bits),
            RSA => from_pkcs1(bits),
            _ => None,
        };
        key.ok_or_else(not_one)
    }

    /// An uncompressed point (SEC 1 section 2.3.3) of P-256.
    pub(crate) fn from_point(point: &[u8]) -> Option<Self> {
        let (x, y) = point.strip_prefix(&[4]).filter(|xy| xy.len() == 64)?.split_at(32);
        Some(Self(Kind::P256 { x: encode(x), y: encode(y) }))
    }

    /// What it signs with.
    pub const fn algorithm(&self) -> Algorithm {
        match self.0 {
            Kind::P256 { .. } => Algorithm::ES256,
            Kind::Rsa { .. } => Algorithm::RS256,
        }
    }

    /// RFC 7638, SHA-256, base64url: 43 characters.
    pub fn thumbprint(&self) -> String {
        // The members in the order of their names, without white space.
        let members = match &self.0 {
            Kind::P256 { x, y } => format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#),
            Kind::Rsa { n, e } => format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#),
        };
        digest(members.as_bytes())
    }

    /// The key alone, as `cnf.jwk` has it (RFC 7800 section 3.2).
    pub fn jwk(&self) -> Value {
        match &self.0 {
            Kind::P256 { x, y } => json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y, "alg": "ES256" }),
            Kind::Rsa { n, e } => json!({ "kty": "RSA", "n": n, "e": e, "alg": "RS256" }),
        }
    }

    /// The key as a set of keys has it: with `kid` ([`Self::thumbprint`]) and `use`.
    pub fn published(&self, for_use: Use) -> Value {
        let mut jwk = self.jwk();
        if let Some(members) = jwk.as_object_mut() {
            members.insert("kid".into(), self.thumbprint().into());
            members.insert("use".into(), for_use.name().into());
        }
        jwk
    }

    /// For [`crate::Token::verify`].
    pub fn decoding_key(&self) -> Result<DecodingKey, KeyFault> {
        let jwk: Result<Jwk, _> = serde_json::from_value(self.jwk());
        let key = jwk.ok().and_then(|jwk| DecodingKey::from_jwk(&jwk).ok());
        key.ok_or_else(|| KeyFault::NotOne(name(self.algorithm())))
    }
}
