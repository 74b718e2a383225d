//! The one request that the browser makes to us at the end.

use std::time::Duration;

use reqwest::Url;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// The redirect's path.
pub(super) const PATH: &str = "/callback";
const MAX_REQUEST_BYTES: usize = 16 * 1024;
/// For one request, and for its answer: browsers connect ahead of need and say nothing.
const LIMIT: Duration = Duration::from_secs(2);
/// Connections that are heard at once; more are closed, below what a process may have open.
const MOST: usize = 256;

/// What the provider sent along (RFC 6749 section 4.1.2).
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

/// The browser that brought the answer; it waits for a page.
#[derive(Debug)]
pub(super) struct Browser(TcpStream);

impl Browser {
    /// Tells the person how the sign-in went. A browser that has gone needs no page.
    pub(super) async fn tell(self, text: &str) {
        answer(self.0, "200 OK", text).await;
    }
}

/// Waits for the redirect that carries `state`. Whatever else connects is turned away, and keeps nobody waiting: other pages
/// can reach this port too.
pub(super) async fn wait(listener: &TcpListener, state: &str, issuer: &str) -> (Came, Browser) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            Some(ended) = connections.join_next() => match ended {
                Ok(Some(came)) => return came,
                _ => continue,
            },
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) if connections.len() < MOST => {
                let (state, issuer) = (state.to_owned(), issuer.to_owned());
                connections.spawn(async move { hear(stream, &state, &issuer).await });
            }
            // Each of those that are heard has two seconds; a browser tries again.
            Ok(_) => {}
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// What one connection brings. Who says nothing is not answered.
async fn hear(mut stream: TcpStream, state: &str, issuer: &str) -> Option<(Came, Browser)> {
    let target = tokio::time::timeout(LIMIT, target(&mut stream)).await.ok().flatten()?;
    match read(&target, state, issuer) {
        Some(came) => Some((came, Browser(stream))),
        None => {
            answer(stream, "404 Not Found", "Nothing here.").await;
            None
        }
    }
}

async fn answer(mut stream: TcpStream, status: &str, text: &str) {
    let head = "Content-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\nConnection: close";
    let answer = format!("HTTP/1.1 {status}\r\n{head}\r\nContent-Length: {}\r\n\r\n{text}", text.len());
    let _ = tokio::time::timeout(LIMIT, say(&mut stream, answer.as_bytes())).await;
}

/// Sends the answer and waits until the browser has closed too: what it sent and nobody read would reset the connection, and
/// the page would be lost.
async fn say(stream: &mut TcpStream, answer: &[u8]) -> std::io::Result<()> {
    stream.write_all(answer).await?;
    stream.shutdown().await?;
    let mut rest = [0; 512];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

/// The target of the request line, after the whole head was read.
async fn target(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if stream.read_buf(&mut head).await.ok()? == 0 || head.len() > MAX_REQUEST_BYTES {
            return None;
        }
    }
    let head = String::from_utf8(head).ok()?;
    let target = head.strip_prefix("GET ")?.split(' ').next()?;
    Some(target.to_owned())
}

fn read(target: &str, state: &str, issuer: &str) -> Option<Came> {
    let url = Url::parse("http://127.0.0.1").ok()?.join(target).ok()?;
    let value = |name: &str| url.query_pairs().find(|(n, _)| n == name).map(|(_, value)| value.into_owned());
    if url.path() != PATH || value("state").as_deref() != Some(state) {
        return None;
    }
    // RFC 9207 section 2.4: an answer of another provider is not one to this question.
    if value("iss").is_some_and(|named| named != issuer) {
        let description = Some("the response comes from another provider".to_owned());
        return Some(Came::Error { code: "mix_up".to_owned(), description });
    }
    match (value("code"), value("error")) {
        (Some(code), None) => Some(Came::Code(code)),
        (_, Some(code)) => Some(Came::Error { code, description: value("error_description") }),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_redirect_with_our_state_counts() {
        let read = |target: &str, state: &str| read(target, state, "https://id.example");
        assert_eq!(read("/callback?code=a%2Fb&state=s", "s"), Some(Came::Code("a/b".into())));
        assert_eq!(read("/callback?code=a&state=s&iss=https%3A%2F%2Fid.example", "s"), Some(Came::Code("a".into())));
        let foreign = read("/callback?code=a&state=s&iss=https%3A%2F%2Fevil.example", "s");
        assert!(matches!(foreign, Some(Came::Error { .. })), "{foreign:?}");
        let denied = Came::Error { code: "access_denied".into(), description: Some("no way".into()) };
        assert_eq!(read("/callback?error=access_denied&error_description=no+way&state=s", "s"), Some(denied));
        for other in [
            "/",
            "/callback",
            "/callback?code=a",
            "/callback?code=a&state=t",
            "/other?code=a&state=s",
            "/callback?state=s",
            "//x",
        ] {
            assert_eq!(read(other, "s"), None, "{other}");
        }
    }

    #[tokio::test]
    async fn silent_connections_keep_nobody_waiting() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut silent = Vec::new();
        for _ in 0..6 {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let mut browser = TcpStream::connect(address).await.unwrap();
        browser.write_all(b"GET /callback?code=c&state=s HTTP/1.1\r\n\r\n").await.unwrap();
        // Six after each other would take twice as long.
        let first = tokio::select! {
            biased;
            (came, page) = wait(&listener, "s", "https://id.example") => Some((came, page)),
            () = tokio::time::sleep(3 * LIMIT) => None,
        };
        let (came, page) = first.unwrap();
        assert_eq!(came, Came::Code("c".into()));
        let mut text = String::new();
        tokio::join!(page.tell("You are signed in."), async { browser.read_to_string(&mut text).await.unwrap() });
        assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("You are signed in."), "{text}");
    }
}
