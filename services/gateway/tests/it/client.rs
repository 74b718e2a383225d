//! Clients of the gateway: hyper's, and raw bytes.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{SignatureScheme, client::ResolvesClientCert, pki_types::ServerName, sign::CertifiedKey};
use serde_json::Value;
use signet_client::{Identity, PeerPolicy};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

pub(crate) const SOON: Duration = Duration::from_secs(10);

pub(crate) struct Client {
    pub(crate) identity: Identity,
    pub(crate) address: SocketAddr,
    anonymous: bool,
}

/// A connection of HTTP/1.1.
pub(crate) struct Http1(http1::SendRequest<Full<Bytes>>);
/// A connection of HTTP/2.
pub(crate) struct Http2(http2::SendRequest<Full<Bytes>>);

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn reason(&self) -> String {
        self.json()["reason"].as_str().unwrap_or_default().to_owned()
    }

    /// A header as the echo upstream saw it; all values.
    pub(crate) fn seen(&self, name: &str) -> Vec<String> {
        let headers = self.json()["headers"].as_array().unwrap().clone();
        let of = |pair: &Value| pair[1].as_str().unwrap().to_owned();
        headers.iter().filter(|pair| pair[0] == name).map(of).collect()
    }
}

#[derive(Debug)]
struct Nobody;

impl ResolvesClientCert for Nobody {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

impl Client {
    pub(crate) fn new(identity: Identity, address: SocketAddr) -> Self {
        Self { identity, address, anonymous: false }
    }

    /// The same without its certificate.
    pub(crate) fn anonymous(&self) -> Self {
        Self { identity: self.identity.clone(), address: self.address, anonymous: true }
    }

    /// The same at another address.
    pub(crate) fn at(&self, address: SocketAddr) -> Self {
        Self { identity: self.identity.clone(), address, anonymous: self.anonymous }
    }

    pub(crate) async fn tls(&self, alpn: &[&str]) -> TlsStream<TcpStream> {
        let mut config = self.identity.client_config(PeerPolicy::anybody()).unwrap();
        config.alpn_protocols = alpn.iter().map(|one| one.as_bytes().to_vec()).collect();
        if self.anonymous {
            config.client_auth_cert_resolver = Arc::new(Nobody);
        }
        let tcp = TcpStream::connect(self.address).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap()
    }

    pub(crate) async fn http1(&self) -> Http1 {
        let io = TokioIo::new(self.tls(&["http/1.1"]).await);
        let (sender, connection) = http1::handshake(io).await.unwrap();
        tokio::spawn(async move { drop(connection.with_upgrades().await) });
        Http1(sender)
    }

    pub(crate) async fn http2(&self) -> Http2 {
        let io = TokioIo::new(self.tls(&["h2"]).await);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(async move { drop(connection.await) });
        Http2(sender)
    }

    /// One request on a connection of its own.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.http1().await.get(path).await
    }

    /// Writes raw bytes, and reads what comes until the connection ends, or `until` has come.
    pub(crate) async fn raw(&self, bytes: &[u8], until: &str) -> String {
        let mut stream = self.tls(&[]).await;
        stream.write_all(bytes).await.unwrap();
        let mut out = Vec::new();
        let read = async {
            let mut part = [0; 4096];
            while !String::from_utf8_lossy(&out).contains(until) {
                match stream.read(&mut part).await {
                    Ok(0) | Err(_) => break,
                    Ok(length) => out.extend(&part[..length]),
                }
            }
        };
        timeout(SOON, read).await.expect("the gateway answers, or hangs up");
        String::from_utf8_lossy(&out).into_owned()
    }
}

pub(crate) fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(path).header("host", "gateway.example.com").body(Full::default()).unwrap()
}

pub(crate) async fn whole(response: Response<Incoming>) -> Answer {
    let (parts, body) = response.into_parts();
    let body = timeout(SOON, body.collect()).await.unwrap().map(|body| body.to_bytes()).unwrap_or_default();
    let body = String::from_utf8_lossy(&body).into_owned();
    Answer { status: parts.status.as_u16(), headers: parts.headers, body }
}

impl Http1 {
    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        self.0.ready().await.unwrap();
        timeout(SOON, self.0.send_request(request)).await.unwrap().unwrap()
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        let response = self.send(get(path)).await;
        whole(response).await
    }

    pub(crate) async fn get_with(&mut self, path: &str, name: &str, value: &str) -> Answer {
        let mut request = get(path);
        request.headers_mut().insert(http::HeaderName::try_from(name).unwrap(), value.parse().unwrap());
        let response = self.send(request).await;
        whole(response).await
    }

    pub(crate) async fn post(&mut self, path: &str, body: &str) -> Answer {
        let mut request = get(path);
        *request.method_mut() = http::Method::POST;
        *request.body_mut() = Full::from(body.to_owned());
        let response = self.send(request).await;
        whole(response).await
    }
}

impl Http2 {
    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        self.0.ready().await.unwrap();
        timeout(SOON, self.0.send_request(request)).await.unwrap().unwrap()
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        let request = Request::get(format!("https://gateway.example.com{path}")).body(Full::default()).unwrap();
        let response = self.send(request).await;
        whole(response).await
    }
}

/// Plain HTTP.
pub(crate) async fn plain(address: SocketAddr, path: &str) -> (u16, String) {
    let io = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (mut sender, connection) = http1::handshake::<_, Full<Bytes>>(io).await.unwrap();
    tokio::spawn(connection);
    let answer = whole(sender.send_request(get(path)).await.unwrap()).await;
    (answer.status, answer.body)
}
