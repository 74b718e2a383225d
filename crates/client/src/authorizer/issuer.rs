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
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};
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
/// How often they are asked for by who verifies without waiting; keys are published an hour before they sign.
const AGAIN: Duration = Duration::from_secs(60);
/// As [`ONCE_EACH`], while the control plane does not answer.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// See the module's words.
pub(super) struct Issuer {
    tenant: TenantId,
    clock: Clock,
    known: ArcSwapOption<Published>,
    /// Who does not wait has seen a key that is not known.
    wanted: Notify,
    /// Held by who asks.
    asked: Arc<tokio::sync::Mutex<Option<Asked>>>,
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

/// A token in form, of this kind.
fn parsed(text: &str) -> Result<Token<'_>, &'static str> {
    let token = Token::parse(text, &[Algorithm::ES256, Algorithm::RS256]).map_err(|_| "ACCESS_TOKEN_MALFORMED")?;
    let is_one = |typ: &str| ACCESS_TOKEN.iter().any(|known| typ.eq_ignore_ascii_case(known));
    if token.typ().is_some_and(is_one) { Ok(token) } else { Err("ACCESS_TOKEN_OF_ANOTHER_KIND") }
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
        let (known, wanted, asked) = (ArcSwapOption::empty(), Notify::new(), Arc::default());
        Self { tenant, clock, known, wanted, asked, verified: RwLock::default() }
    }

    pub(super) fn now(&self) -> Time {
        (self.clock)()
    }

    /// What the tenant's issuer signed. What it did not costs no more than a look at its header, unless it names a key
    /// of the issuer.
    pub(super) async fn verify(
        self: &Arc<Self>,
        inner: &Arc<Inner>,
        text: &str,
    ) -> Result<Arc<VerifiedToken>, Unverified> {
        let token = parsed(text).map_err(Unverified::Refused)?;
        let known = self.known.load_full().filter(|known| known.keys.of(&token).is_some());
        let published = match known {
            Some(published) => published,
            None => self.learn(inner, &token).await?,
        };
        self.verified_by(&published, &token, text).map_err(Unverified::Refused)
    }

    /// The same by the keys that are known, without asking for others: a reason if it is not good.
    pub(super) fn verify_at_once(&self, text: &str) -> Result<Arc<VerifiedToken>, &'static str> {
        let token = parsed(text)?;
        let Some(published) = self.known.load_full().filter(|known| known.keys.of(&token).is_some()) else {
            self.wanted.notify_one();
            return Err("ACCESS_TOKEN_KEY_UNKNOWN");
        };
        self.verified_by(&published, &token, text)
    }

    fn verified_by(
        &self,
        published: &Published,
        token: &Token<'_>,
        text: &str,
    ) -> Result<Arc<VerifiedToken>, &'static str> {
        let key = published.keys.of(token).ok_or("ACCESS_TOKEN_KEY_UNKNOWN")?;
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
        if let Some(verified) = self.remembered(&sha256) {
            return Ok(verified);
        }
        let claims: AccessClaims = token.verify(key).map_err(|_| "ACCESS_TOKEN_BAD_SIGNATURE")?;
        if claims.iss != published.issuer {
            return Err("ACCESS_TOKEN_OF_ANOTHER_ISSUER");
        }
        let verified = Arc::new(VerifiedToken { text: text.into(), sha256, claims });
        self.remember(&verified);
        Ok(verified)
    }

    /// Asks for the keys for [`Self::verify_at_once`]: again and again, and when one is not known. For ever.
    pub(super) async fn follow(&self, inner: &Inner) {
        loop {
            let fetched = timeout(PATIENCE, async { self.fetch(&*inner.usable().await?).await }).await;
            let pause = match fetched {
                Ok(Ok(published)) => {
                    self.known.store(Some(Arc::new(published)));
                    ONCE_EACH
                }
                Ok(Err(_)) | Err(_) => AFTER_FAILURE,
            };
            sleep(pause).await;
            if pause == ONCE_EACH {
                // Either way it is time.
                let _ = timeout(AGAIN, self.wanted.notified()).await;
            }
        }
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
    async fn learn(self: &Arc<Self>, inner: &Arc<Inner>, token: &Token<'_>) -> Result<Arc<Published>, Unverified> {
        let unknown = || Unverified::Refused("ACCESS_TOKEN_KEY_UNKNOWN");
        let silent = |_| Unverified::Unknown(Status::unavailable("no answer in time").into());
        let mut asked = timeout(PATIENCE, Arc::clone(&self.asked).lock_owned()).await.map_err(silent)?;
        if let Some(known) = self.known.load_full().filter(|known| known.keys.of(token).is_some()) {
            return Ok(known);
        }
        if let Some(last) = asked.filter(|last| last.is_fresh()) {
            let failed = || Unverified::Unknown(Status::unavailable("the keys of tokens could not be read").into());
            return Err(if last.answered { unknown() } else { failed() });
        }
        let (issuer, inner) = (Arc::clone(self), Arc::clone(inner));
        // By itself: who hangs up neither keeps others from an answer nor has it asked for again.
        let fetching = tokio::spawn(async move {
            let fetched = timeout(PATIENCE, async { issuer.fetch(&*inner.usable().await?).await }).await;
            *asked = Some(Asked { at: Instant::now(), answered: matches!(fetched, Ok(Ok(_))) });
            let published = Arc::new(fetched.map_err(silent)?.map_err(Unverified::Unknown)?);
            issuer.known.store(Some(Arc::clone(&published)));
            Ok(published)
        });
        let ended = |_| Unverified::Unknown(Status::internal("the keys of tokens were not read").into());
        let published = fetching.await.map_err(ended)??;
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
