//! The provider's endpoints (OpenID Connect Discovery 1.0) and how they are called.

use std::{fmt, net::IpAddr, time::Duration};

use reqwest::{Client, StatusCode, Url, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, de::DeserializeOwned};
use signet_core::text::is_deceptive;

use crate::{
    failure::Failure,
    login::sign_in::{SignIn, away, denied},
};

const LIMIT: Duration = Duration::from_secs(10);
const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// A provider that calls itself as it was called.
#[derive(Debug)]
pub(super) struct Provider {
    /// Through a proxy, if the environment names one.
    client: Client,
    /// For this machine, past any proxy: what must not leave it in clear does not.
    here: Client,
    endpoints: Endpoints,
}

#[derive(Debug, Deserialize)]
struct Endpoints {
    issuer: String,
    token_endpoint: String,
    authorization_endpoint: Option<String>,
    device_authorization_endpoint: Option<String>,
}

/// What the token endpoint answers (RFC 6749 sections 5.1 and 5.2).
pub(super) enum Answer {
    /// Signed in.
    Token(SecretString),
    /// An error by its code, e.g. `authorization_pending`.
    Error {
        /// RFC 6749 section 5.2, RFC 8628 section 3.5.
        code: String,
        /// For people.
        description: Option<String>,
    },
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(_) => f.write_str("Token"),
            Self::Error { code, .. } => f.debug_tuple("Error").field(code).finish(),
        }
    }
}

#[derive(Deserialize)]
struct Tokens {
    id_token: Option<SecretString>,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
    error_description: Option<String>,
}

impl Provider {
    pub(super) async fn discover(wish: &SignIn) -> Result<Self, Failure> {
        let issuer =
            safe(&wish.issuer).map_err(|rule| Failure::usage(format!("the issuer {:?} {rule}", wish.issuer)))?;
        let client = client(false)?;
        let mut url = issuer.clone();
        url.set_path(&format!("{}/.well-known/openid-configuration", issuer.path().trim_end_matches('/')));
        let here = self::client(true)?;
        let (status, body) = read(if is_here(&url) { &here } else { &client }.get(url.clone())).await?;
        if status != StatusCode::OK {
            return Err(away(format!("{url} returned status {}", status.as_u16()))
                .hint("is this the issuer's URL, to the last slash?"));
        }
        let endpoints: Endpoints = parse(&body, "the discovery document")?;
        if endpoints.issuer != wish.issuer {
            let message = format!("the provider calls itself {:?}, not {:?}", endpoints.issuer, wish.issuer);
            return Err(Failure::usage(message).hint("give --issuer exactly as the provider names itself"));
        }
        Ok(Self { client, here, endpoints })
    }

    fn client_of(&self, url: &Url) -> &Client {
        if is_here(url) { &self.here } else { &self.client }
    }

    pub(super) fn authorization_endpoint(&self) -> Result<Url, Failure> {
        endpoint(self.endpoints.authorization_endpoint.as_deref(), "authorization", "use --device")
    }

    pub(super) fn device_endpoint(&self) -> Result<Url, Failure> {
        endpoint(self.endpoints.device_authorization_endpoint.as_deref(), "device authorization", "use --browser")
    }

    /// A POST whose answer must be a success.
    pub(super) async fn post<T: DeserializeOwned>(&self, url: Url, form: &[(&str, &str)]) -> Result<T, Failure> {
        let (status, body) = read(self.client_of(&url).post(url).form(form)).await?;
        if status.is_success() {
            return parse(&body, "the provider's answer");
        }
        match serde_json::from_slice::<Refusal>(&body) {
            Ok(refusal) => Err(refused(&refusal.error, refusal.error_description.as_deref())),
            Err(_) => Err(away(format!("the provider returned status {}", status.as_u16()))),
        }
    }

