//! Errors as callers see them: one code each, `google.rpc.ErrorInfo` always, and what else helps to act.

use std::{collections::HashMap, time::Duration};

use axum::response::IntoResponse;
use http::StatusCode;
use signet_core::{
    Error, authorization::Denial, error::UNREADABLE_TO_STRANGERS, tenants::quota::OverQuota, trust::Refusal,
};
use signet_enroll_http::Problem;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::shares::{Budget, Full, TooMany, Whose};

/// The domain of our reasons in `google.rpc.ErrorInfo`.
pub const DOMAIN: &str = "signet";
/// When to try again what failed for a passing reason.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// An operation's error as a status. Causes stay in the log.
pub fn to_status(error: &Error) -> Status {
    to_correlated_status(error, None)
}

/// The same, with what the caller may name the call by (`google.rpc.RequestInfo`).
pub(crate) fn to_correlated_status(error: &Error, correlation_id: Option<&str>) -> Status {
    let mut details = ErrorDetails::with_error_info(error.reason(), DOMAIN, HashMap::new());
    if let Some(id) = correlation_id {
        details.set_request_info(id, "");
    }
    let (code, details) = match error {
        Error::Invalid { field, message, .. } => {
            let mut details = details;
            details.add_bad_request_violation(*field, message);
            (Code::InvalidArgument, details)
        }
        Error::NotFound { .. } => (Code::NotFound, details),
        Error::AlreadyExists { .. } => (Code::AlreadyExists, details),
        // No retry before somebody has mended it: that is what this code says.
        Error::Precondition { .. } | Error::Misconfigured { .. } => (Code::FailedPrecondition, details),
        Error::Exhausted { retry_after, .. } => {
            let mut details = details;
            details.set_retry_info(retry_after.map(|wait| Duration::from_secs(wait.as_seconds().into())));
            (Code::ResourceExhausted, details)
        }
        Error::OverQuota(over) => (Code::ResourceExhausted, over_quota(over, details)),
        Error::Denied(denial) => (denial_code(*denial), details),
        // No fault of the holder's: it keeps what it has and tries again.
        Error::Unauthenticated(Refusal::Stale | Refusal::TenantUnreadable) => (Code::Unavailable, retry(details)),
        Error::Unauthenticated(
            Refusal::NotYetValid
            | Refusal::Expired
            | Refusal::Revoked
            | Refusal::Unrecorded
            | Refusal::PrincipalDenied
            | Refusal::TenantSuspended
            | Refusal::UnknownTenant
            | Refusal::TenantReplaced
            | Refusal::IssuerRetired,
        )
        | Error::ProofRefused { .. } => (Code::Unauthenticated, details),
        Error::Conflict(_) => (Code::Aborted, retry(details)),
        Error::Unavailable { .. } | Error::Restoring { .. } => (Code::Unavailable, retry(details)),
        Error::Unreadable { .. } => (Code::DataLoss, details),
        Error::Internal { .. } => (Code::Internal, details),
    };
    let message = match error {
        // Who has no certificate is not told where what is kept, or of whom.
        Error::Unreadable { .. } if correlation_id.is_some() => UNREADABLE_TO_STRANGERS.to_owned(),
        _ => error.to_string(),
    };
    Status::with_error_details(code, message, details)
}

/// How much of how many, for programs.
fn over_quota(over: &OverQuota, mut details: ErrorDetails) -> ErrorDetails {
    let facts = [
        ("quota", over.quota.name().to_owned()),
        ("used", over.used.to_string()),
        ("limit", over.limit.to_string()),
        ("limit_of", "tenant".to_owned()),
    ];
    let metadata: HashMap<_, _> = facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    details.set_error_info(over.quota.reason(), DOMAIN, metadata);
    details.add_quota_failure_violation("tenant", over.to_string());
    details
}

/// Another tenant's resource does not exist, so that nobody learns of it.
fn denial_code(denial: Denial) -> Code {
    match denial {
        Denial::Anonymous => Code::Unauthenticated,
        Denial::ForeignTenant => Code::NotFound,
        Denial::CallerType | Denial::Permission | Denial::NotItself => Code::PermissionDenied,
    }
}

fn retry(mut details: ErrorDetails) -> ErrorDetails {
    details.set_retry_info(Some(RETRY_AFTER));
    details
}

