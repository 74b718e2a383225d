//! OCSP over HTTP (RFC 6960 appendix A, RFC 9919 sections 6 and 7).

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    body::{Body, to_bytes},
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use signet_core::{CaId, Time};
use signet_x509::ocsp::{ErrorStatus, MAX_REQUEST_BYTES};
use tokio::time::timeout;

use super::{caching::is_known, client::Client};
use crate::{
    node::Node,
    ocsp::{Kept, Reply},
};

/// Clients leave the padding out now and then.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// For a request in a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(2);
const CONTENT_TYPE: (header::HeaderName, &str) = (header::CONTENT_TYPE, "application/ocsp-response");

pub(super) fn routes() -> Router<Arc<Node>> {
    Router::new().route("/v1/ocsp/{ca}", post(by_post)).route("/v1/ocsp/{ca}/{*request}", get(by_get))
}

async fn by_post(
    State(node): State<Arc<Node>>,
    Extension(client): Extension<Client>,
    Path(ca): Path<String>,
    body: Body,
) -> Response {
    match timeout(BODY_TIMEOUT, to_bytes(body, MAX_REQUEST_BYTES)).await {
        Ok(Ok(request)) => answer(&node, client, &ca, Some(&request), &HeaderMap::new()).await,
        Ok(Err(_)) => (StatusCode::PAYLOAD_TOO_LARGE, "an OCSP request has at most 2048 bytes\n").into_response(),
        Err(_) => (StatusCode::REQUEST_TIMEOUT, "the request did not come in time\n").into_response(),
    }
}

/// The path holds the request in base64, URL-encoded. OpenSSL and others leave slashes as they are.
async fn by_get(
    State(node): State<Arc<Node>>,
    Extension(client): Extension<Client>,
    Path((ca, request)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    answer(&node, client, &ca, BASE64.decode(request).ok().as_deref(), &headers).await
}

/// `request_der`: `None` if it is none.
async fn answer(
    node: &Node,
    Client(source): Client,
    ca: &str,
    request_der: Option<&[u8]>,
    asked: &HeaderMap,
) -> Response {
    let reply = match (ca.parse::<CaId>(), request_der) {
        (Ok(ca), Some(request_der)) => node.ocsp.answer(&ca, source, request_der).await,
        (Ok(_), None) => Some(Reply::Refused(ErrorStatus::MalformedRequest)),
        (Err(_), _) => None,
    };
    let once = |der: Vec<u8>| ([CONTENT_TYPE, (header::CACHE_CONTROL, "no-store")], der).into_response();
    match reply {
        Some(Reply::Kept(kept)) => kept_answer(&kept, node.now(), asked),
        Some(Reply::Once(der)) => once(der),
        Some(Reply::Refused(status)) => once(status.der().to_vec()),
        None => (StatusCode::NOT_FOUND, "there is no such certificate authority\n").into_response(),
    }
}

/// Caches keep it until its end (RFC 9919 section 7.2).
fn kept_answer(kept: &Kept, now: Time, asked: &HeaderMap) -> Response {
    let left = kept.next_update.millis_since(now).max(0) / 1000;
    let is_known = kept.tag.to_str().is_ok_and(|tag| is_known(asked, tag));
    let caching = [
        (header::ETAG, kept.tag.clone()),
        (header::CACHE_CONTROL, max_age(left)),
        (header::LAST_MODIFIED, kept.last_modified.clone()),
        (header::EXPIRES, kept.expires.clone()),
    ];
    if is_known {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    (caching, [CONTENT_TYPE], kept.der.clone()).into_response()
}

fn max_age(seconds: i64) -> HeaderValue {
    let text = format!("max-age={seconds}, public, no-transform, must-revalidate");
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("no-store"))
}
