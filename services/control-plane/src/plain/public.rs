//! What anybody may ask over plain HTTP: is the node alive, is it ready, what does it trust, what was revoked. All out
//! of memory, but for a look at a CA's revocation list once a minute, and at a certificate that OCSP is asked about.
//!
//! Whoever reaches this port can try the names of tenants: a bundle is public, so that it is there or not says whether
//! the tenant is. Names of tenants are no secrets; those who want them hidden keep this listener to their own network.

use std::{convert::Infallible, sync::Arc};

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use futures::stream;
use signet_app::{spiffe_bundle, svid_keys};
use signet_core::{CaId, Error, TenantId, Time};
use signet_x509::{bundle::to_pem, server_anchors};

use super::{
    caching::{date, is_known},
    issuers, ocsp,
};
use crate::{authorization::authzen::METADATA, bundles::Bundle, lists::List, node::Node, services::public_metadata};

/// How long caches may keep bundles; a new CA is published long before it signs.
const CACHE: &str = "public, max-age=60";

/// Health and public material.
pub(super) fn router(node: Arc<Node>) -> Router {
    Router::new()
        .route("/v1/ca.pem", get(ca_pem))
        .route(METADATA, get(authzen_configuration))
        .route("/v1/server-anchor.pem", get(server_anchor_pem))
        .route("/v1/tenants/{tenant}/bundle.pem", get(bundle_pem))
        .route("/v1/tenants/{tenant}/bundle.json", get(bundle_json))
        .route("/v1/tenants/{tenant}/crl.pem", get(crl_pem))
        .route("/v1/crl/{list}", get(crl_der))
        .merge(ocsp::routes())
        .with_state(Arc::clone(&node))
        .merge(issuers::router(&node))
        .merge(health(node))
}

/// Health alone.
pub(super) fn health(node: Arc<Node>) -> Router {
    Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz)).with_state(node)
}

/// The process runs.
async fn healthz() -> &'static str {
    "ok\n"
}

/// The node should get calls; 503 and the reasons if not.
async fn readyz(State(node): State<Arc<Node>>) -> Response {
    let readiness = node.readiness(node.now());
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness)).into_response()
}

/// Where the AuthZEN API is.
async fn authzen_configuration(State(node): State<Arc<Node>>) -> Response {
    public_metadata(&node)
}

/// The server anchors, then the environment's roots for clients of release 0.1.
async fn ca_pem(State(node): State<Arc<Node>>) -> Response {
    let trusted = node.bundles.server_trust_der();
    trusted_pem(trusted.iter().map(Vec::as_slice).collect())
}

/// The server anchors: what clients of the control plane that check no more than a chain and a host's name may trust.
async fn server_anchor_pem(State(node): State<Arc<Node>>) -> Response {
    trusted_pem(server_anchors(&node.bundles.server_trust_der()))
}

fn trusted_pem(certificates_der: Vec<&[u8]>) -> Response {
    if certificates_der.is_empty() {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "there is no root yet; run `principal bootstrap`\n");
    }
    pem_file(to_pem(certificates_der))
}

/// A tenant's anchors, PEM.
async fn bundle_pem(State(node): State<Arc<Node>>, Path(tenant): Path<String>) -> Response {
    let Some(bundle) = bundle(&node, &tenant) else { return unknown() };
    pem_file(to_pem(bundle.anchors.iter().map(|anchor| &*anchor.certificate_der)))
}

/// A tenant's anchors as a SPIFFE bundle (SPIFFE Trust Domain and Bundle, section 4).
async fn bundle_json(State(node): State<Arc<Node>>, Path(tenant): Path<String>) -> Response {
    let Some(bundle) = bundle(&node, &tenant) else { return unknown() };
    let anchors = bundle.anchors.iter().map(|anchor| (&anchor.ca, &*anchor.certificate_der));
    let is_last = node.trust.is_purged(&bundle.tenant);
    match spiffe_bundle(anchors, &bundle.token_keys, is_last, node.now()) {
        Ok(json) => {
            // The first key of SVIDs signs at once: nobody may keep a bundle without it.
            let cache = if svid_keys(&bundle.token_keys, node.now()).is_empty() { "no-store" } else { CACHE };
            ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, cache)], json).into_response()
        }
        Err(error) => {
            tracing::error!(%error, tenant.id = %bundle.tenant, "a CA certificate on record cannot be read");
            plain(StatusCode::INTERNAL_SERVER_ERROR, "internal error\n")
        }
    }
}

