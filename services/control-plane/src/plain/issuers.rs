//! What verifiers of tokens ask for: a tenant's public keys (RFC 7517) and metadata (RFC 8414, OpenID Connect Discovery
//! 1.0, OpenID Shared Signals Framework 1.0). Out of memory, at the public port and, without a certificate, at the mTLS
//! port.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};
use signet_core::{
    Error, TenantId, Time,
    audit::sha256_hex,
    tokens::{TokenAlgorithm, TokenKey, TokenUse, kept},
};
use signet_enroll_http::Problem;
use signet_jwt::{PublicKey, Use};

use super::caching::is_known;
use crate::{
    authorization::{issuers as paths, oauth, security_events},
    node::Node,
};

/// A small part of the time for which a key is published before it signs: who replaces one at once waits no longer.
const CACHE: &str = "public, max-age=300";

/// For both ports.
pub(crate) fn router(node: &Arc<Node>) -> Router {
    Router::new()
        .route(paths::KEYS, get(access_keys))
        .route(paths::EVENT_KEYS, get(event_keys))
        .route(paths::BROKER_KEYS, get(broker_keys))
        .route(paths::OAUTH, get(oauth_metadata))
        .route(paths::SSF, get(ssf_metadata))
        .route(paths::SVID_KEYS, get(svid_keys))
        .route(paths::SVID_OPENID, get(svid_openid))
        .with_state(Arc::clone(node))
}

async fn access_keys(State(node): State<Arc<Node>>, Path(tenant): Path<String>, asked: HeaderMap) -> Response {
    key_set(&node, &tenant, TokenUse::AccessToken, &asked)
}

async fn svid_keys(State(node): State<Arc<Node>>, Path(tenant): Path<String>, asked: HeaderMap) -> Response {
    key_set(&node, &tenant, TokenUse::JwtSvid, &asked)
}

async fn broker_keys(State(node): State<Arc<Node>>, Path(tenant): Path<String>, asked: HeaderMap) -> Response {
    key_set(&node, &tenant, TokenUse::BrokerToken, &asked)
}

async fn event_keys(State(node): State<Arc<Node>>, Path(tenant): Path<String>, asked: HeaderMap) -> Response {
    key_set(&node, &tenant, TokenUse::SecurityEvent, &asked)
}

/// OpenID Shared Signals Framework 1.0 section 7.1. A stream is made by the first poll: there is nothing to manage.
async fn ssf_metadata(State(node): State<Arc<Node>>, Path(tenant): Path<String>) -> Response {
    metadata(&node, &tenant, |node, tenant| {
        let issuer = node.issuer.of(tenant)?;
        Ok(json!({
            "spec_version": "1_0",
            "issuer": issuer,
            "jwks_uri": format!("{issuer}/security-events/jwks.json"),
            "delivery_methods_supported": ["urn:ietf:rfc:8936"],
            "authorization_schemes": [{ "spec_urn": "urn:ietf:rfc:8705" }],
            "critical_subject_members": ["user", "session"],
            "default_subjects": "ALL",
            // Of ours: the standard has it in a stream's configuration alone.
            "poll_endpoint": node.issuer.endpoint(security_events::POLL)?,
        }))
    })
}

async fn oauth_metadata(State(node): State<Arc<Node>>, Path(tenant): Path<String>) -> Response {
    metadata(&node, &tenant, |node, tenant| {
        let issuer = node.issuer.of(tenant)?;
        let at = |path: &str| node.issuer.endpoint(path);
        let (token, introspection) = (at(oauth::TOKEN)?, at(oauth::INTROSPECT)?);
        Ok(json!({
            "issuer": issuer,
            "token_endpoint": token,
            "introspection_endpoint": introspection,
            "jwks_uri": format!("{issuer}/jwks.json"),
            // Without this the default would be flows that end users go through (RFC 8414 section 2). A list must not
            // be empty (section 3.2).
            "grant_types_supported": ["client_credentials", "urn:ietf:params:oauth:grant-type:token-exchange"],
            "response_types_supported": ["none"],
            "token_endpoint_auth_methods_supported": ["tls_client_auth"],
            "introspection_endpoint_auth_methods_supported": ["tls_client_auth"],
            "tls_client_certificate_bound_access_tokens": true,
            "mtls_endpoint_aliases": { "token_endpoint": token, "introspection_endpoint": introspection },
        }))
    })
}

