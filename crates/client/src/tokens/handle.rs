//! What programs hold.

use std::{fmt, sync::Arc, time::Duration};

use http::HeaderValue;
use tonic::Status;

use super::{
    cache::{Thumbprint, TokenCache, thumbprint},
    issued::{BrokerTokenWish, IssuedToken, TokenWish, fetch},
};
use crate::{
    error::ClientError,
    identity::{Held, Shared},
};

/// How long a token waits until verifiers of ours may know its key: the feed takes a second.
const KNOWN_WITHIN: Duration = Duration::from_secs(2);

/// Tokens of an identity; from [`crate::Identity::tokens`]. Clones share what they keep.
///
/// A token is kept until about half of its life, and asked for anew in the background then. Callers that want the same
/// wait for one request. With a new certificate there are new tokens.
#[derive(Clone)]
pub struct Tokens {
    shared: Arc<Shared>,
    cache: Arc<TokenCache>,
}

impl Tokens {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, cache: Arc::default() }
    }

    /// An access token for `audience`: what stands before the colon of permissions, e.g. `jobs` for `jobs:submit`.
    /// `scopes`: permissions that it must have; none: those that the identity has.
    ///
    /// It is bound to the certificate of this moment and good on connections with that one alone: prefer [`Self::on`],
    /// which takes the token of the connection's certificate.
    pub async fn access_token(&self, audience: &str, scopes: &[&str]) -> Result<Arc<IssuedToken>, ClientError> {
        self.of(&self.shared.held(), access(audience, scopes)).await
    }

    /// The same as the value of `Authorization`, for any HTTP client with [`crate::Identity::client_config`].
    /// Connections of a pool that were made with an earlier certificate are refused: `401`, upon which to connect anew.
    pub async fn authorization(&self, audience: &str, scopes: &[&str]) -> Result<HeaderValue, ClientError> {
        bearer(&*self.access_token(audience, scopes).await?)
    }

    /// A JWT-SVID for these audiences, 1 to 8. Nothing binds it: whoever has it is this identity, to them.
    pub async fn jwt_svid(&self, audiences: &[&str]) -> Result<Arc<IssuedToken>, ClientError> {
        let (held, wish) = (self.shared.held(), jwt_svid(audiences));
        let kept = self.cache.kept(&of_held(&held), &wish);
        if let Some(withdrawn) = kept.filter(|token| self.is_withdrawn(token)) {
            self.cache.withdraw(&of_held(&held), &wish, &withdrawn);
        }
        self.of(&held, wish).await
    }

    /// A broker token: what a client of a message broker shows as password, over TLS alone. The next one comes at about
    /// half of its life; a session ends with the token that it was begun with.
    pub async fn broker_token(&self, wish: &BrokerTokenWish) -> Result<Arc<IssuedToken>, ClientError> {
        self.of(&self.shared.held(), TokenWish::Broker(wish.clone())).await
    }

    /// One that is kept and good: nobody is asked.
    pub fn kept_jwt_svid(&self, audiences: &[&str]) -> Option<Arc<IssuedToken>> {
        let kept = self.cache.kept(&of_held(&self.shared.held()), &jwt_svid(audiences));
        kept.filter(|token| !self.is_withdrawn(token))
    }

    /// Whether its key is none of the tenant's any more: an admin has replaced it.
    fn is_withdrawn(&self, token: &IssuedToken) -> bool {
        let keys = self.shared.svid_keys.borrow();
        !keys.is_empty() && !keys.has(&token.key_id)
    }

    /// Of a certificate, from a connection with it.
    pub(super) async fn of(&self, held: &Arc<Held>, wish: TokenWish) -> Result<Arc<IssuedToken>, ClientError> {
        let shared = Arc::clone(&self.shared);
        let connect = || Ok(self.shared.connector(Some(held))?.channel());
        let is_svid = matches!(wish, TokenWish::JwtSvid { .. });
        let fetch = |channel, wish| async move {
            let token = fetch(channel, wish).await?;
            if is_svid {
                until_known(&shared, &token.key_id).await;
            }
            Ok(token)
        };
        self.cache.get(of_held(held), wish, connect, fetch).await
    }

    /// A verifier did not take it.
    pub(super) fn forget(&self, held: &Held, wish: &TokenWish, token: &Arc<IssuedToken>) {
        self.cache.forget(&of_held(held), wish, token);
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens")
    }
}

pub(super) fn bearer(token: &IssuedToken) -> Result<HeaderValue, ClientError> {
    let value = HeaderValue::try_from(format!("Bearer {}", token.secret()));
    let mut value = value.map_err(|_| Status::internal("the control plane sent a token that fits no header"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The first token of a tenant has a key that is made for it: whoever verifies it next hears of the key a moment later.
async fn until_known(shared: &Shared, key_id: &str) {
    if shared.settings.follow_bundle {
        let mut keys = shared.svid_keys.subscribe();
        let _ = tokio::time::timeout(KNOWN_WITHIN, keys.wait_for(|keys| keys.has(key_id))).await;
    }
}

fn of_held(held: &Held) -> Thumbprint {
    thumbprint(held.credentials.chain_der().first().map(Vec::as_slice).unwrap_or_default())
}

pub(super) fn access(audience: &str, scopes: &[&str]) -> TokenWish {
    TokenWish::Access { audience: audience.to_owned(), scopes: sorted(scopes) }
}

fn jwt_svid(audiences: &[&str]) -> TokenWish {
    TokenWish::JwtSvid { audiences: sorted(audiences) }
}

fn sorted(names: &[&str]) -> Vec<String> {
    let mut names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    names.sort_unstable();
    names.dedup();
    names
}
