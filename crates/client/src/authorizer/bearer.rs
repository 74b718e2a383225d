//! Access tokens in requests (RFC 6750), and on which connections they are taken.

use std::sync::Arc;

use http::{HeaderMap, header::AUTHORIZATION};
use signet_jwt::x5t_s256_of;

use super::{
    handle::Authorizer,
    issuer::Unverified,
    question::{AccessAnswer, Question, QuestionSubject},
    shown::{ShownToken, Wanted},
};
use crate::peer::Peer;

impl Authorizer {
    /// An access token that came over a connection with `peer`, if the tenant's issuer made it for `audience` and bound
    /// it to that certificate. Whether its holder may still do something is what to ask next: [`Self::decide`] with
    /// [`QuestionSubject::AccessToken`].
    pub async fn verify_token(
        &self,
        token: &str,
        audience: &str,
        peer: &Peer,
    ) -> Result<ShownToken, Arc<AccessAnswer>> {
        let thumbprint = thumbprint(peer);
        let now = self.issuer.now();
        let wanted = Wanted { audience, permission: None, thumbprint: Some(&thumbprint), now };
        self.shown(token, wanted).await.map_err(Arc::new)
    }

    /// An access token that came over a connection without a certificate, so that whoever has it is its holder: without
    /// waiting, by the keys that [`Self::follow_keys`] has asked for. Otherwise a reason. Whether its holder may still
    /// do something is what to ask next: [`Self::hold`] with [`QuestionSubject::AccessToken`].
    pub fn verify_unbound_token(&self, token: &str, audience: &str) -> Result<ShownToken, &'static str> {
        let now = self.issuer.now();
        let wanted = Wanted { audience, permission: None, thumbprint: None, now };
        self.issuer.verify_at_once(token)?.shown(wanted)
    }

    /// Asks for the keys of access tokens, again and again, for [`Self::verify_unbound_token`]. For ever.
    pub async fn follow_keys(&self) {
        self.issuer.follow(&self.inner).await;
    }

    async fn shown(&self, token: &str, wanted: Wanted<'_>) -> Result<ShownToken, AccessAnswer> {
        let verified = self.issuer.verify(&self.inner, token).await.map_err(|unverified| match unverified {
            Unverified::Refused(reason) => AccessAnswer::denied(reason),
            Unverified::Unknown(error) => AccessAnswer::unavailable(&error.to_string()),
        })?;
        verified.shown(wanted).map_err(AccessAnswer::denied)
    }

    /// What to ask about a request that must show a token for `permission`.
    pub(super) async fn token_question(
        &self,
        headers: &HeaderMap,
        peer: Option<&Peer>,
        permission: Arc<str>,
        bound: bool,
    ) -> Result<Question, AccessAnswer> {
        let token = bearer(headers).ok_or_else(|| AccessAnswer::denied("ACCESS_TOKEN_REQUIRED"))?;
        let thumbprint = match (bound, peer) {
            (true, Some(peer)) => Some(thumbprint(peer)),
            // Without a certificate nobody can tell whose it is.
            (true, None) => return Err(AccessAnswer::denied("ACCESS_TOKEN_NOT_BOUND")),
            (false, _) => None,
        };
        let audience = permission.split_once(':').map_or(&*permission, |(audience, _)| audience);
        let now = self.issuer.now();
        let wanted = Wanted { audience, permission: Some(&permission), thumbprint: thumbprint.as_deref(), now };
        let shown = self.shown(token, wanted).await?;
        Ok(Question::of(QuestionSubject::AccessToken(shown), permission))
    }
}

fn thumbprint(peer: &Peer) -> String {
    x5t_s256_of(peer.certificate.sha256())
}

/// RFC 6750 section 2.1. Two are one too many.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (value, None) = (values.next()?.to_str().ok()?, values.next()) else { return None };
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| token.trim_start_matches(' '))
}
