//! Broker tokens: verified in memory by the keys that the control plane has told of.

use std::{collections::HashMap, fmt};

use serde::Deserialize;
use signet_core::{
    Identity, Lifetime, Role, Time,
    brokers::{TopicPattern, TopicUse},
    spiffe::SpiffeId,
};
use signet_jwt::{Algorithm, DecodingKey, PublicKey, Token, TokenFault};
use signet_proto::v1::BrokerTokenKeys;

/// `typ`.
const BROKER_TOKEN: &str = "mqtt+jwt";
/// As everywhere: clocks are right within five minutes.
const CLOCKS_DIFFER: Lifetime = Lifetime::minutes(5);

/// What verifies a tenant's broker tokens.
#[derive(Default)]
pub(super) struct BrokerKeys {
    issuer: String,
    keys: HashMap<String, DecodingKey>,
}

/// What one says, and the key that signed it.
pub(super) struct Verified {
    claims: Claims,
    key_id: String,
}

#[derive(Clone, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: String,
    client_id: Option<String>,
    iat: i64,
    exp: i64,
    #[serde(default)]
    roles: Vec<Role>,
    certificate: String,
    publ: Vec<String>,
    subs: Vec<String>,
}

impl BrokerKeys {
    /// A key that cannot be read is left out: nothing that it signed is taken.
    pub(super) fn new(told: &BrokerTokenKeys) -> Self {
        let keys = told.keys.iter().filter_map(|key| {
            let read = PublicKey::from_spki(&key.public_key_der).and_then(|key| key.decoding_key());
            Some((key.key_id.clone(), read.ok()?))
        });
        Self { issuer: told.issuer.clone(), keys: keys.collect() }
    }

    pub(super) fn has(&self, key_id: &str) -> bool {
        self.keys.contains_key(key_id)
    }

    /// What a token says, if the tenant's issuer made it for `audience` and it is not over at `now`; otherwise a
    /// reason. One of another's key costs no more than a look at its header.
    pub(super) fn verified(&self, text: &str, audience: &str, now: Time) -> Result<Verified, &'static str> {
        let token = parsed(text).ok_or("BROKER_TOKEN_MALFORMED")?;
        let key_id = token.key_id().filter(|id| self.has(id)).ok_or("BROKER_TOKEN_KEY_UNKNOWN")?.to_owned();
        let key = self.keys.get(&key_id).ok_or("BROKER_TOKEN_KEY_UNKNOWN")?;
        let claims: Claims = token.verify(key).map_err(|fault| match fault {
            TokenFault::Malformed(_) => "BROKER_TOKEN_MALFORMED",
            TokenFault::Algorithm(_) | TokenFault::Signature => "BROKER_TOKEN_BAD_SIGNATURE",
        })?;
        match () {
            () if claims.iss != self.issuer => Err("BROKER_TOKEN_OF_ANOTHER_ISSUER"),
            () if claims.aud != audience => Err("BROKER_TOKEN_FOR_ANOTHER_AUDIENCE"),
            () if now.unix_seconds() >= claims.exp => Err("BROKER_TOKEN_EXPIRED"),
            () => Ok(Verified { claims, key_id }),
        }
    }
}

fn parsed(text: &str) -> Option<Token<'_>> {
    let token = Token::parse(text, &[Algorithm::ES256, Algorithm::RS256]).ok()?;
    token.typ().is_some_and(|typ| typ.eq_ignore_ascii_case(BROKER_TOKEN)).then_some(token)
}

/// A broker token that the tenant's issuer made. Does not keep the token.
#[derive(Clone)]
pub struct ShownBrokerToken {
    identity: Identity,
    key_id: String,
    client_id: Option<String>,
    publish: Vec<TopicPattern>,
    subscribe: Vec<TopicPattern>,
}

impl ShownBrokerToken {
    /// Whether a text calls itself a broker token; nothing of it is believed yet.
    pub fn is_one(text: &str) -> bool {
        parsed(text).is_some()
    }

    /// `None`: it has not the form of one, or is not of the tenant.
    pub(super) fn new(
        Verified { claims, key_id }: Verified,
        principal: impl Fn(&str) -> Option<SpiffeId>,
    ) -> Option<Self> {
        let SpiffeId { tenant, principal_type, principal } = principal(&claims.sub)?;
        let (issuer, serial) = claims.certificate.split_once('/')?;
        let identity = Identity {
            tenant,
            principal,
            principal_type,
            roles: claims.roles.into(),
            issuer: issuer.parse().ok()?,
            serial: serial.parse().ok()?,
            // Clocks differ; the token is not told from the certificate's beginning.
            not_before: Time::from_unix_seconds(claims.iat).minus(CLOCKS_DIFFER),
            not_after: Time::from_unix_seconds(claims.exp),
            spki_sha256: [0; 32],
            certificate_sha256: [0; 32],
        };
        let filters = |texts: &[String]| texts.iter().map(|text| text.parse().ok()).collect::<Option<Vec<_>>>();
        let (publish, subscribe) = (filters(&claims.publ)?, filters(&claims.subs)?);
        Some(Self { identity, key_id, client_id: claims.client_id, publish, subscribe })
    }

    /// Its holder, as far as the token tells: its certificate by issuer and serial number, its end as the token's.
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// `kid` of what signed it.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The client id that it is for; `None`: any of its holder's.
    pub fn client_id(&self) -> Option<&str> {
        self.client_id.as_deref()
    }

