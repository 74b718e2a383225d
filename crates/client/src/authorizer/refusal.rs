//! How a refused caller is told.

use std::collections::HashMap;

use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use hyper::body::Bytes;
use serde_json::json;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::question::AccessAnswer;

/// As gRPC's status.
pub(super) fn status(decision: &AccessAnswer) -> Status {
    let code = match http_status(decision) {
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
        _ => Code::PermissionDenied,
    };
    let details = ErrorDetails::with_error_info(&decision.reason, "signet", HashMap::<String, String>::new());
    Status::with_error_details(code, message(decision), details)
}

fn http_status(decision: &AccessAnswer) -> StatusCode {
    match decision.reason.as_str() {
        "CERTIFICATE_REQUIRED" => StatusCode::UNAUTHORIZED,
        _ if decision.is_unavailable() => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::FORBIDDEN,
    }
}

fn message(decision: &AccessAnswer) -> String {
    match decision.reason.as_str() {
        "CERTIFICATE_REQUIRED" => "a client certificate is needed".to_owned(),
        _ if decision.is_unavailable() => format!("nobody can decide now ({}); retry", decision.detail),
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
