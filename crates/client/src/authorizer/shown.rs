//! An access token that a caller showed, verified (RFC 9068 section 4), and the certificate that it came with (RFC
//! 8705).

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use serde::Deserialize;
use signet_core::{Lifetime, Time};

/// How far the clocks of a service and of the control plane may differ. The control plane itself, which is asked about
/// each token, gives none.
const LEEWAY: Lifetime = Lifetime::seconds(30);

/// What an access token of Signet says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct AccessClaims {
    /// The tenant's issuer.
    pub iss: String,
    /// Whose: a SPIFFE ID.
    pub sub: String,
    /// For whom.
    pub aud: String,
    /// The id of who asked for it, whose certificate it is bound to: `sub`'s, but where another's token was exchanged.
    pub client_id: String,
    /// Permissions, parted by spaces.
    pub scope: String,
    /// Its end, Unix seconds.
    pub exp: i64,
    /// Unlike all others.
    pub jti: String,
    cnf: Bound,
    act: Option<Actor>,
    certificate: String,
}

/// RFC 8693 section 4.1.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Actor {
    sub: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Bound {
    #[serde(rename = "x5t#S256")]
    x5t_s256: String,
}

/// A token that the tenant's issuer signed.
pub(super) struct VerifiedToken {
    pub(super) text: Box<str>,
    pub(super) sha256: [u8; 32],
    pub(super) claims: AccessClaims,
}

/// A verified access token on a connection. Cheap to clone; does not print the token.
#[derive(Clone)]
pub struct ShownToken {
    token: Arc<VerifiedToken>,
    /// SHA-256 of the connection's certificate, base64url.
    thumbprint: Arc<str>,
}

/// What a token must be good for.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) audience: &'a str,
    /// `None`: whichever it has.
    pub(super) permission: Option<&'a str>,
    /// SHA-256 of the connection's certificate, base64url; `None`: any connection may show it.
    pub(super) thumbprint: Option<&'a str>,
    pub(super) now: Time,
}

impl VerifiedToken {
    pub(super) fn is_over(&self, now: Time) -> bool {
        now.unix_seconds() >= self.claims.exp.saturating_add(i64::from(LEEWAY.as_seconds()))
    }

    /// On a connection; otherwise why it is of no use there, as a reason.
    pub(super) fn shown(self: Arc<Self>, wanted: Wanted<'_>) -> Result<ShownToken, &'static str> {
        let claims = &self.claims;
        if self.is_over(wanted.now) {
            return Err("ACCESS_TOKEN_EXPIRED");
        }
        if claims.aud != wanted.audience {
            return Err("ACCESS_TOKEN_FOR_ANOTHER_AUDIENCE");
        }
        let thumbprint = wanted.thumbprint.unwrap_or(&claims.cnf.x5t_s256);
        if claims.cnf.x5t_s256 != thumbprint {
            return Err("ACCESS_TOKEN_NOT_BOUND");
        }
        if wanted.permission.is_some_and(|permission| !claims.scope.split(' ').any(|scope| scope == permission)) {
            return Err("SCOPE_MISSING");
        }
        let thumbprint = thumbprint.into();
        Ok(ShownToken { token: self, thumbprint })
    }
}

impl ShownToken {
    /// What it says.
    pub fn claims(&self) -> &AccessClaims {
        &self.token.claims
    }

    pub(super) fn text(&self) -> &str {
        &self.token.text
    }

    pub(super) fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// Whether it is about a principal: whose it is, or who acts for it.
    pub(super) fn is_about(&self, id: &str) -> bool {
        let claims = &self.token.claims;
        let ids = [Some(&claims.sub), claims.act.as_ref().map(|actor| &actor.sub)];
        ids.into_iter().flatten().any(|known| known.rsplit('/').next() == Some(id))
    }

    /// Whose it is, and who acts for that one, as SPIFFE IDs.
    pub fn holders(&self) -> impl Iterator<Item = &str> {
        let claims = self.claims();
        [Some(&*claims.sub), claims.act.as_ref().map(|actor| &*actor.sub)].into_iter().flatten()
    }

    /// Serial number of the certificate that it is bound to, hexadecimal.
    pub fn serial(&self) -> Option<&str> {
        Some(self.token.claims.certificate.split_once('/')?.1)
    }
}

impl PartialEq for ShownToken {
    fn eq(&self, other: &Self) -> bool {
        self.token.sha256 == other.token.sha256 && self.thumbprint == other.thumbprint
    }
}

impl Eq for ShownToken {}

impl Hash for ShownToken {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.token.sha256.hash(state);
        self.thumbprint.hash(state);
    }
}

impl fmt::Debug for ShownToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ShownToken").field(&self.token.claims.jti).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_that_a_token_is_not_good_for_has_its_reason() {
        let claims = AccessClaims {
            iss: "https://id.example.com/t/acme".into(),
            sub: "spiffe://acme.example.com/worker/w-1".into(),
            aud: "jobs".into(),
            client_id: "w-1".into(),
            scope: "jobs:submit jobs:list".into(),
            exp: 1000,
            jti: "1".into(),
            cnf: Bound { x5t_s256: "mine".into() },
            act: Some(Actor { sub: "spiffe://acme.example.com/service/ci".into() }),
            certificate: "acme.1/0a".into(),
        };
        let token = Arc::new(VerifiedToken { text: "t".into(), sha256: [0; 32], claims });
        let shown = |audience, permission, thumbprint, seconds| {
            let now = Time::from_unix_seconds(seconds);
            Arc::clone(&token).shown(Wanted { audience, permission, thumbprint, now })
        };
        let good = shown("jobs", Some("jobs:list"), Some("mine"), 1029).unwrap();
        assert_eq!((good.thumbprint(), good.serial()), ("mine", Some("0a")));
        assert!(good.is_about("w-1") && good.is_about("ci") && !good.is_about("w-2"));
        assert!(shown("jobs", None, None, 0).is_ok());
        for (audience, permission, thumbprint, seconds, reason) in [
            ("jobs", Some("jobs:list"), Some("mine"), 1030, "ACCESS_TOKEN_EXPIRED"),
            ("job", Some("jobs:list"), Some("mine"), 0, "ACCESS_TOKEN_FOR_ANOTHER_AUDIENCE"),
            ("jobs", Some("jobs:list"), Some(""), 0, "ACCESS_TOKEN_NOT_BOUND"),
            ("jobs", Some("jobs:lis"), Some("mine"), 0, "SCOPE_MISSING"),
            ("jobs", Some("jobs:submit jobs:list"), Some("mine"), 0, "SCOPE_MISSING"),
        ] {
            assert_eq!(shown(audience, permission, thumbprint, seconds).unwrap_err(), reason);
        }
    }
}
