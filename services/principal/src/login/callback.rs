//! The one request that the browser makes to us at the end.

use std::time::Duration;

use reqwest::Url;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// The redirect's path.
pub(super) const PATH: &str = "/callback";
const MAX_REQUEST_BYTES: usize = 16 * 1024;
const LIMIT: Duration = Duration::from_secs(5);

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

/// Waits for the redirect that carries `state`. Whatever else connects is turned away: other pages can reach this port too.
pub(super) async fn wait(listener: &TcpListener, state: &str) -> Came {
    loop {
        let Ok((mut stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let target = tokio::time::timeout(LIMIT, target(&mut stream)).await.ok().flatten();
        let came = target.and_then(|target| read(&target, state));
        let (status, text) = match &came {
            Some(Came::Code(_)) => ("200 OK", "You are signed in. You may close this page."),
            Some(Came::Error { .. }) => ("200 OK", "The sign-in failed. The command line says why."),
            None => ("404 Not Found", "Nothing here."),
        };
        let head = "Content-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\nConnection: close";
        let answer = format!("HTTP/1.1 {status}\r\n{head}\r\nContent-Length: {}\r\n\r\n{text}", text.len());
        // A browser that has gone needs no page.
        let _ = tokio::time::timeout(LIMIT, say(&mut stream, answer.as_bytes())).await;
        if let Some(came) = came {
            return came;
        }
    }
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

fn read(target: &str, state: &str) -> Option<Came> {
    let url = Url::parse("http://127.0.0.1").ok()?.join(target).ok()?;
    let value = |name: &str| url.query_pairs().find(|(n, _)| n == name).map(|(_, value)| value.into_owned());
    if url.path() != PATH || value("state").as_deref() != Some(state) {
        return None;
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
        assert_eq!(read("/callback?code=a%2Fb&state=s&iss=x", "s"), Some(Came::Code("a/b".into())));
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
}
