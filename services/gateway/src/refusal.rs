//! What clients are told that are not let through: a problem (RFC 9457), or a status of gRPC.

use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde_json::json;
use signet_client::AccessAnswer;

use crate::body::Body;

/// A refusal.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    /// UPPER_SNAKE_CASE.
    pub(crate) reason: String,
    /// For people.
    pub(crate) title: String,
    /// RFC 6750 section 3: why a token is not taken, or that one is needed.
    challenge: Option<&'static str>,
    /// In seconds.
    retry_after: Option<u64>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, reason: &str, title: impl Into<String>) -> Self {
        Self { status, reason: reason.to_owned(), title: title.into(), challenge: None, retry_after: None }
    }

    /// The request could be read in two ways, or not at all.
    pub(crate) fn ambiguous(fault: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "AMBIGUOUS_REQUEST", fault)
    }

    pub(crate) fn no_route() -> Self {
        Self::new(StatusCode::NOT_FOUND, "ROUTE_NOT_FOUND", "nothing is served here")
    }

    pub(crate) fn no_certificate() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "CERTIFICATE_REQUIRED", "a client certificate is needed")
    }

    pub(crate) fn no_token() -> Self {
        let title = "a token is needed; get one with your certificate";
        let refusal = Self::new(StatusCode::UNAUTHORIZED, "ACCESS_TOKEN_REQUIRED", title);
        Self { challenge: Some("Bearer"), ..refusal }
    }

    /// Why is for the audit log.
    pub(crate) fn bad_token() -> Self {
        let title = "the token is not taken; get another one with your certificate";
        let refusal = Self::new(StatusCode::UNAUTHORIZED, "ACCESS_TOKEN_REFUSED", title);
        Self { challenge: Some("Bearer error=\"invalid_token\""), ..refusal }
    }

    pub(crate) fn too_many(title: &str, retry_after: u64) -> Self {
        let refusal = Self::new(StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_CALLS", title);
        Self { retry_after: Some(retry_after), ..refusal }
    }

    pub(crate) fn upstream(status: StatusCode, reason: &str, title: &str) -> Self {
        let refusal = Self::new(status, reason, title);
        Self { retry_after: (status == StatusCode::SERVICE_UNAVAILABLE).then_some(1), ..refusal }
    }

    /// As the control plane decided, or could not.
    pub(crate) fn of(answer: &AccessAnswer) -> Self {
        let (status, title) = match () {
            () if answer.is_unavailable() => {
                (StatusCode::SERVICE_UNAVAILABLE, "nobody can decide now; try again".to_owned())
            }
            () if answer.is_too_many() => {
                (StatusCode::TOO_MANY_REQUESTS, "you ask for too many different things".into())
            }
            () => (StatusCode::FORBIDDEN, format!("you may not do this ({})", answer.reason)),
        };
        let retry_after = (status != StatusCode::FORBIDDEN).then_some(1);
        Self { retry_after, ..Self::new(status, &answer.reason, title) }
    }

    pub(crate) fn response(&self, grpc: bool) -> Response<Body> {
        if grpc { self.status_of_grpc() } else { self.problem() }
    }

    fn problem(&self) -> Response<Body> {
        let problem = json!({ "title": self.title, "status": self.status.as_u16(), "reason": self.reason });
        let mut response = Response::new(Body::from(problem.to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(challenge) = self.challenge {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        response
    }

    fn status_of_grpc(&self) -> Response<Body> {
        let mut response = Response::new(Body::default());
        *response.headers_mut() = self.trailers();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        response
    }

    /// What ends a stream of gRPC.
    pub(crate) fn trailers(&self) -> HeaderMap {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", self.grpc_code().into());
        let message = format!("{}: {}", self.reason, self.title);
        // Ours are ASCII; others' reasons might not be.
        if let Ok(message) = HeaderValue::try_from(message) {
            trailers.insert("grpc-message", message);
        }
        trailers
    }

    /// As gRPC maps HTTP's statuses, except that 400 and 404 say what they are.
    fn grpc_code(&self) -> u16 {
        match self.status {
            StatusCode::BAD_REQUEST => 3,
            StatusCode::UNAUTHORIZED => 16,
            StatusCode::FORBIDDEN => 7,
            StatusCode::NOT_FOUND => 12,
            StatusCode::TOO_MANY_REQUESTS => 8,
            StatusCode::GATEWAY_TIMEOUT => 4,
            _ => 14,
        }
    }
}