/// The revocation lists of all CAs in a tenant's bundle, PEM: software that checks lists wants each of them.
async fn crl_pem(State(node): State<Arc<Node>>, Path(tenant): Path<String>, headers: HeaderMap) -> Response {
    let Some(bundle) = bundle(&node, &tenant).filter(|bundle| !bundle.anchors.is_empty()) else { return unknown() };
    let lists = match node.lists.of(&bundle.tenant).await {
        Some(Ok(lists)) if lists.len() == bundle.anchors.len() => lists,
        Some(Ok(_)) | None => return no_list(),
        Some(Err(error)) => return unreadable(&error),
    };
    list_file(&lists, "application/x-pem-file", &headers, |list| &list.pem)
}

/// One CA's list, DER, named `<ca>.crl` as in the bucket.
async fn crl_der(State(node): State<Arc<Node>>, Path(list): Path<String>, headers: HeaderMap) -> Response {
    let ca = list.strip_suffix(".crl").and_then(|ca| ca.parse::<CaId>().ok());
    let Some(ca) = ca.filter(|ca| node.trust.anchor(ca).is_some()) else {
        return plain(StatusCode::NOT_FOUND, "there is no such certificate authority\n");
    };
    match node.lists.get(&ca).await {
        // RFC 2585 section 4.2.
        Ok(Some(list)) => list_file(&[Arc::clone(&list)], "application/pkix-crl", &headers, |list| &list.der),
        Ok(None) => no_list(),
        Err(error) => unreadable(&error),
    }
}

/// Lists with what caches go by. Never an empty body: some software takes one for a list that revokes nobody. The bytes
/// are shared by all readers, of whom some are slow.
fn list_file(lists: &[Arc<List>], kind: &'static str, asked: &HeaderMap, content: fn(&List) -> &Bytes) -> Response {
    let digests = lists.iter().map(|list| list.head.tbs_sha256.get(..16).unwrap_or_default());
    let tag = format!("\"{}\"", digests.collect::<Vec<_>>().join("-"));
    let made_at = lists.iter().map(|list| list.head.this_update).max().unwrap_or(Time::MAX);
    let caching =
        [(header::ETAG, tag.clone()), (header::CACHE_CONTROL, CACHE.into()), (header::LAST_MODIFIED, date(made_at))];
    if is_known(asked, &tag) {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    let parts: Vec<Bytes> = lists.iter().map(|list| content(list).clone()).collect();
    let length = parts.iter().map(Bytes::len).sum::<usize>().to_string();
    let body = Body::from_stream(stream::iter(parts.into_iter().map(Ok::<_, Infallible>)));
    (caching, [(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_LENGTH, length)], body).into_response()
}

fn no_list() -> Response {
    plain(StatusCode::SERVICE_UNAVAILABLE, "there is no valid revocation list yet\n")
}

fn unreadable(error: &Error) -> Response {
    tracing::warn!(?error, "a revocation list cannot be read");
    plain(StatusCode::SERVICE_UNAVAILABLE, "the revocation list cannot be read now\n")
}

/// The bundle of a tenant, named by its id or by its trust domain.
fn bundle(node: &Node, name: &str) -> Option<Bundle> {
    let suffix = node.app.environment().suffix();
    let tenant = suffix.tenant_of(name).or_else(|| name.parse::<TenantId>().ok())?;
    node.bundles.of(&tenant)
}

fn unknown() -> Response {
    plain(StatusCode::NOT_FOUND, "there is no such tenant\n")
}

fn plain(status: StatusCode, text: &'static str) -> Response {
    (status, text).into_response()
}

fn pem_file(pem: String) -> Response {
    let kind = (header::CONTENT_TYPE, "application/pem-certificate-chain");
    ([kind, (header::CACHE_CONTROL, CACHE)], pem).into_response()
}
