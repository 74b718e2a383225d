//! The environment's root for somebody who has only its fingerprint: fetched in clear, believed by its digest.

use std::time::Duration;

use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use signet_x509::pem;
use thiserror::Error;
use tokio::{net::TcpStream, time::timeout};

use crate::connector::port_of;

const LIMIT: Duration = Duration::from_secs(10);
const MAX_BYTES: usize = 64 * 1024;
const PATH: &str = "/v1/ca.pem";

/// Why there is no root.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RootError {
    /// The address cannot be used.
    #[error("{0:?} is not the address of a public listener: give http://host:port")]
    Address(String),
    /// The pin cannot be used.
    #[error("the pin must be the SHA-256 of the root certificate, 64 hexadecimal digits")]
    Pin,
    /// No answer.
    #[error("cannot fetch {url}: {reason}")]
    Fetch {
        /// What was asked for.
        url: String,
        /// What happened.
        reason: String,
    },
    /// An answer without certificates.
    #[error("{url} does not answer with certificates")]
    NotCertificates {
        /// What was asked for.
        url: String,
    },
    /// Somebody else's root, or somebody in between.
    #[error("no certificate at {url} has the pinned digest; it has {found}: ask the operator before you trust it")]
    PinMismatch {
        /// What was asked for.
        url: String,
        /// SHA-256 of the first certificate, hexadecimal.
        found: String,
    },
}

/// Fetches `/v1/ca.pem` from the public listener at `base` (`http://host:port`) and returns, DER, the certificate whose
/// SHA-256 is `sha256_pin` (hexadecimal, colons allowed).
pub async fn fetch_root(base: &str, sha256_pin: &str) -> Result<Vec<u8>, RootError> {
    let pin = hex::decode(sha256_pin.replace(':', "")).map_err(|_| RootError::Pin)?;
    if pin.len() != 32 {
        return Err(RootError::Pin);
    }
    let url = format!("{}{PATH}", base.trim_end_matches('/'));
    let failed = |reason: String| RootError::Fetch { url: url.clone(), reason };
    let body = timeout(LIMIT, get(base, &url)).await.map_err(|_| failed("no answer within 10 s".into()))?;
    let body = body.map_err(|error| match error {
        GetError::Address => RootError::Address(base.to_owned()),
        GetError::Failed(reason) => failed(reason),
    })?;
    let certificates = std::str::from_utf8(&body).ok().and_then(pem::decode_certificates);
    let certificates = certificates.ok_or_else(|| RootError::NotCertificates { url: url.clone() })?;
    let found = certificates.first().map(|der| fingerprint(der)).unwrap_or_default();
    let pinned = certificates.into_iter().find(|der| fingerprint(der) == hex::encode(&pin));
    pinned.ok_or(RootError::PinMismatch { url, found })
}

/// SHA-256 of a certificate, hexadecimal: what [`fetch_root`] takes as a pin.
pub fn fingerprint(certificate_der: &[u8]) -> String {
    hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate_der))
}

enum GetError {
    Address,
    Failed(String),
}

impl GetError {
    fn of(error: impl std::fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }
}

async fn get(base: &str, url: &str) -> Result<Bytes, GetError> {
    let base: Uri = base.parse().map_err(|_| GetError::Address)?;
    let authority = base.authority().filter(|_| base.scheme_str() == Some("http")).ok_or(GetError::Address)?;
    let address = format!("{}:{}", authority.host(), port_of(&base, 80).map_err(|_| GetError::Address)?);
    let stream = TcpStream::connect(address).await.map_err(GetError::of)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(GetError::of)?;
    let path = Uri::try_from(url).map_err(|_| GetError::Address)?.path().to_owned();
    let request = Request::get(path).header(header::HOST, authority.as_str()).body(Empty::<Bytes>::new());
    let exchange = async {
        let response = sender.send_request(request.map_err(GetError::of)?).await.map_err(GetError::of)?;
        if response.status() != StatusCode::OK {
            return Err(GetError::Failed(format!("HTTP status {}", response.status())));
        }
        Ok(Limited::new(response.into_body(), MAX_BYTES).collect().await.map_err(GetError::of)?.to_bytes())
    };
    tokio::pin!(exchange);
    tokio::select! {
        done = &mut exchange => done,
        // The connection ends when the exchange is over, or fails; the exchange then knows more.
        _ = connection => exchange.await,
    }
}
