//! Signing in at an OpenID Connect provider as a public client: the device flow (RFC 8628) and, on a machine with a
//! browser, the authorization code flow with PKCE (RFC 7636, RFC 8252). Both end in an ID token.

use secrecy::SecretString;

use self::provider::Provider;
use crate::{
    failure::Failure,
    login::sign_in::{Flow, SignIn},
};

mod browser;
mod callback;
mod device;
mod provider;
pub(crate) mod sign_in;

/// Signs a person in and returns the ID token. `tell` is given what the person must read.
pub async fn sign_in(wish: &SignIn, tell: &dyn Fn(&str)) -> Result<SecretString, Failure> {
    let provider = Provider::discover(wish).await?;
    match wish.flow {
        Flow::Device => device::sign_in(&provider, wish, tell).await,
        Flow::Browser => browser::sign_in(&provider, wish, tell).await,
    }
}
