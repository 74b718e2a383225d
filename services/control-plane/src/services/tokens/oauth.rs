//! OAuth 2.0 over HTTPS: the token endpoint (RFC 6749 section 3.2) with mutual TLS (RFC 8705), and introspection (RFC
//! 7662). `proto/openapi/oauth.yaml` is the contract.

use std::sync::Arc;

use axum::{
    Extension, Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::{Value, json};
use signet_app::tokens::claims::AccessToken;
use signet_core::{Error, Identity};
use url::form_urlencoded;

use super::{
    mint::{Minted, Wanted, access_token, exchanged},
    standing::{Good, standing},
};
use crate::{
    authorization::oauth as paths,
    gate::Passed,
    node::Node,
    services::{api::Api, caller::Caller, wire},
};

/// Most bytes of a request.
const MAX_BODY: usize = 64 * 1024;
const CLIENT_CREDENTIALS: &str = "client_credentials";
const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

type Body = Result<Bytes, BytesRejection>;

/// For behind the gate.
pub(crate) fn router(node: &Arc<Node>) -> Router {
    Router::new()
        .route(paths::TOKEN, post(token))
        .route(paths::INTROSPECT, post(introspect))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(Api { node: Arc::clone(node) })
}

async fn token(
    State(api): State<Api>,
    Extension(passed): Extension<Passed>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let caller = Caller::new(&api.node, passed);
    let made = async { made(&api, &caller, &Form::read(&headers, &body)?).await };
    match made.await {
        Ok(answer) => uncached(StatusCode::OK, answer),
        Err(fault) => refused(&api, &caller, fault),
    }
}

async fn made(api: &Api, caller: &Caller, form: &Form) -> Result<Value, Fault> {
    require_client(&api.node, caller, form)?;
    match form.get("grant_type") {
        Some(CLIENT_CREDENTIALS) => Ok(answer(&access_token(&api.node, caller, wanted(form)?).await?)),
        Some(TOKEN_EXCHANGE) => exchange(api, caller, form).await,
        Some(_) => {
            Err(Fault::new("unsupported_grant_type", "this endpoint knows client_credentials and token-exchange"))
        }
        None => Err(Fault::new("invalid_request", "grant_type is required: client_credentials")),
    }
}

/// RFC 8693 section 2.1. The path's rule is that of client_credentials: this grant has one of its own.
async fn exchange(api: &Api, caller: &Caller, form: &Form) -> Result<Value, Fault> {
    let invalid = |text| Fault::new("invalid_request", text);
    if !matches!(form.get("subject_token_type"), Some(JWT | ID_TOKEN)) {
        return Err(invalid("subject_token_type must be that of a JWT or an ID token (RFC 8693 section 3)"));
    }
    if form.get("requested_token_type").is_some_and(|wanted| wanted != ACCESS_TOKEN)
        || form.get("actor_token").is_some()
    {
        return Err(invalid("access tokens alone are given, and the actor is the holder of the certificate"));
    }
    let token = form.get("subject_token").ok_or_else(|| invalid("subject_token is required"))?;
    let caller = caller.for_operation(&api.node, "/signet.v1.TokenService/ExchangeToken")?;
    let made = exchanged(&api.node, &caller, token.to_owned(), wanted(form)?).await?;
    let mut answer = answer(&made);
    if let Some(members) = answer.as_object_mut() {
        members.insert("issued_token_type".into(), ACCESS_TOKEN.into());
    }
    Ok(answer)
}

fn wanted(form: &Form) -> Result<Wanted, Fault> {
    // `resource` (RFC 8707) is a URI, `audience` (RFC 8693) is not; here they name the same.
    let audience = match (form.get("audience"), form.get("resource")) {
        (Some(one), None) | (None, Some(one)) => one.to_owned(),
        (None, None) => return Err(Fault::new("invalid_target", "audience is required: whom the token is for")),
        (Some(_), Some(_)) => return Err(Fault::new("invalid_target", "a token has one audience: leave out resource")),
    };
    let scopes = form.get("scope").unwrap_or_default().split(' ').filter(|scope| !scope.is_empty());
    Ok(Wanted { audience, scopes: scopes.map(str::to_owned).collect(), lifetime_seconds: 0 })
}

/// RFC 6749 section 5.1.
fn answer(Minted { token, claims }: &Minted<AccessToken>) -> Value {
    json!({
        "access_token": token,
        "token_type": "Bearer",
        "expires_in": claims.exp.saturating_sub(claims.iat),
        "scope": claims.scope,
    })
}

async fn introspect(
    State(api): State<Api>,
    Extension(passed): Extension<Passed>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let caller = Caller::new(&api.node, passed);
    let found = || {
        let form = Form::read(&headers, &body)?;
        require_client(&api.node, &caller, &form)?;
        let token = form.get("token").ok_or_else(|| Fault::new("invalid_request", "token is required"))?;
        let tenant = &caller.identity()?.tenant;
        Ok(standing(&api.node, tenant, token, caller.call.now))
    };
    match found() {
        Ok(Ok(good)) => uncached(StatusCode::OK, active(&good)),
        // Nothing more (RFC 7662 section 2.2).
        Ok(Err(_)) => uncached(StatusCode::OK, json!({ "active": false })),
        Err(fault) => refused(&api, &caller, fault),
    }
}

fn active(good: &Good) -> Value {
    let mut answer = serde_json::to_value(&good.claims).unwrap_or_default();
    if let Some(members) = answer.as_object_mut() {
        members.insert("active".into(), true.into());
        members.insert("token_type".into(), "Bearer".into());
    }
    answer
}

/// RFC 8705 section 2: with `tls_client_auth` the request names the client. A principal is a client by its id, or by
/// its SPIFFE ID.
fn require_client(node: &Node, caller: &Caller, form: &Form) -> Result<(), Fault> {
    let identity = caller.identity()?;
    if form.get("client_secret").is_some() || form.get("client_assertion").is_some() {
        return Err(Fault::new("invalid_request", "clients authenticate by their certificate alone"));
    }
    let named =
        form.get("client_id").ok_or_else(|| Fault::new("invalid_request", "client_id is required (RFC 8705)"))?;
    let Identity { tenant, principal_type, principal, .. } = &**identity;
    let is_caller = named == principal.as_str() || named == wire::spiffe_id(node, tenant, *principal_type, principal);
    if is_caller { Ok(()) } else { Err(Fault::new("invalid_client", "client_id is not the holder of the certificate")) }
}

/// A form (`application/x-www-form-urlencoded`) in which nothing is there twice.
struct Form(Vec<(String, String)>);

impl Form {
    fn read(headers: &HeaderMap, body: &Body) -> Result<Self, Fault> {
        let invalid = |text| Fault::new("invalid_request", text);
        let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(invalid("the body must be application/x-www-form-urlencoded"));
        }
        let body = body.as_ref().map_err(|_| invalid("the body is incomplete, or has more than 65536 bytes"))?;
        let fields: Vec<(String, String)> = form_urlencoded::parse(body).into_owned().collect();
        let is_twice = |at: usize, name: &str| fields.iter().skip(at.saturating_add(1)).any(|(other, _)| other == name);
        // RFC 6749 section 3.2. Quadratic, in few.
        if fields.len() > 64 || fields.iter().enumerate().any(|(at, (name, _))| is_twice(at, name)) {
            return Err(invalid("a parameter is there twice, or there are more than 64"));
        }
        Ok(Self(fields))
    }

    /// A parameter without a value counts as left out (RFC 6749 section 3.2).
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, value)| known == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }
}

