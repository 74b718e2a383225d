//! What is asked for, and what comes.

use std::{fmt, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use signet_jwt::{Algorithm, Token};
use signet_proto::v1::{
    CreateAccessTokenRequest, CreateBrokerTokenRequest, CreateJwtSvidRequest, token_service_client::TokenServiceClient,
};
use tonic::{Status, transport::Channel};

use crate::error::ClientError;

/// A token for which audience.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum TokenWish {
    /// Sorted.
    Access {
        audience: String,
        scopes: Vec<String>,
    },
    /// Sorted.
    JwtSvid {
        audiences: Vec<String>,
    },
    Broker(BrokerTokenWish),
}

/// What a broker token is to allow; the default: all that the identity may, with any of its client ids.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct BrokerTokenWish {
    /// Topic filters to publish to, in which `{tenant}` and `{id}` are the identity's own.
    pub publish: Vec<String>,
    /// The same of those to subscribe to. Both empty: all; otherwise what is named and no more.
    pub subscribe: Vec<String>,
    /// For the client id `<tenant>/<id>:<suffix>` alone; empty: for any of the identity's.
    pub client_id_suffix: String,
    /// How long it is good, 10 s to a day; zero: an hour.
    pub lifetime: Duration,
}

/// A token of this identity. Does not print itself.
#[derive(Clone)]
pub struct IssuedToken {
    text: SecretString,
    /// SPIFFE ID of whose it is; of access tokens and broker tokens empty.
    pub spiffe_id: String,
    /// Permissions, of access tokens alone.
    pub scopes: Vec<String>,
    /// How long it was good when it was made.
    pub lifetime: Duration,
    pub(super) key_id: String,
}

impl IssuedToken {
    /// The token. Whoever has a JWT-SVID or a broker token is its holder to its audience; an access token is bound to
    /// the certificate.
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
        TokenWish::Broker(BrokerTokenWish { publish, subscribe, client_id_suffix, lifetime }) => {
            let lifetime_seconds = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX);
            let request = CreateBrokerTokenRequest { publish, subscribe, client_id_suffix, lifetime_seconds };
            let made = client.create_broker_token(request).await?.into_inner();
            IssuedToken::new(made.broker_token, String::new(), Vec::new())
        }
    }
}