    /// Whether it says that all topics that `filter` matches may be used so.
    pub fn allows(&self, how: TopicUse, filter: &[u8]) -> bool {
        let (tenant, id) = (self.identity.tenant.as_str().as_bytes(), self.identity.principal.as_str().as_bytes());
        let filters = match how {
            TopicUse::Publish => &self.publish,
            TopicUse::Subscribe => &self.subscribe,
        };
        filters.iter().any(|own| own.covers(filter, tenant, id))
    }
}

impl fmt::Debug for ShownBrokerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShownBrokerToken").field("identity", &self.identity).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::{
        rand::SystemRandom,
        signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
    };
    use serde_json::{Value, json};
    use signet_jwt::SigningKey;
    use signet_proto::v1::BrokerTokenKey;

    use super::*;

    fn key() -> (SigningKey, Vec<u8>) {
        use aws_lc_rs::{encoding::AsDer as _, signature::KeyPair as _};
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).unwrap();
        let spki = pair.public_key().as_der().unwrap().as_ref().to_vec();
        (SigningKey::from_pkcs8(Algorithm::ES256, pkcs8.as_ref()).unwrap(), spki)
    }

    fn claims() -> Value {
        json!({
            "iss": "https://id.example.com/t/acme/broker", "sub": "spiffe://acme.example.com/service/partner",
            "aud": "mqtt", "iat": 0, "exp": 100, "jti": "1", "certificate": "acme.1/01a20162dddb7ceeae659e2b1f73318d",
            "publ": ["tenant/acme/pump/#"], "subs": ["tenant/acme/pump/+"],
        })
    }

    #[test]
    fn each_thing_that_a_broker_token_is_not_good_for_has_its_reason() {
        let ((own, spki), (other, _)) = (key(), key());
        let told = BrokerTokenKey { key_id: own.id().to_owned(), public_key_der: spki };
        let unreadable = BrokerTokenKey { key_id: other.id().to_owned(), public_key_der: vec![0x30] };
        let issuer = "https://id.example.com/t/acme/broker".to_owned();
        let keys = BrokerKeys::new(&BrokerTokenKeys { issuer, keys: vec![told, unreadable] });
        let refused = |key: &SigningKey, typ: &str, claims: &Value, now| {
            let text = key.sign(typ, claims).unwrap();
            keys.verified(&text, "mqtt", Time::from_unix_seconds(now)).err()
        };
        let with = |name: &str, value: Value| {
            let mut all = claims();
            all[name] = value;
            all
        };
        assert_eq!(refused(&own, "mqtt+jwt", &claims(), 99), None);
        for (key, typ, claims, now, reason) in [
            (&own, "mqtt+jwt", claims(), 100, "BROKER_TOKEN_EXPIRED"),
            (&own, "at+jwt", claims(), 0, "BROKER_TOKEN_MALFORMED"),
            (&own, "", claims(), 0, "BROKER_TOKEN_MALFORMED"),
            (&other, "mqtt+jwt", claims(), 0, "BROKER_TOKEN_KEY_UNKNOWN"),
            (&own, "mqtt+jwt", with("aud", "jobs".into()), 0, "BROKER_TOKEN_FOR_ANOTHER_AUDIENCE"),
            (&own, "mqtt+jwt", with("aud", json!(["mqtt"])), 0, "BROKER_TOKEN_MALFORMED"),
            (
                &own,
                "mqtt+jwt",
                with("iss", "https://id.example.com/t/acme".into()),
                0,
                "BROKER_TOKEN_OF_ANOTHER_ISSUER",
            ),
            (&own, "mqtt+jwt", with("publ", Value::Null), 0, "BROKER_TOKEN_MALFORMED"),
        ] {
            assert_eq!(refused(key, typ, &claims, now), Some(reason), "{typ} {claims}");
        }
        let [one, two] = ["jobs", "mqtt"].map(|aud| own.sign("mqtt+jwt", &with("aud", aud.into())).unwrap());
        let (said, signature) = (two.rsplit_once('.').unwrap().0, one.rsplit_once('.').unwrap().1);
        let forged = format!("{said}.{signature}");
        let refused = keys.verified(&forged, "mqtt", Time::from_unix_seconds(0)).err();
        assert!(matches!(refused, Some("BROKER_TOKEN_BAD_SIGNATURE")), "{refused:?}");
    }

    #[test]
    fn a_token_without_a_holder_or_with_filters_that_are_none_is_refused() {
        let shown = |claims: Value| {
            let verified = Verified { claims: serde_json::from_value(claims).unwrap(), key_id: String::new() };
            ShownBrokerToken::new(verified, |id| SpiffeId::parse(id, &"example.com".parse().unwrap()))
        };
        let good = shown(claims()).unwrap();
        assert!(
            good.allows(TopicUse::Publish, b"tenant/acme/pump/a/b")
                && good.allows(TopicUse::Subscribe, b"tenant/acme/pump/+")
        );
        assert!(
            !good.allows(TopicUse::Subscribe, b"tenant/acme/pump/a/b")
                && !good.allows(TopicUse::Publish, b"tenant/acme/#")
        );
        for (name, value) in [
            ("sub", json!("partner")),
            ("certificate", json!("0a")),
            ("publ", json!(["#"])),
            ("subs", json!(["a/#/b"])),
        ] {
            let mut claims = claims();
            claims[name] = value;
            assert!(shown(claims).is_none(), "{name}");
        }
    }
}