/// Why a request is refused: as OAuth says, or as an operation did.
enum Fault {
    OAuth { error: &'static str, description: String },
    Failed(Error),
}

impl Fault {
    fn new(error: &'static str, description: impl Into<String>) -> Self {
        Self::OAuth { error, description: description.into() }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// RFC 6749 section 5.2, RFC 8707 section 2.
fn refused(api: &Api, caller: &Caller, fault: Fault) -> Response {
    let (error, description) = match fault {
        Fault::OAuth { error, description } => (error, description),
        Fault::Failed(failed) => {
            api.failed(&caller.call, caller.session.as_deref(), &failed);
            match &failed {
                Error::Invalid { reason: "UNKNOWN_AUDIENCE", .. } => ("invalid_target", failed.to_string()),
                Error::Invalid { reason: "SCOPE_NOT_GRANTED", .. } => ("invalid_scope", failed.to_string()),
                // RFC 8693 section 2.2.2.
                Error::Invalid { .. } | Error::ProofRefused { .. } => ("invalid_request", failed.to_string()),
                Error::Unauthenticated(_) => ("invalid_client", failed.to_string()),
                Error::Denied(_) => ("unauthorized_client", failed.to_string()),
                other => return signet_enroll_http::Problem::from(other).into_response(),
            }
        }
    };
    let status = if error == "invalid_client" { StatusCode::UNAUTHORIZED } else { StatusCode::BAD_REQUEST };
    uncached(status, json!({ "error": error, "error_description": plain(&description) }))
}

/// Only what RFC 6749 section 5.2 allows in a description.
fn plain(text: &str) -> String {
    let allowed = |c: char| (' '..='~').contains(&c) && c != '"' && c != '\\';
    text.chars().map(|c| if allowed(c) { c } else { '\'' }).collect()
}

/// RFC 6749 section 5.1.
fn uncached(status: StatusCode, answer: Value) -> Response {
    (status, [(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response()
}
