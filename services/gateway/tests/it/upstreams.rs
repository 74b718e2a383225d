//! Servers behind the gateway.

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::Request,
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
    routing::any,
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_stream::{StreamExt, wrappers::IntervalStream};

/// HTTP/1.1 and HTTP/2 without TLS: `/sse…` sends events for ever, `/silent…` one event, `/never…` nothing at all;
/// everything else says what it got.
pub(crate) async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new()
        .route("/sse", any(sse))
        .route("/sse/{*rest}", any(sse))
        .route("/silent", any(silent))
        .route("/never", any(std::future::pending::<&'static str>))
        .fallback(say);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

async fn say(request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    let headers: Vec<_> = parts
        .headers
        .iter()
        .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
        .collect();
    Json(json!({
        "method": parts.method.as_str(),
        "target": parts.uri.path_and_query().map(|target| target.as_str()),
        "version": format!("{:?}", parts.version),
        "headers": headers,
        "body": String::from_utf8_lossy(&body),
    }))
    .into_response()
}

async fn sse() -> Response {
    let ticks = IntervalStream::new(tokio::time::interval(Duration::from_millis(10)));
    let events = ticks.map(|_| Ok::<_, Infallible>(Bytes::from_static(b"data: tick\n\n")));
    ([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(events)).into_response()
}

async fn silent() -> Response {
    let nothing = futures::stream::once(async { Ok::<_, Infallible>(Bytes::from_static(b"data: first\n\n")) })
        .chain(futures::stream::pending());
    ([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(nothing)).into_response()
}

/// Answers every request by changing the protocol, and then echoes bytes.
pub(crate) async fn websocket() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let head = head_of(&mut stream).await;
                let answer = if head.to_lowercase().contains("upgrade: websocket") {
                    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                     Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
                } else {
                    "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
                };
                stream.write_all(answer.as_bytes()).await.unwrap();
                echo_bytes(stream).await;
            });
        }
    });
    address
}

/// What a server of bytes got first: the PROXY header with what follows in the same read, then it echoes.
pub(crate) async fn bytes() -> (SocketAddr, mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, headers) = mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let sender = sender.clone();
            tokio::spawn(async move {
                let mut prefix = [0; 16];
                stream.read_exact(&mut prefix).await.unwrap();
                let mut header = prefix.to_vec();
                header.resize(16 + usize::from(u16::from_be_bytes([prefix[14], prefix[15]])), 0);
                stream.read_exact(&mut header[16..]).await.unwrap();
                sender.send(header).await.unwrap();
                echo_bytes(stream).await;
            });
        }
    });
    (address, headers)
}

async fn head_of(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

async fn echo_bytes(mut stream: TcpStream) {
    let (mut reader, mut writer) = stream.split();
    let _ = tokio::io::copy(&mut reader, &mut writer).await;
}

/// An address where nobody listens.
pub(crate) async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// The usual configuration: all of an upstream for whoever may submit.
pub(crate) fn routed(upstream: SocketAddr) -> String {
    format!(
        "[[upstream]]\nname = \"jobs\"\nurl = \"http://{upstream}\"\nxfcc = true\n\
         [[route]]\npath = \"/forbidden/*\"\nupstream = \"jobs\"\npermission = \"jobs:delete\"\n\
         [[route]]\npath = \"/sse/*\"\nupstream = \"jobs\"\npermission = \"jobs:watch\"\n\
         [[route]]\npath = \"/open/*\"\nupstream = \"jobs\"\npermission = \"none\"\n\
         [[route]]\npath = \"/jobs/*\"\nupstream = \"jobs\"\npermission = \"jobs:submit\"\n"
    )
}