/// A budget has no more for this caller: says which, whose limit it is and how much that is.
pub(crate) fn full(full: Full) -> Status {
    let (reason, what) = match (full.budget, full.whose) {
        (Budget::Calls | Budget::Refusals, Whose::Principal) => ("PRINCIPAL_BUSY", "concurrent calls"),
        (Budget::Calls | Budget::Refusals, Whose::Tenant) => ("TENANT_BUSY", "concurrent calls"),
        (Budget::Calls | Budget::Refusals, Whose::Node) => ("NODE_BUSY", "concurrent calls"),
        (Budget::Streams, _) => ("TOO_MANY_STREAMS", "open streams"),
        (Budget::Unread, _) => ("UNREAD_ANSWERS", "bytes of unread answers"),
    };
    let (whose, advice) = match full.whose {
        Whose::Principal => ("this principal", "close some, or wait for them"),
        Whose::Tenant => ("this tenant", "close some, or wait for them"),
        Whose::Node => ("this node", "try again"),
    };
    exhausted(reason, format!("{whose} is at its limit of {} {what}; {advice}", full.limit), full.whose, full.limit)
}

/// A caller's rate, or its tenant's, is spent.
pub(crate) fn too_many_calls(too_many: TooMany) -> Status {
    let whose = if too_many.whose == Whose::Tenant { "this tenant" } else { "this principal" };
    let message = format!("{whose} has exceeded {} calls a second; slow down", too_many.per_second);
    exhausted("TOO_MANY_CALLS", message, too_many.whose, too_many.per_second as usize)
}

fn exhausted(reason: &'static str, message: String, whose: Whose, limit: usize) -> Status {
    let subject = match whose {
        Whose::Principal => "principal",
        Whose::Tenant => "tenant",
        Whose::Node => "node",
    };
    let metadata =
        HashMap::from([("limit".to_owned(), limit.to_string()), ("limit_of".to_owned(), subject.to_owned())]);
    let mut details = retry(ErrorDetails::with_error_info(reason, DOMAIN, metadata));
    details.add_quota_failure_violation(subject, &message);
    Status::with_error_details(Code::ResourceExhausted, message, details)
}

/// A request's message did not follow its head in time; nothing was done.
pub(crate) fn request_incomplete() -> Status {
    let details = retry(ErrorDetails::with_error_info("REQUEST_INCOMPLETE", DOMAIN, HashMap::new()));
    let message = "the request's message did not arrive within 2 s of its headers; nothing was done, retry";
    Status::with_error_details(Code::Aborted, message, details)
}

/// No method of that name, to a caller that speaks gRPC.
pub(crate) fn no_such_method() -> Status {
    let details = ErrorDetails::with_error_info("NO_SUCH_METHOD", DOMAIN, HashMap::new());
    Status::with_error_details(Code::Unimplemented, "there is no such method; is this server older?", details)
}

/// A method of gRPC over HTTP/1.1, which has no trailers.
pub(crate) fn no_http2() -> Problem {
    let detail = "gRPC needs HTTP/2: ask for h2 by ALPN";
    Problem::new(StatusCode::HTTP_VERSION_NOT_SUPPORTED, "NO_HTTP2", detail)
}

/// HTTP/1.1 without a Host, or with several.
pub(crate) fn no_host() -> Problem {
    Problem::from(&Error::invalid("host", "REQUIRED", "is required, once"))
}

/// Nobody has told the node where its clients connect.
pub(crate) fn no_endpoint() -> Problem {
    let detail = "this node does not know its name: set probe.endpoint, or ask at the port of the API";
    Problem::new(StatusCode::NOT_FOUND, "NOT_FOUND", detail)
}

/// The node has no room for another call.
pub(crate) fn busy(what: &'static str, reason: &'static str) -> Status {
    let details = retry(ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new()));
    Status::with_error_details(Code::ResourceExhausted, what, details)
}

/// All places for calls without a certificate are taken, or the oldest one's was given to another.
pub(crate) fn strangers_full() -> Status {
    busy("this node is at its limit of calls without a certificate; retry", "ANONYMOUS_BUSY")
}

/// The server's own time limit for a call has passed; what became of it is not known.
pub(crate) fn timed_out() -> Status {
    let details = retry(ErrorDetails::with_error_info("TIMED_OUT", DOMAIN, HashMap::new()));
    let message = "the server's time limit for a call has passed; retry with the same request id";
    Status::with_error_details(Code::DeadlineExceeded, message, details)
}

/// What tonic makes of a request that cannot be read or was broken off (RST_STREAM's codes as gRPC maps them).
const OF_BROKEN_REQUESTS: [Code; 7] = [
    Code::Internal,
    Code::Unknown,
    Code::Unavailable,
    Code::Cancelled,
    Code::ResourceExhausted,
    Code::PermissionDenied,
    Code::OutOfRange,
];

