//! `Signet-Identity`: who the caller is, signed for one upstream. No header of a client can be taken for it.

use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderValue;
use serde::Serialize;
use serde_json::{Value, json};
use signet_core::{Lifetime, Time};

use crate::{keys::Keys, subject::Subject};

/// How long one is good, and how long it is used: an upstream has the other half to look at it.
const LIFETIME: Lifetime = Lifetime::seconds(60);
const USED_FOR: Lifetime = Lifetime::seconds(30);
/// Tokens that a connection keeps: one for each of its upstreams, if it does not change its callers.
const MOST: usize = 16;

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    iat: i64,
    exp: i64,
    tenant: &'a str,
    principal_type: &'a str,
    roles: &'a [String],
    #[serde(skip_serializing_if = "Value::is_null")]
    cnf: Value,
}

/// Those of one connection.
#[derive(Default)]
pub(crate) struct IdentityTokens(Mutex<Vec<Kept>>);

struct Kept {
    spiffe_id: Arc<str>,
    x5t: Arc<str>,
    upstream: Arc<str>,
    value: HeaderValue,
    until: Time,
}

impl IdentityTokens {
    /// A token that is good for half a minute yet; `None` if it cannot be signed.
    pub(crate) fn of(
        &self,
        keys: &Keys,
        issuer: &str,
        (subject, upstream): (&Subject, &Arc<str>),
        (now, until): (Time, Time),
    ) -> Option<HeaderValue> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |one: &&Kept| {
            one.upstream == *upstream && one.spiffe_id == subject.spiffe_id && one.x5t == subject.x5t && now < one.until
        };
        if let Some(found) = kept.iter().find(is_it) {
            return Some(found.value.clone());
        }
        let value = sign(keys, issuer, (subject, upstream), (now, until))?;
        kept.retain(|one| now < one.until && one.upstream != *upstream);
        if kept.len() >= MOST {
            kept.clear();
        }
        kept.push(Kept {
            spiffe_id: Arc::clone(&subject.spiffe_id),
            x5t: Arc::clone(&subject.x5t),
            upstream: Arc::clone(upstream),
            value: value.clone(),
            until: now.plus(USED_FOR).min(until),
        });
        Some(value)
    }
}

fn sign(
    keys: &Keys,
    issuer: &str,
    (subject, upstream): (&Subject, &Arc<str>),
    (now, until): (Time, Time),
) -> Option<HeaderValue> {
    let claims = Claims {
        iss: issuer,
        sub: &subject.spiffe_id,
        aud: upstream,
        iat: now.unix_seconds(),
        exp: now.plus(LIFETIME).min(until).unix_seconds(),
        tenant: &subject.tenant,
        principal_type: subject.kind,
        roles: &subject.roles,
        cnf: if subject.x5t.is_empty() { Value::Null } else { json!({ "x5t#S256": *subject.x5t }) },
    };
    let signed = keys.sign_identity_token(&claims);
    signed.inspect_err(|error| tracing::error!(%error, "an identity token was not signed")).ok()?.try_into().ok()
}
