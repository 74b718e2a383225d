//! The device flow (RFC 8628): the person signs in wherever a browser is.

use std::time::{Duration, Instant};

use reqwest::Url;
use secrecy::SecretString;
use serde::Deserialize;

use crate::{
    exit::Exit,
    failure::Failure,
    login::{
        provider::{Answer, Provider, plain, refused, safe},
        sign_in::{SignIn, denied},
    },
    progress,
};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// RFC 8628 section 3.2.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(5);
const LONGEST_INTERVAL: Duration = Duration::from_secs(60);

/// RFC 8628 section 3.2.
#[derive(Deserialize)]
struct Begun {
    device_code: String,
    user_code: String,
    verification_uri: String,
    verification_uri_complete: Option<String>,
    expires_in: u64,
    interval: Option<u64>,
}

pub(super) async fn sign_in(provider: &Provider, wish: &SignIn, tell: &dyn Fn(&str)) -> Result<SecretString, Failure> {
    let form = [("client_id", wish.client_id.as_str()), ("scope", &wish.scopes.join(" "))];
    let begun: Begun = provider.post(provider.device_endpoint()?, &form).await?;
    let page = page(&begun.verification_uri)?;
    tell(&format!("open {page} and enter the code {}", plain(&begun.user_code)));
    if let Some(complete) = &begun.verification_uri_complete {
        tell(&format!("or open {}", self::page(complete)?));
    }
    let patience = wish.patience.min(Duration::from_secs(begun.expires_in));
    progress::watch("waiting for the sign-in", wish.quiet, poll(provider, wish, &begun, patience)).await
}

/// What a person is asked to open: nothing that runs, and nothing in clear.
fn page(url: &str) -> Result<Url, Failure> {
    safe(url).map_err(|rule| denied(format!("the page {} for the sign-in {rule}", plain(url))))
}

async fn poll(provider: &Provider, wish: &SignIn, begun: &Begun, patience: Duration) -> Result<SecretString, Failure> {
    let started = Instant::now();
    let mut interval = begun.interval.map_or(DEFAULT_INTERVAL, Duration::from_secs).max(Duration::from_secs(1));
    while started.elapsed().saturating_add(interval) <= patience {
        tokio::time::sleep(interval).await;
        let form = [("grant_type", GRANT), ("device_code", begun.device_code.as_str())];
        match after(provider.token(wish, &form).await, interval) {
            Next::Done(outcome) => return outcome,
            Next::Wait(longer) => interval = longer,
        }
    }
    Err(expired())
}

/// What a poll leads to.
enum Next {
    Done(Result<SecretString, Failure>),
    Wait(Duration),
}

/// RFC 8628 section 3.5.
fn after(answer: Result<Answer, Failure>, interval: Duration) -> Next {
    match answer {
        Ok(Answer::Token(token)) => Next::Done(Ok(token)),
        Ok(Answer::Error { code, description }) => match code.as_str() {
            "authorization_pending" => Next::Wait(interval),
            "slow_down" => Next::Wait(interval.saturating_add(Duration::from_secs(5))),
            "expired_token" => Next::Done(Err(expired())),
            "access_denied" => Next::Done(Err(denied("the sign-in was denied"))),
            other => Next::Done(Err(refused(other, description.as_deref()))),
        },
        // A lost connection does not end the sign-in; "an exponential backoff algorithm" is advised. A verdict does.
        Err(failure) if failure.exit != Exit::Unavailable => Next::Done(Err(failure)),
        Err(_) => Next::Wait(interval.saturating_mul(2).min(LONGEST_INTERVAL)),
    }
}

fn expired() -> Failure {
    denied("the code expired before anybody signed in").hint("`principal login` again")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::login::sign_in::away;

    #[test]
    fn each_answer_has_its_consequence() {
        let five = Duration::from_secs(5);
        let error = |code: &str| Ok(Answer::Error { code: code.to_owned(), description: Some("bad\u{1b}[2J".into()) });
        let waits = |answer| match after(answer, five) {
            Next::Wait(next) => Some(next.as_secs()),
            Next::Done(_) => None,
        };
        assert_eq!(waits(error("authorization_pending")), Some(5));
        assert_eq!(waits(error("slow_down")), Some(10));
        assert_eq!(waits(Err(away("gone"))), Some(10));
        let told = |answer| match after(answer, five) {
            Next::Done(Err(failure)) => failure,
            _ => panic!("it goes on"),
        };
        let no_token = denied("the provider returned no ID token").hint("request the scope openid: --scope openid");
        assert_eq!(told(Err(no_token.clone())), no_token);
        for code in ["expired_token", "access_denied", "invalid_client", "invalid_grant"] {
            assert_eq!(told(error(code)).exit, Exit::Denied, "{code}");
        }
        assert!(!told(error("invalid_client")).message.contains('\u{1b}'));
        assert!(matches!(after(Ok(Answer::Token("x".into())), five), Next::Done(Ok(_))));
    }

    #[test]
    fn only_a_page_that_is_encrypted_is_opened() {
        assert!(page("https://login.example.com/device?user_code=ABCD").is_ok());
        for bad in ["javascript:alert(1)", "http://login.example.com", "file:///etc/passwd", "x"] {
            assert_eq!(page(bad).unwrap_err().exit, Exit::Denied, "{bad}");
        }
    }
}
