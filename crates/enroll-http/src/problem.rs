//! Errors as RFC 9457 problem details.

use std::{borrow::Cow, time::Duration};

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use signet_core::{Error, authorization::Denial, error::UNREADABLE_TO_STRANGERS, trust::Refusal};

/// The media type of errors (RFC 9457 section 6.1).
pub const PROBLEM_JSON: &str = "application/problem+json";

/// When to try again what failed for a passing reason; callers add jitter of their own.
const SOON: Duration = Duration::from_secs(1);
/// The same where somebody else (store, KMS, STS, an issuer) is slow or away.
const LATER: Duration = Duration::from_secs(5);

/// What went wrong, for the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    reason: Cow<'static, str>,
    detail: String,
    field: Option<&'static str>,
    retry_after: Option<Duration>,
    correlation_id: Option<String>,
}

/// RFC 9457 section 3.1, and three members of ours.
#[derive(Serialize)]
struct Members<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<&'a str>,
}

impl Problem {
    /// `reason` is for programs, UPPER_SNAKE_CASE, as in `google.rpc.ErrorInfo`.
    pub fn new(status: StatusCode, reason: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self {
            status,
            reason: reason.into(),
            detail: detail.into(),
            field: None,
            retry_after: None,
            correlation_id: None,
        }
    }

    /// With `Retry-After`, in whole seconds, at least one.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..self }
    }

    /// With what the caller may name the call by.
    #[must_use]
    pub fn correlated(self, id: &str) -> Self {
        Self { correlation_id: Some(id.to_owned()), ..self }
    }

    /// The caller calls too often.
    pub fn too_many(detail: &'static str, wait: Duration) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_CALLS", detail).retry_after(wait)
    }

    /// Somebody that is needed has no time.
    pub fn unavailable(reason: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, reason, detail).retry_after(LATER)
    }

    /// Our time limit has passed; the same request id makes a repetition safe.
    pub fn timed_out() -> Self {
        let detail = "the server's time limit for a call has passed; retry with the same request_id";
        Self::unavailable("TIMED_OUT", detail)
    }

    /// With fields named as the JSON has them, not as the operations do.
    pub(crate) fn in_json(self) -> Self {
        let field = self.field.map(|field| match field {
            "csr_der" => "csr_pem",
            "signed_at" => "sign_time",
            "aws_iam" => "proof.aws_iam",
            "oidc_token" => "proof.oidc_token",
            "x509" => "proof.x509",
            other => other,
        });
        Self { field, ..self }
    }

    /// The answer's status.
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// For programs and logs.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl From<&Error> for Problem {
    fn from(error: &Error) -> Self {
        let status = match error {
            Error::Invalid { .. } => StatusCode::BAD_REQUEST,
            Error::NotFound { .. } | Error::Denied(Denial::ForeignTenant) => StatusCode::NOT_FOUND,
            Error::AlreadyExists { .. }
            | Error::Precondition { .. }
            | Error::Exhausted { .. }
            | Error::OverQuota(_) => StatusCode::CONFLICT,
            Error::Unauthenticated(Refusal::Stale | Refusal::TenantUnreadable)
            | Error::Conflict(_)
            | Error::Unavailable { .. }
            | Error::Restoring { .. } => StatusCode::SERVICE_UNAVAILABLE,
            // Not 401, which must name a scheme to authenticate by (RFC 9110 section 11.6.1).
            Error::Denied(_) | Error::Unauthenticated(_) | Error::ProofRefused { .. } => StatusCode::FORBIDDEN,
            Error::Misconfigured { .. } | Error::Unreadable { .. } | Error::Internal { .. } => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        let problem = Self::new(status, error.reason(), error.to_string());
        match error {
            Error::Invalid { field, message, .. } => Self { field: Some(field), detail: message.clone(), ..problem },
            Error::Exhausted { retry_after: Some(wait), .. } => {
                let problem = Self { status: StatusCode::TOO_MANY_REQUESTS, ..problem };
                problem.retry_after(Duration::from_secs(wait.as_seconds().into()))
            }
            Error::Conflict(_) | Error::Unauthenticated(Refusal::Stale | Refusal::TenantUnreadable) => {
                problem.retry_after(SOON)
            }
            Error::Unavailable { .. } | Error::Restoring { .. } => problem.retry_after(LATER),
            Error::Unreadable { .. } => Self { detail: UNREADABLE_TO_STRANGERS.to_owned(), ..problem },
            _ => problem,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let members = Members {
            r#type: format!("urn:signet:problem:{}", self.reason),
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
            reason: &self.reason,
            field: self.field,
            correlation_id: self.correlation_id.as_deref(),
        };
        let mut response = (self.status, Json(members)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use signet_core::Lifetime;

    use super::*;

    #[test]
    fn a_limit_that_time_lifts_says_when_and_one_that_it_does_not_is_a_conflict() {
        let limit = |retry_after| Error::Exhausted { reason: "A_LIMIT", message: "full".into(), retry_after };
        let passing = Problem::from(&limit(Some(Lifetime::seconds(7)))).into_response();
        assert_eq!(passing.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(passing.headers()["retry-after"], "7");
        let lasting = Problem::from(&limit(None)).into_response();
        assert_eq!((lasting.status(), lasting.headers().get("retry-after")), (StatusCode::CONFLICT, None));
    }
}
