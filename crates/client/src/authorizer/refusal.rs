//! How a refused caller is told.

use std::collections::HashMap;

use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{CONTENT_TYPE, WWW_AUTHENTICATE},
};
use hyper::body::Bytes;
use serde_json::json;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::question::AccessAnswer;

/// How the reasons begin that an access token is refused for.
const TOKEN: &str = "ACCESS_TOKEN_";
const TOKEN_REQUIRED: &str = "ACCESS_TOKEN_REQUIRED";

/// What a caller with an access token may do about it (RFC 6750 section 3).
pub(super) fn challenge(decision: &AccessAnswer, headers: &mut HeaderMap) {
    let challenge = match decision.reason.as_str() {
        TOKEN_REQUIRED => "Bearer",
        token if token.starts_with(TOKEN) => "Bearer error=\"invalid_token\"",
        "SCOPE_MISSING" => "Bearer error=\"insufficient_scope\"",
        _ => return,
    };
    headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
}

/// As gRPC's status.
pub(super) fn status(decision: &AccessAnswer) -> Status {
    let code = match http_status(decision) {
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
        StatusCode::TOO_MANY_REQUESTS => Code::ResourceExhausted,
        _ => Code::PermissionDenied,
    };
    let details = ErrorDetails::with_error_info(&decision.reason, "signet", HashMap::<String, String>::new());
    Status::with_error_details(code, message(decision), details)
}

fn http_status(decision: &AccessAnswer) -> StatusCode {
    match decision.reason.as_str() {
        "CERTIFICATE_REQUIRED" => StatusCode::UNAUTHORIZED,
        token if token.starts_with(TOKEN) => StatusCode::UNAUTHORIZED,
        _ if decision.is_unavailable() => StatusCode::SERVICE_UNAVAILABLE,
        _ if decision.is_too_many() => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::FORBIDDEN,
    }
}

fn message(decision: &AccessAnswer) -> String {
    match decision.reason.as_str() {
        "CERTIFICATE_REQUIRED" => "a client certificate is needed".to_owned(),
        TOKEN_REQUIRED => "an access token is needed: Authorization: Bearer".to_owned(),
        "ACCESS_TOKEN_NOT_BOUND" => {
            "the access token is bound to another certificate than this connection's".to_owned()
        }
        _ if decision.is_unavailable() => format!("nobody can decide now ({}); retry", decision.detail),
        _ if decision.is_too_many() => "the caller asks too many different things; retry in a second".to_owned(),
        reason => format!("the caller may not do this ({reason})"),
    }
}

/// As an HTTP answer with a problem.
pub(super) fn problem<B: From<Bytes>>(decision: &AccessAnswer) -> Response<B> {
    let status = http_status(decision);
    let problem = json!({ "title": message(decision), "status": status.as_u16(), "reason": decision.reason });
    let mut response = Response::new(B::from(Bytes::from(problem.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}
