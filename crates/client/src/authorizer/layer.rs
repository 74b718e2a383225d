//! A tower layer before a service: whoever calls needs a permission.

use std::{
    collections::HashMap,
    sync::Arc,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use http::{Request, Response, header::CONTENT_TYPE};
use http_body::Body;
use hyper::body::Bytes;
use tonic::Status;
use tower::{BoxError, Layer, Service};

use super::{
    guarded::Guarded,
    handle::Authorizer,
    question::{AccessAnswer, Question},
    refusal::{problem, status},
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
    /// For what only a handler knows, e.g. whose job it is: as [`Self::decide`], and a denial is gRPC's.
    pub async fn require_now(&self, question: &Question) -> Result<Arc<AccessAnswer>, Status> {
        let decision = self.decide(question).await;
        if decision.allowed { Ok(decision) } else { Err(status(&decision)) }
    }

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
                return Ok(refused(&AccessAnswer::denied("UNKNOWN_PERMISSION"), grpc));
            };
            let Some(peer) = request.extensions().get::<Arc<Peer>>().map(Arc::clone) else {
                return Ok(refused(&AccessAnswer::denied("CERTIFICATE_REQUIRED"), grpc));
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

fn refused<B>(decision: &AccessAnswer, grpc: bool) -> Response<Guarded<B>> {
    if grpc { status(decision).into_http() } else { problem(decision) }
}
