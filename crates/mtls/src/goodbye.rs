//! The last words to a client that was not taken, so that it learns why.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy, sink},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::server::TlsStream;

const LINGER: Duration = Duration::from_millis(500);
const LINGER_BYTES: u64 = 64 * 1024;

/// HTTP/2 (RFC 9113): the server's preface is a SETTINGS frame (section 3.4), which may be empty (6.5).
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
/// Type of a GOAWAY frame (section 6.8).
const GOAWAY: u8 = 7;
/// ENHANCE_YOUR_CALM (section 7): the peer asks for more than it may.
const ENHANCE_YOUR_CALM: u8 = 11;

/// What is left of a connection that was not taken.
pub(crate) enum Rest {
    /// TLS has sent its alert.
    Alerted(TcpStream),
    /// The handshake is done, with a client that speaks HTTP/2 and can be told the reason.
    Http2(Box<TlsStream<TcpStream>>),
    /// The same with HTTP/1.1.
    Http1(Box<TlsStream<TcpStream>>),
    /// The handshake is done: close_notify says that nothing was cut off (RFC 8446 section 6.1).
    Secured(Box<TlsStream<TcpStream>>),
}

/// Ends a connection: with a GOAWAY that names `reason` where HTTP/2 is spoken, with a 503 where HTTP/1.1 is, then
/// reading what the client still sends, so that the last bytes sent to it arrive: closing a socket that has unread
/// bytes resets the connection, and the reset overtakes them (RFC 1122 section 4.2.2.13).
pub(crate) async fn say(rest: Rest, reason: &str) {
    // Whatever happens here, the connection is over.
    let _ = timeout(LINGER, end(rest, reason)).await;
}

async fn end(rest: Rest, reason: &str) -> io::Result<()> {
    let mut stream = match rest {
        Rest::Alerted(stream) => stream,
        Rest::Http2(mut tls) => {
            tls.write_all(&goaway(reason)).await?;
            close(*tls).await?
        }
        Rest::Http1(mut tls) => {
            tls.write_all(unavailable(reason).as_bytes()).await?;
            close(*tls).await?
        }
        Rest::Secured(tls) => close(*tls).await?,
    };
    stream.shutdown().await?;
    copy(&mut stream.take(LINGER_BYTES), &mut sink()).await.map(|_| ())
}

async fn close(mut tls: TlsStream<TcpStream>) -> io::Result<TcpStream> {
    tls.shutdown().await?;
    Ok(tls.into_inner().0)
}

/// The server's preface and a GOAWAY before any stream, its reason as debug data.
fn goaway(reason: &str) -> Vec<u8> {
    // Reasons are below 100 bytes.
    let length = u8::try_from(reason.len().saturating_add(8)).unwrap_or(8);
    let mut bytes = SETTINGS.to_vec();
    bytes.extend([0, 0, length, GOAWAY, 0, 0, 0, 0, 0]);
    bytes.extend([0, 0, 0, 0, 0, 0, 0, ENHANCE_YOUR_CALM]);
    bytes.extend(reason.bytes().take(usize::from(length.saturating_sub(8))));
    bytes
}

/// An answer to whatever is asked, as problem details (RFC 9457).
fn unavailable(reason: &str) -> String {
    let problem = format!(r#"{{"title":"Service Unavailable","status":503,"reason":"{reason}"}}"#);
    let length = problem.len();
    format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\ncontent-length: {length}\r\n\
         retry-after: 1\r\nconnection: close\r\n\r\n{problem}"
    )
}
