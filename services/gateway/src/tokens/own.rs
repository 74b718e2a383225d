//! Tokens of this gateway, verified at the price of a look-up: of most bad ones the first part is that of none of our
//! keys, and a good one is remembered.

use std::{
    net::IpAddr,
    num::{NonZeroU32, NonZeroUsize},
    sync::{Arc, Mutex, PoisonError},
};

use aws_lc_rs::digest::{SHA256, digest};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use lru::LruCache;
use signet_core::Time;
use signet_jwt::{Algorithm, Token};
use thiserror::Error;

use super::claims::AccessClaims;
use crate::keys::{ACCESS_TOKEN, Keys};

/// Longest token, bytes; ours have a few hundred.
const MAX_BYTES: usize = 4096;
/// Good tokens that are remembered.
const MOST: NonZeroUsize = NonZeroUsize::new(16_384).unwrap();
/// New tokens a second of one [`TokenSource`] whose signature is checked: a flood of forged ones costs no more.
const CHECKS: NonZeroU32 = NonZeroU32::new(10).unwrap();
const CHECKS_AT_ONCE: NonZeroU32 = NonZeroU32::new(100).unwrap();

/// Why a token is not taken: for the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum TokenRefusal {
    #[error("it is not one of this gateway's tokens")]
    Foreign,
    #[error("its signature does not verify")]
    Signature,
    #[error("it is over")]
    Over,
    #[error("it is for somebody else")]
    Audience,
    #[error("it was given for another certificate")]
    OtherCertificate,
    #[error("too many new tokens of this principal or address")]
    TooMany,
}

/// Who pays for the check of a new token: the connection's principal, so that others at its address do not; without a
/// certificate, the address.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum TokenSource {
    Principal(Arc<str>),
    Address(IpAddr),
}

/// See the module's words.
pub(crate) struct OwnTokens {
    good: Mutex<LruCache<[u8; 32], Arc<AccessClaims>>>,
    checks: DefaultKeyedRateLimiter<TokenSource>,
}

impl Default for OwnTokens {
    fn default() -> Self {
        let quota = Quota::per_second(CHECKS).allow_burst(CHECKS_AT_ONCE);
        Self { good: Mutex::new(LruCache::new(MOST)), checks: RateLimiter::keyed(quota) }
    }
}

impl OwnTokens {
    pub(super) fn verify(
        &self,
        keys: &Keys,
        (issuer, audience): (&str, &str),
        text: &str,
        (now, source): (Time, &TokenSource),
    ) -> Result<Arc<AccessClaims>, TokenRefusal> {
        let header = text.split('.').next().filter(|_| text.len() <= MAX_BYTES).ok_or(TokenRefusal::Foreign)?;
        let key = keys.find(header, now).ok_or(TokenRefusal::Foreign)?;
        let mut id = [0; 32];
        id.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
        let known = self.good.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
        let claims = match known {
            Some(claims) => claims,
            None => {
                if self.checks.check_key(source).is_err() {
                    return Err(TokenRefusal::TooMany);
                }
                let token = Token::parse(text, &[Algorithm::ES256]).map_err(|_| TokenRefusal::Foreign)?;
                if token.typ() != Some(ACCESS_TOKEN) {
                    return Err(TokenRefusal::Foreign);
                }
                let claims = token.verify::<AccessClaims>(&key.key).map_err(|_| TokenRefusal::Signature)?;
                let claims = Arc::new(claims);
                self.good.lock().unwrap_or_else(PoisonError::into_inner).put(id, Arc::clone(&claims));
                claims
            }
        };
        match () {
            () if claims.iss != issuer || claims.aud != audience => Err(TokenRefusal::Audience),
            () if now >= claims.until() => Err(TokenRefusal::Over),
            () => Ok(claims),
        }
    }

    pub(super) fn forget_idle(&self) {
        self.checks.retain_recent();
        self.checks.shrink_to_fit();
    }
}
