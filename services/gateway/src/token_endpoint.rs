//! The token road's first step: a certificate in, a token out (RFC 6749 section 5, RFC 8705 section 2).

use std::{sync::Arc, time::Duration};

use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE},
};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};
use signet_core::Lifetime;
use tokio::time::timeout;

use crate::{
    audit::Event,
    body::Body,
    caller::Caller,
    config::TokenConfig,
    metrics::Counted,
    refusal::Refusal,
    shared::{Live, Shared},
    tokens::{AccessClaims, GrantFault, check_grant},
};

const MAX_BODY: usize = 4096;
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of a token's id.
const ID: usize = 16;

/// Answers a request for a token.
pub(crate) async fn answer(
    shared: &Shared,
    caller: &Caller,
    (live, token): (&Live, &TokenConfig),
    request: Request<Incoming>,
    event: &mut Event,
) -> Result<Response<Body>, Refusal> {
    if request.method() != Method::POST {
        let mut response =
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", "POST only").response(false);
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return Ok(failed(event, shared, ("METHOD_NOT_ALLOWED", response)));
    }
    let subject = caller.subject.as_ref().ok_or_else(Refusal::no_certificate)?;
    live.limits.count(&subject.spiffe_id).map_err(|reached| Refusal::too_many(reached.whose, reached.seconds))?;
    let read = timeout(PATIENCE, Limited::new(request.into_body(), MAX_BODY).collect()).await;
    let Ok(Ok(body)) = read else {
        return Ok(failed(event, shared, ("TOKEN_REQUEST_INVALID", error(GrantFault("invalid_request")))));
    };
    if let Err(fault) = check_grant(&body.to_bytes(), subject) {
        return Ok(failed(event, shared, ("TOKEN_REQUEST_INVALID", error(fault))));
    }
    let permission: Arc<str> = token.permission.as_str().into();
    let decision = shared.authorizer.decide(&subject.question(&permission)).await;
    event.permission = Some(permission);
    if !decision.allowed {
        return Err(Refusal::of(&decision));
    }
    let mut id = [0; ID];
    shared.entropy.fill(&mut id);
    let lifetime = Lifetime::seconds(u32::try_from(token.lifetime.as_secs()).unwrap_or(u32::MAX));
    let now = shared.now();
    let claims = AccessClaims::of(subject, shared.names(token), (now, lifetime), &id);
    let seconds = claims.exp.saturating_sub(now.unix_seconds());
    let signed = shared.keys.sign_access_token(&claims).map_err(|error| {
        tracing::error!(%error, "a token was not signed");
        Refusal::upstream(StatusCode::SERVICE_UNAVAILABLE, "IDENTITY_UNSIGNED", "no token can be signed; try again")
    })?;
    shared.metrics.count(Counted::Tokens, "issued");
    event.detail = format!("jti {}", claims.jti);
    Ok(json_answer(StatusCode::OK, &json!({ "access_token": signed, "token_type": "Bearer", "expires_in": seconds })))
}

fn failed(event: &mut Event, shared: &Shared, (reason, response): (&str, Response<Body>)) -> Response<Body> {
    shared.metrics.count(Counted::Tokens, reason);
    (event.outcome, event.reason) = ("failure", reason.to_owned());
    response
}

fn error(fault: GrantFault) -> Response<Body> {
    let description =
        "send nothing, or grant_type=client_credentials and your own client_id, as a form of 4 KiB at most";
    let status = if fault.0 == "invalid_client" { StatusCode::UNAUTHORIZED } else { StatusCode::BAD_REQUEST };
    json_answer(status, &json!({ "error": fault.0, "error_description": description }))
}

/// RFC 6749 section 5.1: never to be kept by anything in between.
fn json_answer(status: StatusCode, value: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
