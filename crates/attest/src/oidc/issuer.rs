//! One issuer: where its keys are (OpenID Connect Discovery 1.0), and how long they are believed.

use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey};
use reqwest::StatusCode;
use serde::Deserialize;
use signet_core::{Lifetime, Time, attestation::AttestationError};
use tokio::sync::Mutex;
use url::Url;

use super::keys::KeySet;
use crate::{
    http::Http,
    options::{Checked, base},
    refused, shown,
};

/// How long keys are used without asking.
const FRESH: Lifetime = Lifetime::hours(1);
/// How long they are used while the issuer does not answer.
const STALE: Lifetime = Lifetime::hours(24);
/// Least time between two calls, so that neither tokens with made-up key ids nor an issuer that is down make a storm.
const PAUSE: Lifetime = Lifetime::seconds(10);
/// A key set with certificate chains takes 20 KiB.
const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// The ways to issuers.
#[derive(Debug)]
pub(super) struct Reach {
    public: Http,
    private: Http,
    private_issuers: Vec<String>,
    timeout: Duration,
}

impl Reach {
    pub(super) fn new(options: &Checked) -> Self {
        Self {
            public: Http::public_only(options.timeout, &options.issuer_roots),
            private: Http::new(options.timeout, &options.issuer_roots),
            private_issuers: options.private_issuers.clone(),
            timeout: options.timeout,
        }
    }

    /// The issuer's URL and the way to it.
    fn to(&self, issuer: &str) -> Result<(Url, &Http), AttestationError> {
        let private = self.private_issuers.iter().any(|allowed| allowed == issuer);
        let url = base(issuer).filter(|url| private || url.scheme() == "https");
        let url = url.ok_or_else(|| {
            refused("OIDC_ISSUER_NOT_ALLOWED", format!("the issuer {} is not https://", shown(issuer)))
        })?;
        Ok((url, if private { &self.private } else { &self.public }))
    }
}

#[derive(Debug)]
pub(super) struct Issuer {
    name: String,
    /// Held while the issuer is asked: callers wait for one answer instead of asking too.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    keys: Option<(KeySet, Time)>,
    asked_at: Option<Time>,
    /// Why the last call brought nothing.
    failure: Option<String>,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl Issuer {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), state: Mutex::default() }
    }

    /// The key that a token names.
    pub(super) async fn key(
        &self,
        reach: &Reach,
        id: Option<&str>,
        algorithm: Algorithm,
        now: Time,
    ) -> Result<DecodingKey, AttestationError> {
        let (url, http) = reach.to(&self.name)?;
        let mut state = self.state.lock().await;
        if let Some(key) = state.keys_within(FRESH, now).and_then(|keys| keys.find(id, algorithm)) {
            return Ok(key);
        }
        if state.asked_at.is_none_or(|at| apart(at, now) >= PAUSE.millis()) {
            // Before the call, so that a caller who gives up in the middle is counted.
            state.asked_at = Some(now);
            state.failure = Some("the call was given up".into());
            let fetched = tokio::time::timeout(reach.timeout, self.fetch(url, http)).await;
            match fetched.unwrap_or_else(|_| Err("no answer in time".into())) {
                Ok(keys) => (state.keys, state.failure) = (Some((keys, now)), None),
                Err(cause) => {
                    tracing::warn!(issuer = %self.name, %cause, "an OIDC issuer's keys could not be fetched");
                    state.failure = Some(cause);
                }
            }
        }
        state.answer(id, algorithm, now)
    }

    async fn fetch(&self, issuer: Url, http: &Http) -> Result<KeySet, String> {
        let discovery: Discovery = {
            // Discovery section 4: a slash at the end of the issuer's path is removed first.
            let mut url = issuer.clone();
            url.set_path(&format!("{}/.well-known/openid-configuration", issuer.path().trim_end_matches('/')));
            let body = get(http, url).await.map_err(|cause| format!("discovery: {cause}"))?;
            serde_json::from_slice(&body).map_err(|_| "discovery: not JSON with issuer and jwks_uri")?
        };
        if discovery.issuer != self.name {
            return Err(format!("discovery: it calls itself {}", shown(&discovery.issuer)));
        }
        let url = Url::parse(&discovery.jwks_uri).ok().filter(|url| may_follow(&issuer, url));
        let url = url.ok_or("discovery: jwks_uri must be https://, or on the issuer's own host")?;
        let body = get(http, url).await.map_err(|cause| format!("keys: {cause}"))?;
        KeySet::parse(&body).ok_or_else(|| "keys: not a JWK set with a key that can be used".into())
    }
}

/// Plain HTTP goes nowhere but to where the operator has allowed it.
fn may_follow(issuer: &Url, keys: &Url) -> bool {
    keys.scheme() == "https" || keys.origin() == issuer.origin()
}

async fn get(http: &Http, url: Url) -> Result<Vec<u8>, String> {
    let answer = http.get(url, |builder| builder.header("accept", "application/json"), MAX_ANSWER_BYTES).await?;
    if answer.status == StatusCode::OK { Ok(answer.body) } else { Err(format!("status {}", answer.status.as_u16())) }
}

impl State {
    /// The keys, if they are no older than `limit`.
    fn keys_within(&self, limit: Lifetime, now: Time) -> Option<&KeySet> {
        let (keys, fetched_at) = self.keys.as_ref()?;
        (apart(*fetched_at, now) <= limit.millis()).then_some(keys)
    }

    fn answer(&self, id: Option<&str>, algorithm: Algorithm, now: Time) -> Result<DecodingKey, AttestationError> {
        let away = |cause: &str| AttestationError::Unavailable { what: "the OIDC issuer", cause: cause.to_owned() };
        let Some(keys) = self.keys_within(STALE, now) else {
            return Err(away(self.failure.as_deref().unwrap_or("its keys are too old")));
        };
        match (keys.find(id, algorithm), &self.failure) {
            (Some(key), _) => Ok(key),
            // It may have a new key, for all we know.
            (None, Some(cause)) => Err(away(cause)),
            (None, None) => {
                let id = id.map_or("no key id".to_owned(), shown);
                Err(refused("OIDC_UNKNOWN_KEY", format!("the issuer publishes no key for {algorithm:?} with {id}")))
            }
        }
    }
}

/// Milliseconds between two instants. A clock that was set back makes keys old, not young for ever.
fn apart(a: Time, b: Time) -> i64 {
    b.millis_since(a).saturating_abs()
}
