//! A JWT of an OpenID Connect issuer, from where the platform puts it.

use std::{env, path::PathBuf, time::Duration};

use futures::future::BoxFuture;
use reqwest::{Client, Url, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use signet_proto::v1::enroll_request::Proof;
use signet_x509::KeyPair;

use super::binding::ProofError;
use crate::{enrollment::ProofSource, error::ClientError};

/// Signet takes no larger token.
const MAX_TOKEN_BYTES: usize = 16 * 1024;
const GITHUB_URL: &str = "ACTIONS_ID_TOKEN_REQUEST_URL";
const GITHUB_TOKEN: &str = "ACTIONS_ID_TOKEN_REQUEST_TOKEN";
const GITHUB_LIMIT: Duration = Duration::from_secs(10);

/// Where the token is. It is read anew for each enrollment, since platforms replace it before it expires. Debug output
/// does not show a token.
#[derive(Clone, Debug)]
pub enum OidcToken {
    /// In a file, e.g. a projected service account token of Kubernetes.
    File(PathBuf),
    /// In an environment variable of this name.
    Variable(String),
    /// GitHub Actions gives one for this audience, if the job has the permission `id-token: write`.
    GitHubActions {
        /// What the rule in Signet expects.
        audience: String,
    },
    /// At hand, e.g. just after a login.
    Given(SecretString),
}

impl OidcToken {
    async fn read(&self) -> Result<String, (String, bool)> {
        let fixed = |problem: String| (problem, false);
        let text = match self {
            Self::File(path) => {
                tokio::fs::read_to_string(path).await.map_err(|error| (format!("{}: {error}", path.display()), true))?
            }
            Self::Variable(name) => {
                env::var(name).map_err(|_| fixed(format!("the variable {name} is not set, or is not text")))?
            }
            Self::GitHubActions { audience } => github(audience).await?,
            Self::Given(token) => token.expose_secret().to_owned(),
        };
        let token = text.trim();
        // Three parts of base64url: a file of another kind would otherwise travel to the server.
        let shaped = token.split('.').count() == 3
            && token.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if !shaped || token.len() > MAX_TOKEN_BYTES {
            return Err(fixed("it is not a JWT of at most 16 KiB".into()));
        }
        Ok(token.to_owned())
    }
}

#[derive(Deserialize)]
struct GitHubAnswer {
    value: String,
}

/// "About security hardening with OpenID Connect", GitHub: a GET with the job's own bearer token.
async fn github(audience: &str) -> Result<String, (String, bool)> {
    let variable = |name: &str| {
        env::var(name).ok().filter(|text| !text.is_empty()).ok_or_else(|| {
            let help = "this is not a GitHub Actions job, or it lacks `permissions: id-token: write`";
            (format!("{name} is not set: {help}"), false)
        })
    };
    let (url, bearer) = (variable(GITHUB_URL)?, SecretString::from(variable(GITHUB_TOKEN)?));
    let mut url = Url::parse(&url).map_err(|_| (format!("{GITHUB_URL} is not a URL"), false))?;
    url.query_pairs_mut().append_pair("audience", audience);
    let client = Client::builder().timeout(GITHUB_LIMIT).redirect(redirect::Policy::none()).build();
    let client = client.map_err(|error| (error.to_string(), false))?;
    let asked = client.get(url).bearer_auth(bearer.expose_secret()).header("accept", "application/json").send().await;
    let away = |error: reqwest::Error| (format!("GitHub returned no token: {}", error.without_url()), true);
    let answer = asked.and_then(reqwest::Response::error_for_status).map_err(away)?;
    let answer: GitHubAnswer = answer.json().await.map_err(away)?;
    Ok(answer.value)
}

impl ProofSource for OidcToken {
    fn proof<'a>(&'a self, _: &'a KeyPair) -> BoxFuture<'a, Result<Proof, ClientError>> {
        Box::pin(async move {
            let token = self.read().await;
            let token = token.map_err(|(problem, transient)| ProofError { proof: "OIDC", problem, transient })?;
            Ok(Proof::OidcToken(token))
        })
    }

    fn repeats(&self) -> bool {
        !matches!(self, Self::Given(_))
    }
}