/// What tonic refuses before an operation sees it (bytes that are no such message, none at all, a bad flag, a request
/// that was broken off) it calls INTERNAL, UNKNOWN, or as the caller's RST_STREAM says: it is the caller's fault, and
/// nothing to wake anybody for. Our own refusals come with details.
pub(crate) fn of_the_message(response: http::Response<tonic::body::Body>) -> http::Response<tonic::body::Body> {
    let headers = response.headers();
    let code = headers.get(Status::GRPC_STATUS).map(|code| Code::from_bytes(code.as_bytes()));
    let is_tonics = code.is_some_and(|code| OF_BROKEN_REQUESTS.contains(&code));
    if !is_tonics || headers.contains_key("grpc-status-details-bin") {
        return response;
    }
    let why = Status::from_header_map(headers).map(|status| status.message().to_owned()).unwrap_or_default();
    let details = ErrorDetails::with_error_info("INVALID_MESSAGE", DOMAIN, HashMap::new());
    let message = format!("the request cannot be read as the message that this method takes: {why}");
    Status::with_error_details(Code::InvalidArgument, message, details).into_http()
}

/// A refusal of the gate to a caller that speaks plain HTTP.
pub(crate) fn to_http(status: &Status) -> http::Response<tonic::body::Body> {
    let http_status = match status.code() {
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::Unauthenticated | Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unavailable | Code::DeadlineExceeded => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let reason = status.get_details_error_info().map_or_else(|| "INTERNAL".to_owned(), |info| info.reason);
    let problem = Problem::new(http_status, reason, status.message());
    let wait = status.get_details_retry_info().and_then(|info| info.retry_delay);
    let problem = match wait {
        Some(wait) => problem.retry_after(wait),
        None => problem,
    };
    problem.into_response().map(tonic::body::Body::new)
}

/// The code under which an HTTP answer is counted.
pub(crate) fn code_of(status: StatusCode) -> Code {
    match status {
        status if status.is_success() => Code::Ok,
        StatusCode::FORBIDDEN => Code::Unauthenticated,
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::CONFLICT => Code::FailedPrecondition,
        StatusCode::TOO_MANY_REQUESTS => Code::ResourceExhausted,
        StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
        status if status.is_client_error() => Code::InvalidArgument,
        _ => Code::Internal,
    }
}

/// The reason in trailers of [`ended`], of an end that is nobody's failure.
pub(crate) fn end_in(trailers: &http::HeaderMap) -> Option<&'static str> {
    use signet_mtls::Ended;
    let info = Status::from_header_map(trailers)?.get_details_error_info()?;
    let ends = [Ended::MaxAge, Ended::Drained, Ended::AnswerUnread, Ended::Closed].map(Ended::reason);
    ends.into_iter().find(|reason| *reason == info.reason)
}

/// A session that ended while a stream was open.
pub(crate) fn ended(ended: signet_mtls::Ended) -> Status {
    let details = ErrorDetails::with_error_info(ended.reason(), DOMAIN, HashMap::new());
    match ended {
        signet_mtls::Ended::Refused(refusal) => to_status(&Error::Unauthenticated(refusal)),
        signet_mtls::Ended::MaxAge
        | signet_mtls::Ended::Drained
        | signet_mtls::Ended::AnswerUnread
        | signet_mtls::Ended::Closed => {
            Status::with_error_details(Code::Unavailable, "the connection is closing; reconnect", retry(details))
        }
    }
}

#[cfg(test)]
mod tests {
    use signet_core::Lifetime;

    use super::*;

    #[test]
    fn a_limit_that_time_lifts_says_when() {
        let wait = |retry_after| {
            let limit = Error::Exhausted { reason: "A_LIMIT", message: "full".into(), retry_after };
            to_status(&limit).get_details_retry_info().and_then(|info| info.retry_delay)
        };
        assert_eq!(wait(Some(Lifetime::seconds(7))), Some(Duration::from_secs(7)));
        assert_eq!(wait(None), None);
    }

    #[test]
    fn strangers_are_told_no_place_in_the_store() {
        let damaged = Error::Unreadable { key: "principals/system#alice/principal".into(), also: "" };
        assert!(to_status(&damaged).message().contains("alice"), "who has a certificate is told");
        let told = to_correlated_status(&damaged, Some("an-id"));
        assert!(!told.message().contains("alice") && told.code() == Code::DataLoss, "{told:?}");
    }
}
