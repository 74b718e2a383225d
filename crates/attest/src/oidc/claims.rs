//! What a verified token says: whether it counts now and for us, and its facts.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};
use signet_core::{
    Lifetime, Time,
    enrollment::attestation::{AttestationError, fact},
};

use crate::{refused, shown};

/// For clocks that differ.
const LEEWAY: Lifetime = Lifetime::minutes(1);
/// Oldest token that counts, whatever its expiry. Kubernetes renews its tokens after at most a day.
const MAX_AGE: Lifetime = Lifetime::hours(24);

/// Claims about the token rather than about its subject: no facts, but for the expiry, until which it is remembered.
const OF_THE_TOKEN: [&str; 9] = [fact::EXPIRES, "iat", "nbf", "jti", "auth_time", "nonce", "at_hash", "c_hash", "sid"];
const MAX_DEPTH: usize = 5;
const MAX_VALUES: usize = 1_000;
const MAX_VALUE_BYTES: usize = 1_024;

type Values = BTreeMap<String, Vec<String>>;

pub(super) struct Claims(Map<String, Value>);

impl Claims {
    pub(super) const fn new(claims: Map<String, Value>) -> Self {
        Self(claims)
    }

    /// Issuer, audience and times.
    pub(super) fn check(&self, issuer: &str, audiences: &BTreeSet<&str>, now: Time) -> Result<(), AttestationError> {
        if self.0.get(fact::ISSUER).and_then(Value::as_str) != Some(issuer) {
            return Err(refused("OIDC_TOKEN_MALFORMED", "it has two issuers"));
        }
        let found = self.audiences();
        if !found.iter().any(|audience| audiences.contains(audience)) {
            let detail = format!("it is for {}", shown(&found.join(", ")));
            return Err(refused("OIDC_OTHER_AUDIENCE", detail));
        }
        self.check_times(now)
    }

    fn audiences(&self) -> Vec<&str> {
        match self.0.get(fact::AUDIENCE) {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }

    fn check_times(&self, now: Time) -> Result<(), AttestationError> {
        let missing = |name| refused("OIDC_CLAIM_MISSING", format!("the claim {name} is missing or not a time"));
        let expires = self.time(fact::EXPIRES).ok_or_else(|| missing(fact::EXPIRES))?;
        let issued = self.time("iat").ok_or_else(|| missing("iat"))?;
        let not_before = match self.0.get("nbf") {
            None => issued,
            Some(_) => self.time("nbf").ok_or_else(|| missing("nbf"))?,
        };
        let said = |what, at: Time| format!("{what} {} s, now {} s", at.unix_seconds(), now.unix_seconds());
        if now >= expires.plus(LEEWAY) {
            return Err(refused("OIDC_TOKEN_EXPIRED", said("exp", expires)));
        }
        for (name, at) in [("iat", issued), ("nbf", not_before)] {
            if at > now.plus(LEEWAY) {
                return Err(refused("OIDC_TOKEN_NOT_YET_VALID", said(name, at)));
            }
        }
        if now > issued.plus(MAX_AGE) {
            return Err(refused("OIDC_TOKEN_TOO_OLD", said("iat", issued)));
        }
        Ok(())
    }

    /// NumericDate: seconds, possibly with a fraction (RFC 7519 section 2).
    fn time(&self, name: &str) -> Option<Time> {
        let number = self.0.get(name)?;
        let whole = number.as_i64();
        #[expect(clippy::cast_possible_truncation, reason = "checked to be in range")]
        let fraction = || number.as_f64().filter(|n| n.is_finite() && n.abs() < 1e12).map(|n| n.floor() as i64);
        whole.or_else(fraction).map(Time::from_unix_seconds)
    }

    /// Its expiry, or its greatest age if that comes first: later it is refused anyway.
    fn counts_until(&self) -> Option<Time> {
        let expires = self.time(fact::EXPIRES)?;
        Some(self.time("iat").map_or(expires, |issued| expires.min(issued.plus(MAX_AGE))))
    }

    /// The claims as facts: nested names are joined by dots.
    pub(super) fn facts(&self) -> Result<Values, AttestationError> {
        let mut facts = Facts::default();
        if let Some(expires) = self.counts_until() {
            facts.values.insert(fact::EXPIRES.to_owned(), vec![expires.unix_seconds().to_string()]);
        }
        for (name, value) in &self.0 {
            if !OF_THE_TOKEN.contains(&name.as_str()) {
                facts.add(name.clone(), value, 1)?;
            }
        }
        Ok(facts.values)
    }
}

#[derive(Default)]
struct Facts {
    values: Values,
    count: usize,
}

impl Facts {
    fn add(&mut self, name: String, value: &Value, depth: usize) -> Result<(), AttestationError> {
        let unusable = |what: &str| refused("OIDC_CLAIMS_NOT_USABLE", format!("the claim {} {what}", shown(&name)));
        if depth > MAX_DEPTH || name.len() > MAX_VALUE_BYTES {
            return Err(unusable("is too deep"));
        }
        let texts: Vec<String> = match value {
            Value::Object(inner) => {
                for (key, value) in inner {
                    self.add(format!("{name}.{key}"), value, depth + 1)?;
                }
                return Ok(());
            }
            Value::Array(list) => list.iter().filter_map(text).collect(),
            single => text(single).into_iter().collect(),
        };
        if texts.is_empty() {
            return Ok(());
        }
        self.count += texts.len();
        if self.count > MAX_VALUES || texts.iter().any(|text| text.len() > MAX_VALUE_BYTES) {
            return Err(unusable("has too many values, or one that is too long"));
        }
        // {"a.b": …} and {"a": {"b": …}} are two claims; a rule could not tell which one it believes.
        if self.values.contains_key(&name) {
            return Err(unusable("is there twice, once nested"));
        }
        self.values.insert(name, texts);
        Ok(())
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Time = Time::from_unix_seconds(1_800_000_000);

    fn claims(value: Value) -> Claims {
        Claims::new(value.as_object().unwrap().clone())
    }

    fn reason(value: Value) -> Option<&'static str> {
        match claims(value).check("https://issuer.example", &BTreeSet::from(["signet"]), NOW) {
            Err(AttestationError::Refused { reason, .. }) => Some(reason),
            _ => None,
        }
    }

