//! The authorization code flow with PKCE and a loopback redirect (RFC 7636, RFC 8252 section 7.3).

use aws_lc_rs::{digest, rand};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::SecretString;
use tokio::net::TcpListener;

use crate::{
    failure::Failure,
    login::{
        callback::{self, Came},
        provider::{Answer, Provider, refused},
        sign_in::{SignIn, denied},
    },
    progress,
};

const SIGNED_IN: &str = "You are signed in. You may close this page.";
const FAILED: &str = "The sign-in failed. See the command line.";

pub(super) async fn sign_in(provider: &Provider, wish: &SignIn, tell: &dyn Fn(&str)) -> Result<SecretString, Failure> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(Failure::other)?;
    let port = listener.local_addr().map_err(Failure::other)?.port();
    let redirect = format!("http://127.0.0.1:{port}{}", callback::PATH);
    let (verifier, state) = (random()?, random()?);
    let challenge = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, verifier.as_bytes()));
    let mut url = provider.authorization_endpoint()?;
    url.query_pairs_mut().extend_pairs([
        ("response_type", "code"),
        ("client_id", wish.client_id.as_str()),
        ("redirect_uri", redirect.as_str()),
        ("scope", wish.scopes.join(" ").as_str()),
        ("state", state.as_str()),
        ("code_challenge", challenge.as_str()),
        ("code_challenge_method", "S256"),
    ]);
    tell(&format!("open {url}"));
    let waiting = tokio::time::timeout(wish.patience, callback::wait(listener, &state, &wish.issuer));
    let came = progress::watch("waiting for the browser", wish.quiet, waiting).await;
    let (came, browser) = came.map_err(|_| denied("the sign-in timed out").hint("`principal login` again"))??;
    let exchanged = match came {
        Came::Code(code) => exchange(provider, wish, &code, &redirect, &verifier).await,
        Came::Error { code, description } => Err(refused(&code, description.as_deref())),
    };
    // Said only now: before the exchange nobody is signed in.
    browser.tell(if exchanged.is_ok() { SIGNED_IN } else { FAILED }).await;
    exchanged
}

async fn exchange(
    provider: &Provider,
    wish: &SignIn,
    code: &str,
    redirect: &str,
    verifier: &str,
) -> Result<SecretString, Failure> {
    let form =
        [("grant_type", "authorization_code"), ("code", code), ("redirect_uri", redirect), ("code_verifier", verifier)];
    match provider.token(wish, &form).await? {
        Answer::Token(token) => Ok(token),
        Answer::Error { code, description } => Err(refused(&code, description.as_deref())),
    }
}

/// 256 random bits, as RFC 7636 section 4.1 wants the verifier.
fn random() -> Result<String, Failure> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).map_err(|_| Failure::other("no randomness"))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}
