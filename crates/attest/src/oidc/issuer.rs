//! One issuer: where its keys are (OpenID Connect Discovery 1.0), and how long they are believed.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jsonwebtoken::{Algorithm, DecodingKey};
use reqwest::StatusCode;
use serde::Deserialize;
use signet_core::{Lifetime, Time, enrollment::attestation::AttestationError};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
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
/// Least time between the end of a call and the next, so that neither tokens with made-up key ids nor an issuer that is
/// down make a storm.
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
    /// Never held while the issuer is asked: keys that are fresh serve without waiting.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    keys: Option<(KeySet, Time)>,
    /// When the last call to the issuer ended.
    ended_at: Option<Time>,
    /// Why the last call brought nothing.
    failure: Option<String>,
    /// The call under way; its other end is dropped when it has ended, whichever way.
    under_way: Option<watch::Receiver<()>>,
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
        self: &Arc<Self>,
        reach: &Arc<Reach>,
        id: Option<&str>,
        algorithm: Algorithm,
        now: Time,
    ) -> Result<DecodingKey, AttestationError> {
        let (url, _) = reach.to(&self.name)?;
        let under_way = {
            let mut state = self.state();
            if let Some(key) = state.keys_within(FRESH, now).and_then(|keys| keys.find(id, algorithm)) {
                return Ok(key);
            }
            state.call_under_way().or_else(|| state.may_ask(now).then(|| self.ask(&mut state, reach, url, now)))
        };
        if let Some(mut under_way) = under_way {
            // An error says that it has ended, which is what we wait for.
            let _ended = under_way.changed().await;
        }
        self.state().answer(id, algorithm, now)
    }

    /// Asks the issuer in a task of its own: callers wait for its end, and none that hangs up takes it along.
    fn ask(self: &Arc<Self>, state: &mut State, reach: &Arc<Reach>, url: Url, now: Time) -> watch::Receiver<()> {
        let (running, under_way) = watch::channel(());
        state.under_way = Some(under_way.clone());
        let (issuer, reach) = (Arc::clone(self), Arc::clone(reach));
        tokio::spawn(async move {
            let fetch = async {
                let (_, http) = reach.to(&issuer.name).map_err(|error| error.to_string())?;
                issuer.fetch(url, http).await
            };
            let began = Instant::now();
            let fetched = timeout(reach.timeout, fetch).await.unwrap_or_else(|_| Err("no answer in time".into()));
            if let Err(cause) = &fetched {
                tracing::warn!(issuer = %issuer.name, %cause, "an OIDC issuer's keys could not be fetched");
            }
            issuer.state().learn(fetched, now, began.elapsed());
            drop(running);
        });
        under_way
    }

    /// A poisoned lock means that another thread panicked between two complete steps.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn call_under_way(&self) -> Option<watch::Receiver<()>> {
        self.under_way.clone().filter(|under_way| under_way.has_changed().is_ok())
    }

    /// Takes in what a call brought that began at `began` and took that long.
    fn learn(&mut self, fetched: Result<KeySet, String>, began: Time, took: Duration) {
        let took = i64::try_from(took.as_millis()).unwrap_or(i64::MAX);
        self.ended_at = Some(Time::from_unix_millis(began.unix_millis().saturating_add(took)));
        match fetched {
            Ok(keys) => (self.keys, self.failure) = (Some((keys, began)), None),
            Err(cause) => self.failure = Some(cause),
        }
    }

    /// Whether the pause after the last call is over.
    fn may_ask(&self, now: Time) -> bool {
        self.ended_at.is_none_or(|at| apart(at, now) >= PAUSE.millis())
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_unix_seconds(1_800_000_000);

    fn after(seconds: i64) -> Time {
        Time::from_unix_seconds(NOW.unix_seconds() + seconds)
    }

    /// Otherwise a slow issuer would be asked most of the time.
    #[test]
    fn the_pause_begins_when_a_call_has_ended() {
        let mut state = State::default();
        assert!(state.may_ask(NOW));
        state.learn(Err("nothing".into()), NOW, Duration::from_secs(4));
        assert!(!state.may_ask(after(13)) && state.may_ask(after(14)));
    }
}