    fn good() -> Value {
        let now = NOW.unix_seconds();
        json!({ "iss": "https://issuer.example", "aud": "signet", "exp": now + 300, "iat": now - 10, "sub": "x" })
    }

    fn with(name: &str, value: Value) -> Value {
        let mut claims = good();
        claims[name] = value;
        claims
    }

    #[test]
    fn times_have_a_minute_of_leeway_and_no_more() {
        let now = NOW.unix_seconds();
        for fine in [
            good(),
            with("exp", json!(now - 59)),
            with("iat", json!(now + 60)),
            with("nbf", json!(now + 60)),
            with("exp", json!(now as f64 + 0.5)),
            with("iat", json!(now - 86_400)),
        ] {
            assert_eq!(reason(fine.clone()), None, "{fine}");
        }
        for (value, expected) in [
            (with("exp", json!(now - 60)), "OIDC_TOKEN_EXPIRED"),
            (with("iat", json!(now + 61)), "OIDC_TOKEN_NOT_YET_VALID"),
            (with("nbf", json!(now + 61)), "OIDC_TOKEN_NOT_YET_VALID"),
            (with("iat", json!(now - 86_401)), "OIDC_TOKEN_TOO_OLD"),
            (with("exp", Value::Null), "OIDC_CLAIM_MISSING"),
            (with("exp", json!("tomorrow")), "OIDC_CLAIM_MISSING"),
            (with("exp", json!(1e300)), "OIDC_CLAIM_MISSING"),
            (with("iat", json!([1])), "OIDC_CLAIM_MISSING"),
            (with("nbf", json!("now")), "OIDC_CLAIM_MISSING"),
        ] {
            assert_eq!(reason(value.clone()), Some(expected), "{value}");
        }
    }

    #[test]
    fn the_audience_must_be_ours() {
        assert_eq!(reason(with("aud", json!(["other", "signet"]))), None);
        for other in
            [json!("other"), json!(["other"]), json!([]), json!(null), json!({ "signet": 1 }), json!("signet2")]
        {
            assert_eq!(reason(with("aud", other.clone())), Some("OIDC_OTHER_AUDIENCE"), "{other}");
        }
        assert_eq!(reason(with("iss", json!("https://other.example"))), Some("OIDC_TOKEN_MALFORMED"));
    }

    #[test]
    fn nested_claims_get_dotted_names() {
        // As Kubernetes writes them.
        let token = with(
            "kubernetes.io",
            json!({ "namespace": "jobs", "serviceaccount": { "name": "crawler", "uid": "u-1" }, "warnafter": 5 }),
        );
        let facts = claims(token).facts().unwrap();
        let value = |name: &str| facts.get(name).cloned().unwrap_or_default();
        assert_eq!(value("kubernetes.io.namespace"), ["jobs"]);
        assert_eq!(value("kubernetes.io.serviceaccount.name"), ["crawler"]);
        assert_eq!(value("kubernetes.io.warnafter"), ["5"]);
        assert_eq!((value("iss").len(), value("iat").len()), (1, 0));
        assert_eq!(value("exp"), [(NOW.unix_seconds() + 300).to_string()]);
        let endless = claims(with("exp", json!(253_402_300_799_i64))).facts().unwrap();
        assert_eq!(
            endless["exp"],
            [(NOW.unix_seconds() - 10 + 86_400).to_string()],
            "forgotten when it counts no more"
        );
        let lists = claims(json!({ "groups": ["a", 1, true, null, ["x"], {"y": 1}], "none": [], "nil": null })).facts();
        assert_eq!(lists.unwrap(), Values::from([("groups".into(), vec!["a".into(), "1".into(), "true".into()])]));
    }

    #[test]
    fn claims_that_could_be_read_in_two_ways_or_that_flood_are_refused() {
        let deep = json!({ "a": { "b": { "c": { "d": { "e": { "f": 1 } } } } } });
        let many = json!({ "groups": vec!["x"; MAX_VALUES + 1] });
        let long = json!({ "name": "x".repeat(MAX_VALUE_BYTES + 1) });
        for bad in [json!({ "a.b": "x", "a": { "b": "y" } }), deep, many, long] {
            assert!(matches!(
                claims(bad).facts(),
                Err(AttestationError::Refused { reason: "OIDC_CLAIMS_NOT_USABLE", .. })
            ));
        }
    }
}
