//! The keys that a tenant's JWT-SVIDs are verified with, and what a verifier checks (SPIFFE JWT-SVID).

use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Map, Value, json};
use signet_core::Time;
use signet_jwt::{Algorithm, KeySet, Token, Use};
use thiserror::Error;

/// The keys of one tenant, as the control plane named them last.
#[derive(Clone)]
pub struct SvidKeys {
    keys: KeySet,
    jwks: String,
}

/// Why a JWT-SVID is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the JWT-SVID is not taken: {0}")]
pub struct SvidFault(pub &'static str);

#[derive(Deserialize)]
struct Checked {
    sub: String,
    aud: Audience,
    /// Whole seconds, as our own issuer writes them.
    exp: i64,
    nbf: Option<i64>,
}

/// RFC 7519 section 4.1.3: one, or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
    Other(IgnoredAny),
}

/// What a JWT-SVID says.
#[derive(Clone, Debug, PartialEq)]
pub struct SvidClaims {
    /// Whose it is.
    pub spiffe_id: String,
    /// All of its claims.
    pub claims: Map<String, Value>,
}

impl SvidKeys {
    /// From [`signet_proto::v1::TrustBundle`]'s `svid_keys_json`. Empty: there are none yet.
    pub(crate) fn of_json(json: &str) -> Self {
        let keys = KeySet::parse(json.as_bytes(), Use::JwtSvid).unwrap_or_default();
        let jwks = json!({ "keys": keys.jwks() }).to_string();
        Self { keys, jwks }
    }

    /// A JWKS, JSON: what SPIFFE calls a JWT bundle.
    pub fn jwks(&self) -> &str {
        &self.jwks
    }

    /// Whether nobody of the tenant has asked for a JWT-SVID yet.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub(crate) fn has(&self, key_id: &str) -> bool {
        self.keys.has(key_id)
    }

    /// What a JWT-SVID says, if a key of ours signed it, it is of this trust domain (`spiffe://<trust domain>`), for
    /// `audience`, and not over at `now`; there is no leeway.
    pub fn verify(&self, svid: &str, trust_domain: &str, audience: &str, now: Time) -> Result<SvidClaims, SvidFault> {
        if audience.is_empty() {
            return Err(SvidFault("it is judged for an audience, which is empty"));
        }
        let malformed = SvidFault("it is no signed JSON Web Token of ES256 or RS256");
        let token = Token::parse(svid, &[Algorithm::ES256, Algorithm::RS256]).map_err(|_| malformed)?;
        // JWT-SVID section 2.3. An access token has another.
        if !matches!(token.typ(), None | Some("JWT" | "JOSE")) {
            return Err(SvidFault("its header's typ says that it is another kind of token"));
        }
        let key = self.keys.of(&token).ok_or(SvidFault("none of its trust domain's keys has its kid and algorithm"))?;
        let claims: Value = token.verify(key).map_err(|_| SvidFault("its signature does not verify"))?;
        let lacks = |_| SvidFault("it lacks sub, aud or exp, or one of them has another form");
        let checked: Checked = serde_json::from_value(claims.clone()).map_err(lacks)?;
        let is_of =
            |uri: &str| uri.strip_prefix(trust_domain).is_some_and(|path| path.len() > 1 && path.starts_with('/'));
        if !is_of(&checked.sub) {
            return Err(SvidFault("its sub is no SPIFFE ID of this trust domain"));
        }
        let is_for = match &checked.aud {
            Audience::One(one) => one == audience,
            Audience::Several(several) => several.iter().any(|one| one == audience),
            Audience::Other(_) => false,
        };
        if !is_for {
            return Err(SvidFault("it is for another audience"));
        }
        let millis = now.unix_millis();
        if millis >= checked.exp.saturating_mul(1000) {
            return Err(SvidFault("it has expired"));
        }
        if checked.nbf.is_some_and(|nbf| millis < nbf.saturating_mul(1000)) {
            return Err(SvidFault("it is not valid yet"));
        }
        let claims = claims.as_object().cloned().unwrap_or_default();
        Ok(SvidClaims { spiffe_id: checked.sub, claims })
    }
}

impl Default for SvidKeys {
    fn default() -> Self {
        Self::of_json("")
    }
}

impl PartialEq for SvidKeys {
    fn eq(&self, other: &Self) -> bool {
        self.jwks == other.jwks
    }
}

impl Eq for SvidKeys {}

impl std::fmt::Debug for SvidKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SvidKeys").field(&self.jwks).finish()
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::{
        rand::SystemRandom,
        signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
    };
    use signet_jwt::SigningKey;

    use super::*;

    const DOMAIN: &str = "spiffe://acme.example.com";

    fn key() -> SigningKey {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        SigningKey::from_pkcs8(Algorithm::ES256, pkcs8.as_ref()).unwrap()
    }

    /// JWT-SVID sections 2 and 3, and what the Workload API says of validation.
    #[test]
    fn a_jwt_svid_is_taken_for_its_audience_until_its_end() {
        let (own, wit) = (key(), key());
        let published = [own.public().published(Use::JwtSvid), wit.public().published(Use::WitSvid)];
        let keys = SvidKeys::of_json(&json!({ "keys": published }).to_string());
        assert!(keys.has(own.id()) && !keys.has(wit.id()) && !keys.jwks().contains("wit-svid"));
        let good = json!({ "sub": "spiffe://acme.example.com/worker/w-1", "aud": ["a", "b"], "exp": 1000 });
        let changed = |name: &str, value: Value| {
            let mut claims = good.clone();
            claims[name] = value;
            claims
        };
        let verify = |key: &SigningKey, typ: &str, claims: &Value, audience: &str, millis| {
            let svid = key.sign(typ, claims).unwrap();
            keys.verify(&svid, DOMAIN, audience, Time::from_unix_millis(millis)).map_err(|fault| fault.0)
        };
        for typ in ["JWT", "JOSE", ""] {
            let found = verify(&own, typ, &good, "b", 999_999).unwrap();
            assert_eq!(found.spiffe_id, "spiffe://acme.example.com/worker/w-1");
        }
        assert!(verify(&own, "JWT", &changed("aud", "a".into()), "a", 0).is_ok());
        for (key, typ, claims, audience, millis, why) in [
            (&own, "at+jwt", good.clone(), "a", 0, "another kind"),
            (&own, "wit+jwt", good.clone(), "a", 0, "another kind"),
            (&wit, "JWT", good.clone(), "a", 0, "kid"),
            (&own, "JWT", good.clone(), "c", 0, "another audience"),
            (&own, "JWT", good.clone(), "", 0, "empty"),
            (&own, "JWT", good.clone(), "a", 1_000_000, "expired"),
            (&own, "JWT", changed("nbf", 2.into()), "a", 1_999, "not valid yet"),
            (&own, "JWT", changed("aud", 7.into()), "a", 0, "another audience"),
            (&own, "JWT", changed("exp", Value::Null), "a", 0, "lacks"),
            (&own, "JWT", changed("sub", "spiffe://acme.example.com.evil/w".into()), "a", 0, "trust domain"),
            (&own, "JWT", changed("sub", "spiffe://acme.example.com/".into()), "a", 0, "trust domain"),
            (&own, "JWT", changed("sub", "w-1".into()), "a", 0, "trust domain"),
        ] {
            let told = verify(key, typ, &claims, audience, millis).unwrap_err();
            assert!(told.contains(why), "{why}: {told}");
        }
    }
}
