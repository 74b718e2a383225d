//! The tenant's issuer of access tokens: its name and keys as the control plane publishes them, and the tokens that
//! were verified lately.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use aws_lc_rs::digest::{SHA256, digest};
use serde::Deserialize;
use signet_core::{Clock, TenantId, Time};
use signet_jwt::{Algorithm, KeySet, Token, Use};
use tokio::time::{Instant, timeout};
use tonic::Status;

use super::{
    connection::Connection,
    shown::{AccessClaims, VerifiedToken},
    state::{Inner, PATIENCE},
};
use crate::error::ClientError;

/// RFC 9068 section 2.1; either form (RFC 7515 section 4.1.9).
const ACCESS_TOKEN: [&str; 2] = ["at+jwt", "application/at+jwt"];
/// Most verified tokens that are remembered, about 1.5 kB each.
const MOST: usize = 16_384;
/// Keys are asked for no more often, whatever `kid` tokens name.
const ONCE_EACH: Duration = Duration::from_secs(3);
/// The same while the control plane does not answer.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// See the module's words.
pub(super) struct Issuer {
    tenant: TenantId,
    clock: Clock,
    known: ArcSwapOption<Published>,
    /// Held by who asks.
    asked: tokio::sync::Mutex<Option<Asked>>,
    verified: RwLock<HashMap<[u8; 32], Arc<VerifiedToken>>>,
}

/// What came of asking last.
#[derive(Clone, Copy)]
struct Asked {
    at: Instant,
    answered: bool,
}

impl Asked {
    fn is_fresh(self) -> bool {
        self.at.elapsed() < if self.answered { ONCE_EACH } else { AFTER_FAILURE }
    }
}

struct Published {
    issuer: String,
    keys: KeySet,
}

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
}

/// Why a token was not verified.
pub(super) enum Unverified {
    /// It is not good: a reason.
    Refused(&'static str),
    /// Nobody could say.
    Unknown(ClientError),
}

impl Issuer {
    pub(super) fn new(tenant: TenantId, clock: Clock) -> Self {
        let (known, asked) = (ArcSwapOption::empty(), tokio::sync::Mutex::default());
        Self { tenant, clock, known, asked, verified: RwLock::default() }
    }

    pub(super) fn now(&self) -> Time {
        (self.clock)()
    }

    /// What the tenant's issuer signed. What it did not costs no more than a look at its header, unless it names a key
    /// of the issuer.
    pub(super) async fn verify(&self, inner: &Inner, text: &str) -> Result<Arc<VerifiedToken>, Unverified> {
        let malformed = Unverified::Refused("ACCESS_TOKEN_MALFORMED");
        let Ok(token) = Token::parse(text, &[Algorithm::ES256, Algorithm::RS256]) else { return Err(malformed) };
        if !token.typ().is_some_and(|typ| ACCESS_TOKEN.iter().any(|known| typ.eq_ignore_ascii_case(known))) {
            return Err(Unverified::Refused("ACCESS_TOKEN_OF_ANOTHER_KIND"));
        }
        let known = self.known.load_full().filter(|known| known.keys.of(&token).is_some());
        let published = match known {
            Some(published) => published,
            None => self.learn(inner, &token).await?,
        };
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
        if let Some(verified) = self.remembered(&sha256) {
            return Ok(verified);
        }
        let key = published.keys.of(&token).ok_or(Unverified::Refused("ACCESS_TOKEN_KEY_UNKNOWN"))?;
        let claims: AccessClaims = token.verify(key).map_err(|_| Unverified::Refused("ACCESS_TOKEN_BAD_SIGNATURE"))?;
        if claims.iss != published.issuer {
            return Err(Unverified::Refused("ACCESS_TOKEN_OF_ANOTHER_ISSUER"));
        }
        let verified = Arc::new(VerifiedToken { text: text.into(), sha256, claims });
        self.remember(&verified);
        Ok(verified)
    }

    fn remembered(&self, sha256: &[u8; 32]) -> Option<Arc<VerifiedToken>> {
        self.verified.read().unwrap_or_else(PoisonError::into_inner).get(sha256).cloned()
    }

    fn remember(&self, token: &Arc<VerifiedToken>) {
        let mut all = self.verified.write().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST {
            let now = self.now();
            all.retain(|_, known| !known.is_over(now));
            if all.len() >= MOST {
                all.clear();
            }
        }
        all.insert(token.sha256, Arc::clone(token));
    }

    /// A key that is not known may be new. Who comes meanwhile waits for the same answer.
    async fn learn(&self, inner: &Inner, token: &Token<'_>) -> Result<Arc<Published>, Unverified> {
        let unknown = || Unverified::Refused("ACCESS_TOKEN_KEY_UNKNOWN");
        let silent = |_| Unverified::Unknown(Status::unavailable("no answer in time").into());
        let mut asked = timeout(PATIENCE, self.asked.lock()).await.map_err(silent)?;
        if let Some(known) = self.known.load_full().filter(|known| known.keys.of(token).is_some()) {
            return Ok(known);
        }
        if let Some(last) = asked.filter(|last| last.is_fresh()) {
            let failed = || Unverified::Unknown(Status::unavailable("the keys of tokens could not be read").into());
            return Err(if last.answered { unknown() } else { failed() });
        }
        let fetched = timeout(PATIENCE, async { self.fetch(&*inner.usable().await?).await }).await;
        // Who hangs up before is not counted: nobody keeps others from asking.
        *asked = Some(Asked { at: Instant::now(), answered: matches!(fetched, Ok(Ok(_))) });
        let published = Arc::new(fetched.map_err(silent)?.map_err(Unverified::Unknown)?);
        self.known.store(Some(Arc::clone(&published)));
        published.keys.of(token).is_some().then_some(published).ok_or_else(unknown)
    }

    async fn fetch(&self, connection: &Connection) -> Result<Published, ClientError> {
        let (keys, metadata) = tokio::try_join!(
            connection.get(format!("/t/{}/jwks.json", self.tenant)),
            connection.get(format!("/.well-known/oauth-authorization-server/t/{}", self.tenant)),
        )?;
        let unreadable =
            || Status::internal("the control plane publishes keys that cannot be read: is it another release?");
        let Metadata { issuer } = serde_json::from_slice(&metadata).map_err(|_| unreadable())?;
        let keys = KeySet::parse(&keys, Use::Signature).ok_or_else(unreadable)?;
        Ok(Published { issuer, keys })
    }
}
