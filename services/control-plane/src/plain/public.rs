//! What anybody may ask over plain HTTP: is the node alive, is it ready, what does it trust. All out of memory.
//!
//! Whoever reaches this port can try the names of tenants: a bundle is public, so that it is there or not says whether
//! the tenant is. Names of tenants are no secrets; those who want them hidden keep this listener to their own network.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use signet_app::{BUNDLE_REFRESH, LAST_SEQUENCE, bundle_sequence};
use signet_core::TenantId;
use signet_x509::{
    bundle::{to_pem, to_spiffe_json},
    server_anchors,
};

use crate::{bundles::Bundle, node::Node};

/// How long caches may keep bundles; a new CA is published long before it signs.
const CACHE: &str = "public, max-age=60";

/// Health and public material.
pub(super) fn router(node: Arc<Node>) -> Router {
    Router::new()
        .route("/v1/ca.pem", get(ca_pem))
        .route("/v1/server-anchor.pem", get(server_anchor_pem))
        .route("/v1/tenants/{tenant}/bundle.pem", get(bundle_pem))
        .route("/v1/tenants/{tenant}/bundle.json", get(bundle_json))
        .with_state(Arc::clone(&node))
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
    let anchors = bundle.anchors.iter().map(|anchor| &*anchor.certificate_der);
    let is_last = node.trust.is_purged(&bundle.tenant);
    let sequence =
        if is_last { LAST_SEQUENCE } else { bundle_sequence(bundle.anchors.iter().map(|anchor| &anchor.ca)) };
    match to_spiffe_json(anchors, sequence, BUNDLE_REFRESH) {
        Ok(json) => {
            ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, CACHE)], json).into_response()
        }
        Err(error) => {
            tracing::error!(%error, tenant.id = %bundle.tenant, "a CA certificate on record cannot be read");
            plain(StatusCode::INTERNAL_SERVER_ERROR, "internal error\n")
        }
    }
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
