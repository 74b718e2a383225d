//! What is asked for, and what comes.

use std::{fmt, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use signet_jwt::{Algorithm, Token};
use signet_proto::v1::{CreateAccessTokenRequest, CreateJwtSvidRequest, token_service_client::TokenServiceClient};
use tonic::{Status, transport::Channel};

use crate::error::ClientError;

/// A token for which audience.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum TokenWish {
    /// Sorted.
    Access { audience: String, scopes: Vec<String> },
    /// Sorted.
    JwtSvid { audiences: Vec<String> },
}

/// A token of this identity. Does not print itself.
#[derive(Clone)]
pub struct IssuedToken {
    text: SecretString,
    /// SPIFFE ID of whose it is; of access tokens empty.
    pub spiffe_id: String,
    /// Permissions; of JWT-SVIDs none.
    pub scopes: Vec<String>,
    /// How long it was good when it was made.
    pub lifetime: Duration,
    pub(super) key_id: String,
}

impl IssuedToken {
    /// The token. Whoever has a JWT-SVID is its holder to its audience; an access token is bound to the certificate.
    pub fn secret(&self) -> &str {
        self.text.expose_secret()
    }

    #[cfg(test)]
    pub(super) fn of_test(text: &str, lifetime: Duration) -> Self {
        let (text, spiffe_id, key_id) = (text.to_owned().into(), String::new(), String::new());
        Self { text, spiffe_id, scopes: Vec::new(), lifetime, key_id }
    }

    fn new(text: String, spiffe_id: String, scopes: Vec<String>) -> Result<Self, ClientError> {
        #[derive(Deserialize)]
        struct Times {
            iat: i64,
            exp: i64,
        }
        // By its own times: our clock may be another than theirs.
        let read = || {
            let token = Token::parse(&text, &[Algorithm::ES256, Algorithm::RS256]).ok()?;
            let Times { iat, exp } = token.claimed()?;
            let seconds = u64::try_from(exp.checked_sub(iat)?).ok().filter(|seconds| *seconds > 0)?;
            Some((Duration::from_secs(seconds), token.key_id().unwrap_or_default().to_owned()))
        };
        let unreadable =
            || Status::internal("the control plane sent a token that cannot be read: is it another release?");
        let (lifetime, key_id) = read().ok_or_else(unreadable)?;
        Ok(Self { text: text.into(), spiffe_id, scopes, lifetime, key_id })
    }
}

impl fmt::Debug for IssuedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedToken").field("scopes", &self.scopes).finish_non_exhaustive()
    }
}

pub(super) async fn fetch(channel: Channel, wish: TokenWish) -> Result<IssuedToken, ClientError> {
    let mut client = TokenServiceClient::new(channel);
    match wish {
        TokenWish::Access { audience, scopes } => {
            let request = CreateAccessTokenRequest { audience, scopes, lifetime_seconds: 0 };
            let made = client.create_access_token(request).await?.into_inner();
            IssuedToken::new(made.access_token, String::new(), made.scopes)
        }
        TokenWish::JwtSvid { audiences } => {
            let request = CreateJwtSvidRequest { audiences, lifetime_seconds: 0 };
            let made = client.create_jwt_svid(request).await?.into_inner();
            IssuedToken::new(made.svid, made.spiffe_id, Vec::new())
        }
    }
}
