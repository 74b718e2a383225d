//! One function per path: count, read, check, call the operation, answer.

use std::sync::Arc;

use axum::{
    Extension, Json,
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::de::DeserializeOwned;
use signet_app::{
    Call, IssuedLeaf,
    enrollment::{self, out_of_band},
};
use signet_core::{Actor, Error, RequestId, Time};

use crate::{EnrollmentApi, Origin, Problem, wire};

type Body = Result<Bytes, BytesRejection>;

/// `POST /v1/enroll`
pub(crate) async fn enroll(
    State(enrollment): State<Arc<EnrollmentApi>>,
    Extension(origin): Extension<Origin>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let issued = async {
        let request = accept::<wire::EnrollRequest>(&enrollment, &origin, &headers, body)?;
        let (request_id, input) = request.check()?;
        let call = call("Enroll", (enrollment.clock)(), request_id, &origin);
        Ok(enrollment::enroll(&enrollment.app, &call, input).await?)
    };
    answer(&enrollment, &origin, "Enroll", issued.await)
}

/// `POST /v1/renew`
pub(crate) async fn renew(
    State(enrollment): State<Arc<EnrollmentApi>>,
    Extension(origin): Extension<Origin>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let issued = async {
        let request = accept::<wire::RenewRequest>(&enrollment, &origin, &headers, body)?;
        let (request_id, input) = request.check()?;
        let call = call("RenewOutOfBand", (enrollment.clock)(), request_id, &origin);
        Ok(out_of_band::renew_out_of_band(&enrollment.app, &call, &input).await?)
    };
    answer(&enrollment, &origin, "RenewOutOfBand", issued.await)
}

/// Any other method.
pub(crate) async fn wrong_method() -> Response {
    let detail = "this path accepts only POST";
    let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", detail);
    ([(header::ALLOW, "POST")], problem).into_response()
}

/// Why a call has no certificate to answer with.
enum Failure {
    /// The operation, or its input.
    Operation(Error),
    /// What came before it.
    Problem(Problem),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Operation(error)
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

/// Counts the call and reads its body.
fn accept<T: DeserializeOwned>(
    enrollment: &EnrollmentApi,
    origin: &Origin,
    headers: &HeaderMap,
    body: Body,
) -> Result<T, Failure> {
    enrollment.limits.as_ref().map_or(Ok(()), |limits| limits.call(origin.source))?;
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        let detail = "the content type must be application/json";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", detail).into());
    }
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "TOO_LARGE", "the request must have at most 65536 bytes")
        }
        _ => Problem::new(StatusCode::BAD_REQUEST, "REQUEST_INCOMPLETE", "the request's body is incomplete"),
    })?;
    Ok(wire::read(&body)?)
}

fn call(operation: &'static str, now: Time, request_id: RequestId, origin: &Origin) -> Call {
    Call {
        operation,
        now,
        actor: Actor::Anonymous,
        request_id: Some(request_id),
        source: Some(origin.source),
        correlation_id: Some(origin.correlation_id.clone()),
    }
}

fn answer(
    enrollment: &EnrollmentApi,
    origin: &Origin,
    operation: &'static str,
    issued: Result<IssuedLeaf, Failure>,
) -> Response {
    let correlation_id = &origin.correlation_id;
    let problem = match issued {
        Ok(leaf) => {
            let certificate = &leaf.certificate;
            tracing::info!(
                operation, correlation_id, tenant.id = %certificate.tenant, principal = %certificate.principal,
                cert.serial = %certificate.serial, "released a certificate"
            );
            let headers = [(header::CACHE_CONTROL, "no-store")];
            return (headers, Json(wire::Issued::new(&enrollment.app, &leaf))).into_response();
        }
        Err(Failure::Problem(problem)) => problem,
        Err(Failure::Operation(error)) => {
            log(operation, correlation_id, &error);
            Problem::from(&error).in_json()
        }
    };
    let (status, reason, source) = (problem.status().as_u16(), problem.reason(), origin.source);
    tracing::info!(operation, correlation_id, status, reason, %source, "no certificate");
    problem.correlated(correlation_id).into_response()
}

/// What the caller is not told.
fn log(operation: &str, correlation_id: &str, error: &Error) {
    match error {
        Error::Internal { cause } => tracing::error!(operation, correlation_id, cause, "internal error"),
        Error::Unreadable { .. } => tracing::error!(operation, correlation_id, %error, "a record cannot be read"),
        Error::Unavailable { what, cause } => {
            tracing::warn!(operation, correlation_id, what, cause, "not available");
        }
        Error::Restoring { cause } => tracing::warn!(operation, correlation_id, cause, "the store is being restored"),
        Error::ProofRefused { reason } => tracing::info!(operation, correlation_id, reason, "a proof was refused"),
        other => signet_app::tell_operator(operation, other),
    }
}
