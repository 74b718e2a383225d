//! The other end of a connection, and whose request one on it is.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::AtomicU64},
};

use http::{HeaderMap, header::AUTHORIZATION};
use signet_core::{Time, cidr::source_of};

use crate::{
    config::Accepted,
    identity_token::IdentityTokens,
    refusal::Refusal,
    routes::Route,
    shared::{Live, Shared},
    subject::Subject,
    tokens::{TokenRefusal, TokenSource},
    wire::Verdict,
};

/// The other end of a connection.
pub(crate) struct Caller {
    pub(crate) remote: SocketAddr,
    /// The holder of its certificate; `None`: it has shown none.
    pub(crate) subject: Option<Arc<Subject>>,
    pub(crate) identity_tokens: IdentityTokens,
    /// Of HTTP/1.1.
    pub(crate) verdict: Option<Arc<Verdict>>,
    pub(crate) busy: Busy,
}

/// Held by what goes on over a connection; in it, how many requests there have been.
pub(crate) type Busy = Arc<AtomicU64>;

/// Whose request it is.
pub(crate) struct Authenticated {
    pub(crate) subject: Arc<Subject>,
    /// Until when it is: the end of the token, if it has shown one.
    pub(crate) token_until: Option<Time>,
}

/// A refusal, and what the audit log says besides.
pub(crate) type Refused = (Refusal, String);

impl Caller {
    /// As the route wants it shown. A token that counted is taken out of the headers: it is not the upstream's.
    pub(crate) fn authenticate(
        &self,
        shared: &Shared,
        (live, route): (&Live, &Route),
        headers: &mut HeaderMap,
    ) -> Result<Authenticated, Refused> {
        let config = &route.config;
        let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(bearer);
        if let (true, Some(text)) = (config.accepts(Accepted::Token), bearer) {
            let authenticated = self.by_token(shared, (live, route), text)?;
            headers.remove(AUTHORIZATION);
            return Ok(authenticated);
        }
        match &self.subject {
            Some(subject) if config.accepts(Accepted::Certificate) => {
                Ok(Authenticated { subject: Arc::clone(subject), token_until: None })
            }
            _ if config.accepts(Accepted::Token) => Err((Refusal::no_token(), String::new())),
            _ => Err((Refusal::no_certificate(), String::new())),
        }
    }

    fn token_source(&self) -> TokenSource {
        let principal = self.subject.as_ref().map(|subject| TokenSource::Principal(Arc::clone(&subject.spiffe_id)));
        principal.unwrap_or_else(|| TokenSource::Address(source_of(self.remote.ip())))
    }

    fn by_token(&self, shared: &Shared, (live, route): (&Live, &Route), text: &str) -> Result<Authenticated, Refused> {
        let bad = |why: TokenRefusal| (Refusal::bad_token(), why.to_string());
        let token = live.token.as_ref().ok_or_else(|| bad(TokenRefusal::Foreign))?;
        let claims = shared.verify(token, text, &self.token_source()).map_err(|why| match why {
            TokenRefusal::TooMany => (Refusal::too_many("too many new tokens", 1), why.to_string()),
            _ => bad(why),
        })?;
        let until = claims.until();
        let holder = self.subject.as_ref().filter(|subject| *subject.x5t == *claims.cnf.x5t);
        if let Some(subject) = holder.filter(|subject| *subject.spiffe_id == *claims.sub) {
            return Ok(Authenticated { subject: Arc::clone(subject), token_until: Some(until) });
        }
        if !route.config.unbound {
            return Err(bad(TokenRefusal::OtherCertificate));
        }
        let subject = Subject::of_token(&claims.sub, (&claims.cnf.x5t, &claims.roles), until, &shared.suffix);
        let subject = Arc::new(subject.ok_or_else(|| bad(TokenRefusal::Foreign))?);
        Ok(Authenticated { subject, token_until: Some(until) })
    }
}

/// RFC 6750 section 2.1; the scheme in any case (RFC 9110 section 11.1).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
