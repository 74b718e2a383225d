//! Signing in at an OpenID Connect provider as a public client: the device flow (RFC 8628) and, on a machine with a browser,
//! the authorization code flow with PKCE (RFC 7636, RFC 8252). Both end in an ID token.

mod browser;
mod callback;
mod device;
mod provider;

use std::time::Duration;

use secrecy::SecretString;

use self::provider::Provider;
use crate::{exit::Exit, failure::Failure};

/// How a person signs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// On any device, with a code.
    Device,
    /// In a browser on this machine.
    Browser,
}

/// Where and as what to sign in.
#[derive(Debug)]
pub struct SignIn {
    /// The issuer, as its tokens name it.
    pub issuer: String,
    /// What the provider knows this program as.
    pub client_id: String,
    /// Some providers give even public clients one.
    pub client_secret: Option<SecretString>,
    /// Scopes, `openid` among them.
    pub scopes: Vec<String>,
    /// How.
    pub flow: Flow,
    /// How long the person may take.
    pub patience: Duration,
    /// No sign of life while waiting.
    pub quiet: bool,
}

/// Signs a person in and returns the ID token. `tell` is given what the person must read.
pub async fn sign_in(wish: &SignIn, tell: &dyn Fn(&str)) -> Result<SecretString, Failure> {
    let provider = Provider::discover(wish).await?;
    match wish.flow {
        Flow::Device => device::sign_in(&provider, wish, tell).await,
        Flow::Browser => browser::sign_in(&provider, wish, tell).await,
    }
}

fn denied(message: impl Into<String>) -> Failure {
    Failure::new(Exit::Denied, message)
}

fn away(message: impl Into<String>) -> Failure {
    Failure::new(Exit::Unavailable, message)
}