    /// Asks for tokens. An `Err` of [`Exit::Unavailable`](crate::exit::Exit::Unavailable), such as a lost connection,
    /// says nothing about the sign-in.
    pub(super) async fn token(&self, wish: &SignIn, form: &[(&str, &str)]) -> Result<Answer, Failure> {
        let url = endpoint(Some(&self.endpoints.token_endpoint), "token", "")?;
        let secret = wish.client_secret.as_ref().map(|secret| ("client_secret", secret.expose_secret()));
        let form: Vec<(&str, &str)> =
            form.iter().copied().chain([("client_id", wish.client_id.as_str())]).chain(secret).collect();
        let (status, body) = read(self.client_of(&url).post(url).form(&form)).await?;
        if status.is_success() {
            let tokens: Tokens = parse(&body, "the token endpoint's answer")?;
            let missing =
                || denied("the provider returned no ID token").hint("request the scope openid: --scope openid");
            return tokens.id_token.map(Answer::Token).ok_or_else(missing);
        }
        match serde_json::from_slice::<Refusal>(&body) {
            Ok(Refusal { error: code, error_description: description }) if status.is_client_error() => {
                Ok(Answer::Error { code, description })
            }
            _ => Err(away(format!("the token endpoint returned status {}", status.as_u16()))),
        }
    }
}

/// What a person is told when the provider says no.
pub(super) fn refused(code: &str, description: Option<&str>) -> Failure {
    let more = description.map(|text| format!(": {}", plain(text))).unwrap_or_default();
    denied(format!("the provider refused the sign-in with {}{more}", plain(code)))
}

/// What the provider wrote must not move the cursor, hide, or turn round what stands beside it.
pub(super) fn plain(text: &str) -> String {
    text.chars().filter(|c| !is_deceptive(*c)).take(300).collect()
}

fn endpoint(url: Option<&str>, what: &str, otherwise: &str) -> Result<Url, Failure> {
    let missing = || Failure::usage(format!("the provider has no {what} endpoint")).hint(otherwise);
    let url = url.ok_or_else(missing)?;
    safe(url).map_err(|rule| denied(format!("the provider's {what} endpoint {} {rule}", plain(url))))
}

/// Codes and tokens travel encrypted, or do not leave this machine.
pub(super) fn safe(text: &str) -> Result<Url, &'static str> {
    const RULE: &str = "must be an https:// URL (http:// for this machine only)";
    let url = Url::parse(text).map_err(|_| RULE)?;
    let fine = url.scheme() == "https" || (url.scheme() == "http" && is_here(&url));
    let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    if fine && plain && url.has_host() { Ok(url) } else { Err(RULE) }
}

/// Whether it leads to this machine.
fn is_here(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn client(past_proxies: bool) -> Result<Client, Failure> {
    let builder = Client::builder().timeout(LIMIT).redirect(redirect::Policy::none());
    let built = if past_proxies { builder.no_proxy() } else { builder }.build();
    built.map_err(|error| Failure::other(format!("no TLS client: {error}")))
}

async fn read(request: reqwest::RequestBuilder) -> Result<(StatusCode, Vec<u8>), Failure> {
    let failed = |error: reqwest::Error| {
        let source = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        away(format!("the provider cannot be reached: {error}{source}"))
    };
    let mut response = request.header("accept", "application/json").send().await.map_err(failed)?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ANSWER_BYTES {
            return Err(away("the provider's answer is too large"));
        }
    }
    Ok((response.status(), body))
}

fn parse<T: DeserializeOwned>(body: &[u8], what: &str) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|_| away(format!("{what} does not conform to OpenID Connect")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_stays_on_this_machine() {
        for fine in ["https://login.example.com/realm", "http://127.0.0.1:5556", "http://localhost:1", "http://[::1]:1"]
        {
            assert!(safe(fine).is_ok(), "{fine}");
        }
        for bad in ["http://login.example.com", "http://127.0.0.1.example.com", "https://u:p@h", "ftp://h", "h", ""] {
            assert!(safe(bad).is_err(), "{bad}");
        }
    }
}
