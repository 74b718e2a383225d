//! Renewal where no handshake accepts the certificate: over HTTPS, signed with the present key
//! (`proto/openapi/enrollment.yaml`, `/v1/renew`).

use std::{net::SocketAddr, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use http::Uri;
use jiff::Timestamp;
use reqwest::{Client, Response, StatusCode, header};
use serde::{Deserialize, Serialize};
use signet_core::{RequestId, Time};
use signet_proto::v1::IssuedCertificate;
use signet_x509::{OutOfBandStatement, pem};
use tokio::net::lookup_host;
use tonic::Code;

use super::{
    settings::{IdentitySettings, OutOfBand},
    shared::Held,
};
use crate::{
    calls::NextKey,
    credentials::CredentialsError,
    error::{ClientError, ConnectError, RpcError},
    tls::client_config,
};

const DEADLINE: Duration = Duration::from_secs(30);
const RENEW: &str = "/v1/renew";
/// A chain of three takes some KiB.
const MAX_ANSWER: usize = 256 * 1024;

#[derive(Serialize)]
struct Request<'a> {
    request_id: &'a str,
    certificate_pem: String,
    csr_pem: String,
    sign_time: String,
    signature: String,
}

#[derive(Deserialize)]
struct Issued {
    chain_pem: String,
    roots_pem: String,
    #[serde(default)]
    trust_anchors_pem: String,
}

/// RFC 9457.
#[derive(Deserialize, Default)]
struct Problem {
    #[serde(default)]
    detail: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    correlation_id: String,
}

/// The certificate for `next_key`. `now` is the server's time, as far as it is known.
pub(super) async fn renew(
    settings: &IdentitySettings,
    held: &Held,
    next_key: &NextKey,
    now: Time,
) -> Result<IssuedCertificate, ClientError> {
    let path = Path::of(settings).await?;
    let body = request(held, next_key, now)?;
    let unreachable = |error: reqwest::Error| ConnectError::Unreachable {
        address: path.url.clone(),
        reason: with_causes(&error.without_url()),
    };
    let client = client(settings, held, &path)?;
    let body = serde_json::to_vec(&body).map_err(|error| ConnectError::Settings(error.to_string()))?;
    let send = client.post(&path.url).header(header::CONTENT_TYPE, "application/json").body(body);
    let mut answer = send.send().await.map_err(unreachable)?;
    let status = answer.status();
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(unreachable)? {
        if bytes.len().saturating_add(chunk.len()) > MAX_ANSWER {
            return Err(refused(StatusCode::BAD_GATEWAY, &answer, &Problem::default()));
        }
        bytes.extend_from_slice(&chunk);
    }
    if status != StatusCode::OK {
        return Err(refused(status, &answer, &serde_json::from_slice(&bytes).unwrap_or_default()));
    }
    let bad = || CredentialsError::Certificates("the answer");
    let issued: Issued = serde_json::from_slice(&bytes).map_err(|_| bad())?;
    let chain_der = pem::decode_certificates(&issued.chain_pem).ok_or_else(bad)?;
    let root_der = pem::decode_certificates(&issued.roots_pem).ok_or_else(bad)?;
    let trust_anchor_der = pem::decode_certificates(&issued.trust_anchors_pem).unwrap_or_default();
    Ok(IssuedCertificate { certificate: None, chain_der, root_der, trust_anchor_der })
}

fn request<'a>(held: &Held, next_key: &'a NextKey, now: Time) -> Result<Request<'a>, ClientError> {
    let wrong = |what: &str| ConnectError::Settings(what.to_owned());
    let certificate_der = held.credentials.chain_der().first().ok_or_else(|| wrong("no certificate"))?;
    let csr_der = &next_key.request().csr_der;
    let text = &next_key.request().request_id;
    let request_id: RequestId = text.parse().map_err(|_| wrong("the request id cannot be used"))?;
    let signed_at = now.floor_to_second();
    let statement = OutOfBandStatement {
        environment: &held.environment,
        certificate_der,
        csr_der,
        request_id: &request_id,
        signed_at,
    };
    let signature = statement.sign(held.credentials.key()).map_err(CredentialsError::Key)?;
    let sign_time = Timestamp::from_second(signed_at.unix_seconds()).map_err(|_| wrong("the clock cannot be read"))?;
    Ok(Request {
        request_id: text,
        certificate_pem: pem::encode_certificate(certificate_der),
        csr_pem: pem::encode(pem::CERTIFICATE_REQUEST, csr_der),
        sign_time: sign_time.to_string(),
        signature: BASE64_STANDARD.encode(signature),
    })
}