async fn svid_openid(State(node): State<Arc<Node>>, Path(tenant): Path<String>) -> Response {
    metadata(&node, &tenant, openid)
}

/// For those who take an OpenID provider, as clouds do; not of access tokens, which must not pass for ID tokens. There
/// is nobody to send a user to: no `authorization_endpoint`.
fn openid(node: &Node, tenant: &TenantId) -> Result<Value, Error> {
    let issuer = node.issuer.of_svids(tenant)?;
    let mut algorithms: Vec<&str> = keys(node, tenant, TokenUse::JwtSvid, node.now()).iter().map(algorithm).collect();
    algorithms.push("ES256");
    algorithms.sort_unstable();
    algorithms.dedup();
    Ok(json!({
        "issuer": issuer,
        "jwks_uri": format!("{issuer}/jwks.json"),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": algorithms,
        "claims_supported": ["iss", "sub", "aud", "iat", "exp", "jti"],
    }))
}

fn metadata(node: &Node, tenant: &str, of: impl Fn(&Node, &TenantId) -> Result<Value, Error>) -> Response {
    let Some(tenant) = known(node, tenant) else { return unknown() };
    match of(node, &tenant) {
        Ok(value) => ([(header::CACHE_CONTROL, CACHE)], Json(value)).into_response(),
        Err(error) => Problem::from(&error).into_response(),
    }
}

fn key_set(node: &Node, tenant: &str, for_use: TokenUse, asked: &HeaderMap) -> Response {
    let Some(tenant) = known(node, tenant) else { return unknown() };
    let keys = keys(node, &tenant, for_use, node.now());
    let body = json!({ "keys": published(&keys, Use::Signature) }).to_string();
    // The first key signs at once: nobody may keep a set without it.
    let cache = if keys.is_empty() { "no-store" } else { CACHE };
    let tag = format!("\"{}\"", sha256_hex(body.as_bytes()).get(..32).unwrap_or_default());
    let caching = [(header::ETAG, tag.clone()), (header::CACHE_CONTROL, cache.to_owned())];
    if is_known(asked, &tag) {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    (caching, [(header::CONTENT_TYPE, "application/jwk-set+json")], body).into_response()
}

/// Those that are published now.
pub(crate) fn keys(node: &Node, tenant: &TenantId, for_use: TokenUse, now: Time) -> Vec<TokenKey> {
    node.trust.token_keys(tenant, for_use).map(|of| kept(for_use, &of.keys, now)).unwrap_or_default()
}

/// As JWKs. One that cannot be read is left out: nothing that it signed is taken.
pub(crate) fn published(keys: &[TokenKey], for_use: Use) -> Vec<Value> {
    let public = keys.iter().filter_map(|key| PublicKey::from_spki(&key.spki_der).ok());
    public.map(|key| key.published(for_use)).collect()
}

const fn algorithm(key: &TokenKey) -> &'static str {
    match key.algorithm {
        TokenAlgorithm::Es256 => "ES256",
        TokenAlgorithm::Rs256 => "RS256",
    }
}

/// A tenant that is there, as its bundle is.
fn known(node: &Node, tenant: &str) -> Option<TenantId> {
    let tenant = tenant.parse().ok()?;
    node.trust.tenant(&tenant).filter(|_| !node.trust.is_purged(&tenant)).map(|_| tenant)
}

fn unknown() -> Response {
    let problem = Problem::new(StatusCode::NOT_FOUND, "NOT_FOUND", "there is no such tenant");
    problem.into_response()
}
