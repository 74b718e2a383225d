//! The one request that the browser makes to us at the end.

use std::{future::IntoFuture as _, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Deserialize;
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};

use crate::failure::Failure;

/// The redirect's path.
pub(super) const PATH: &str = "/callback";
/// How long the final page may take to deliver.
const LIMIT: Duration = Duration::from_secs(2);

/// What the provider sent along.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// To be exchanged for tokens.
    Code(String),
    /// The sign-in failed.
    Error {
        /// RFC 6749 section 4.1.2.1.
        code: String,
        /// For people.
        description: Option<String>,
    },
}

/// RFC 6749 section 4.1.2, RFC 9207 section 2.
#[derive(Deserialize)]
struct Redirect {
    state: Option<String>,
    iss: Option<String>,
    code: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
}

/// The browser that brought the answer; it waits for a page.
#[derive(Debug)]
pub(super) struct Browser {
    page: oneshot::Sender<&'static str>,
    stop: oneshot::Sender<()>,
    server: JoinHandle<std::io::Result<()>>,
}

impl Browser {
    /// Tells the person how the sign-in went. A browser that has gone needs no page.
    pub(super) async fn tell(self, text: &'static str) {
        let _ = self.page.send(text);
        drop(self.stop);
        let _ = timeout(LIMIT, self.server).await;
    }
}

/// What is waited for.
struct Awaited {
    state: String,
    issuer: String,
    first: mpsc::Sender<(Came, oneshot::Sender<&'static str>)>,
}

/// Waits for the redirect that carries `state`. Other requests get 404 and delay nobody: any page can reach this port.
pub(super) async fn wait(listener: TcpListener, state: &str, issuer: &str) -> Result<(Came, Browser), Failure> {
    let (first, mut came) = mpsc::channel(1);
    let awaited = Awaited { state: state.to_owned(), issuer: issuer.to_owned(), first };
    let router = Router::new().route(PATH, get(hear)).with_state(Arc::new(awaited));
    // Dropping `stop` shuts the server down, also when the caller stops waiting.
    let (stop, stopped) = oneshot::channel();
    let server = axum::serve(listener, router).with_graceful_shutdown(async { drop(stopped.await) });
    let server = tokio::spawn(server.into_future());
    let (came, page) = came.recv().await.ok_or_else(|| Failure::other("nobody listens for the browser any more"))?;
    Ok((came, Browser { page, stop, server }))
}

async fn hear(State(awaited): State<Arc<Awaited>>, Query(redirect): Query<Redirect>) -> Response {
    let (page, told) = oneshot::channel();
    let came = read(redirect, &awaited.state, &awaited.issuer);
    let is_first = came.is_some_and(|came| awaited.first.try_send((came, page)).is_ok());
    let answer = match told.await {
        Ok(text) if is_first => (StatusCode::OK, text),
        _ => (StatusCode::NOT_FOUND, "Nothing here."),
    };
    ([(header::CACHE_CONTROL, "no-store"), (header::CONNECTION, "close")], answer).into_response()
}

fn read(redirect: Redirect, state: &str, issuer: &str) -> Option<Came> {
    let Redirect { state: theirs, iss, code, error, error_description: description } = redirect;
    if theirs.as_deref() != Some(state) {
        return None;
    }
    // RFC 9207 section 2.4: an answer of another provider is not one to this question.
    if iss.is_some_and(|named| named != issuer) {
        let description = Some("the response comes from another provider".to_owned());
        return Some(Came::Error { code: "mix_up".to_owned(), description });
    }
    match (code, error) {
        (Some(code), None) => Some(Came::Code(code)),
        (_, Some(code)) => Some(Came::Error { code, description }),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
    };

    use super::*;

    #[test]
    fn only_the_redirect_with_our_state_counts() {
        let read = |query: &str| {
            let redirect = Query::try_from_uri(&format!("/callback?{query}").parse().unwrap()).ok()?;
            read(redirect.0, "s", "https://id.example")
        };
        assert_eq!(read("code=a%2Fb&state=s"), Some(Came::Code("a/b".into())));
        assert_eq!(read("code=a&state=s&iss=https%3A%2F%2Fid.example"), Some(Came::Code("a".into())));
        let foreign = read("code=a&state=s&iss=https%3A%2F%2Fevil.example");
        assert!(matches!(foreign, Some(Came::Error { .. })), "{foreign:?}");
        let denied = Came::Error { code: "access_denied".into(), description: Some("no way".into()) };
        assert_eq!(read("error=access_denied&error_description=no+way&state=s"), Some(denied));
        for other in ["", "code=a", "code=a&state=t", "state=s", "code=a&state=t&state=s"] {
            assert_eq!(read(other), None, "{other}");
        }
    }

    async fn get(address: std::net::SocketAddr, target: &str) -> String {
        let mut browser = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        browser.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        browser.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn silent_and_strange_connections_keep_nobody_waiting() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut silent = Vec::new();
        // Fewer than a backlog holds: nobody accepts yet.
        for _ in 0..100 {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let person = async {
            for strange in ["/", "/callback", "/callback?code=c&state=t"] {
                let refused = get(address, strange).await;
                assert!(refused.starts_with("HTTP/1.1 404"), "{strange}: {refused}");
            }
            get(address, "/callback?code=c&state=s").await
        };
        let login = async {
            let (came, page) = wait(listener, "s", "https://id.example").await.unwrap();
            assert_eq!(came, Came::Code("c".into()));
            page.tell("You are signed in.").await;
        };
        let (text, done) = tokio::join!(person, timeout(3 * LIMIT, login));
        done.unwrap();
        assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("You are signed in."), "{text}");
    }
}