/// Where the request goes.
struct Path {
    url: String,
    pinned: bool,
    /// Where a name leads that is no host: the one in the server's certificate.
    resolved: Option<(String, Vec<SocketAddr>)>,
}

impl Path {
    /// The one that is set, or the endpoint's own: signetd answers there to whom no handshake accepts.
    async fn of(settings: &IdentitySettings) -> Result<Self, ConnectError> {
        if let Some(OutOfBand { url, pinned }) = &settings.out_of_band {
            return Ok(Self { url: url.clone(), pinned: *pinned, resolved: None });
        }
        let endpoint = settings.endpoint.trim_end_matches('/');
        let Some(name) = &settings.server_name else {
            return Ok(Self { url: format!("{endpoint}{RENEW}"), pinned: true, resolved: None });
        };
        let bad = |reason: &str| ConnectError::Endpoint { endpoint: endpoint.to_owned(), reason: reason.to_owned() };
        let uri: Uri = endpoint.parse().map_err(|_| bad("it is not a URL"))?;
        let (host, port) = (uri.host().ok_or_else(|| bad("the host is missing"))?, uri.port_u16().unwrap_or(443));
        let found = lookup_host((host.trim_start_matches('[').trim_end_matches(']'), port)).await;
        let found = found.map_err(|error| ConnectError::Unreachable {
            address: format!("{host}:{port}"),
            reason: error.to_string(),
        })?;
        let url = format!("https://{name}:{port}{RENEW}");
        Ok(Self { url, pinned: true, resolved: Some((name.clone(), found.collect())) })
    }
}

/// Made for each attempt: there are months between two.
fn client(settings: &IdentitySettings, held: &Held, path: &Path) -> Result<Client, ConnectError> {
    let unusable = |error: reqwest::Error| ConnectError::Settings(error.to_string());
    let mut builder = Client::builder()
        .timeout(DEADLINE)
        .connect_timeout(settings.connect_timeout)
        .redirect(reqwest::redirect::Policy::none())
        .https_only(true);
    if path.pinned {
        let trust = settings.server_trust(Some(&held.credentials));
        let mut config = client_config(&trust, None, settings.require_pq_kex)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        builder = builder.tls_backend_preconfigured(config);
    }
    if let Some((name, addresses)) = &path.resolved {
        builder = builder.resolve_to_addrs(name, addresses);
    }
    builder.build().map_err(unusable)
}

/// As the same refusal over gRPC would be.
fn refused(status: StatusCode, answer: &Response, problem: &Problem) -> ClientError {
    let retry_after = answer.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let code = match status {
        StatusCode::TOO_MANY_REQUESTS => Code::ResourceExhausted,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Code::PermissionDenied,
        // One of the server's own, which says why; a bare one is the gateway's.
        StatusCode::INTERNAL_SERVER_ERROR if !problem.reason.is_empty() => Code::Internal,
        status if status.is_server_error() => Code::Unavailable,
        _ => Code::FailedPrecondition,
    };
    let mut message =
        if problem.detail.is_empty() { format!("{} answered {status}", answer.url()) } else { problem.detail.clone() };
    if !problem.correlation_id.is_empty() {
        message += &format!(" (correlation id {})", problem.correlation_id);
    }
    ClientError::Rpc(RpcError {
        code,
        reason: problem.reason.clone(),
        message,
        field: None,
        transport: false,
        retry_after: retry_after.map(Duration::from_secs),
    })
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
