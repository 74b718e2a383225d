//! A tower layer before a service: whoever calls needs a permission.

use std::{
    collections::HashMap,
    sync::Arc,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use http::{HeaderValue, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body::Body;
use hyper::body::Bytes;
use serde_json::json;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};
use tower::{BoxError, Layer, Service};

use super::{
    Authorizer,
    guarded::Guarded,
    question::{Decision, Question},
};
use crate::peer::Peer;

/// Lets those calls through whose peer has a permission at that moment, and ends their streams when it has it no more.
///
/// For tonic and axum, over connections of [`crate::serve`], which leaves an `Arc<Peer>` in each request. Whoever is
/// refused is told the reason: gRPC callers by a status with `google.rpc.ErrorInfo`, others by a problem (RFC 9457).
#[derive(Clone, Debug)]
pub struct Require {
    authorizer: Authorizer,
    needs: Arc<Needs>,
}

#[derive(Debug)]
enum Needs {
    Permission(Arc<str>),
    ByPath(HashMap<String, Arc<str>>),
}

impl Authorizer {
    /// Every call needs `permission`, e.g. `jobs:submit`.
    pub fn require(&self, permission: &str) -> Require {
        Require { authorizer: self.clone(), needs: Arc::new(Needs::Permission(permission.into())) }
    }

    /// A call needs the permission of its path, e.g. `/jobs.v1.JobService/SubmitJob`; a path that is not named is
    /// refused.
    pub fn require_by_path<'a>(&self, permissions: impl IntoIterator<Item = (&'a str, &'a str)>) -> Require {
        let permissions = permissions.into_iter().map(|(path, permission)| (path.to_owned(), permission.into()));
        Require { authorizer: self.clone(), needs: Arc::new(Needs::ByPath(permissions.collect())) }
    }
}

impl<S> Layer<S> for Require {
    type Service = Required<S>;
    fn layer(&self, inner: S) -> Required<S> {
        Required { require: self.clone(), inner }
    }
}

/// A service behind [`Require`].
#[derive(Clone, Debug)]
pub struct Required<S> {
    require: Require,
    inner: S,
}

impl<S, B, RB> Service<Request<B>> for Required<S>
where
    S: Service<Request<B>, Response = Response<RB>, Future: Send> + Clone + Send + 'static,
    B: Send + 'static,
    RB: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    type Response = Response<Guarded<RB>>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // The one that is ready goes, its clone stays.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        let grpc =
            request.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
        let permission = match &*self.require.needs {
            Needs::Permission(permission) => Some(Arc::clone(permission)),
            Needs::ByPath(permissions) => permissions.get(request.uri().path()).cloned(),
        };
        let authorizer = self.require.authorizer.clone();
        Box::pin(async move {
            let Some(permission) = permission else {
                return Ok(refused(&Decision::denied("UNKNOWN_PERMISSION"), grpc));
            };
            let Some(peer) = request.extensions().get::<Arc<Peer>>().map(Arc::clone) else {
                return Ok(refused(&Decision::denied("CERTIFICATE_REQUIRED"), grpc));
            };
            let (decision, guard) = match authorizer.admit(Question::new(peer.certificate.clone(), permission)).await {
                Ok(admitted) => admitted,
                Err(decision) => return Ok(refused(&decision, grpc)),
            };
            request.extensions_mut().insert(decision);
            let answer = inner.call(request);
            tokio::select! {
                biased;
                () = guard.end().cancelled() => Ok(refused(&guard.why(), grpc)),
                answer = answer => Ok(answer?.map(|body| Guarded::passed(body, guard, grpc))),
            }
        })
    }
}

/// As gRPC's status.
pub(super) fn status(decision: &Decision) -> Status {
    let code = match http_status(decision) {
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
        _ => Code::PermissionDenied,
    };
    let details = ErrorDetails::with_error_info(&decision.reason, "signet", HashMap::<String, String>::new());
    Status::with_error_details(code, message(decision), details)
}

fn http_status(decision: &Decision) -> StatusCode {
    match decision.reason.as_str() {
        "CERTIFICATE_REQUIRED" => StatusCode::UNAUTHORIZED,
        _ if decision.is_unavailable() => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::FORBIDDEN,
    }
}

fn message(decision: &Decision) -> String {
    match decision.reason.as_str() {
        "CERTIFICATE_REQUIRED" => "a client certificate is needed".to_owned(),
        _ if decision.is_unavailable() => format!("nobody can decide now ({}); retry", decision.detail),
        reason => format!("the caller may not do this ({reason})"),
    }
}

fn refused<B>(decision: &Decision, grpc: bool) -> Response<Guarded<B>> {
    if grpc {
        return status(decision).into_http();
    }
    let status = http_status(decision);
    let problem = json!({ "title": message(decision), "status": status.as_u16(), "reason": decision.reason });
    let mut response = Response::new(Guarded::told(Bytes::from(problem.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}
