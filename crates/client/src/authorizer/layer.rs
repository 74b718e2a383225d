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
    guarded::{Guarded, GuardedRequest},
    handle::Authorizer,
    question::{AccessAnswer, Question, QuestionSubject},
    refusal::{challenge, problem, status},
};
use crate::peer::Peer;

/// Lets those calls through whose peer has a permission at that moment, and ends their streams when it has it no more:
/// what is answered, and what is still sent.
///
/// For tonic and axum, over connections of [`crate::serve`], which leaves an `Arc<Peer>` in each request. Whoever is
/// refused is told the reason: gRPC callers by a status with `google.rpc.ErrorInfo`, others by a problem (RFC 9457).
#[derive(Clone, Debug)]
pub struct Require {
    authorizer: Authorizer,
    needs: Arc<Needs>,
    shows: Shows,
}

/// What a caller is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shows {
    Certificate,
    Token,
    /// Whatever the connection.
    AnyToken,
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
        Require::new(self, Needs::Permission(permission.into()))
    }

    /// A call needs the permission of its path, e.g. `/jobs.v1.JobService/SubmitJob`; a path that is not named is
    /// refused.
    pub fn require_by_path<'a>(&self, permissions: impl IntoIterator<Item = (&'a str, &'a str)>) -> Require {
        let permissions = permissions.into_iter().map(|(path, permission)| (path.to_owned(), permission.into()));
        Require::new(self, Needs::ByPath(permissions.collect()))
    }
}

impl Require {
    fn new(authorizer: &Authorizer, needs: Needs) -> Self {
        Self { authorizer: authorizer.clone(), needs: Arc::new(needs), shows: Shows::Certificate }
    }

    /// Callers show an access token, too (`Authorization: Bearer`), of the tenant's issuer, with the permission in its
    /// scope, for the audience that stands before the permission's colon. It must be bound to the certificate of its
    /// connection: one that was stolen, and one without a certificate, is refused (`401`, `invalid_token`).
    ///
    /// The layer leaves a [`crate::ShownToken`] in the request. A stream ends with its token.
    #[must_use]
    pub fn with_access_token(self) -> Self {
        Self { shows: Shows::Token, ..self }
    }

    /// As [`Self::with_access_token`], whoever shows the token and over whatever connection: whoever steals one is its
    /// holder. Only behind something that has compared it with the client's certificate already.
    #[must_use]
    pub fn with_stealable_access_token(self) -> Self {
        Self { shows: Shows::AnyToken, ..self }
    }

    async fn question(&self, request: &http::request::Parts) -> Result<Question, AccessAnswer> {
        let permission = match &*self.needs {
            Needs::Permission(permission) => Some(Arc::clone(permission)),
            Needs::ByPath(permissions) => permissions.get(request.uri.path()).cloned(),
        };
        let permission = permission.ok_or_else(|| AccessAnswer::denied("UNKNOWN_PERMISSION"))?;
        let peer = request.extensions.get::<Arc<Peer>>();
        if self.shows == Shows::Certificate {
            let peer = peer.ok_or_else(|| AccessAnswer::denied("CERTIFICATE_REQUIRED"))?;
            return Ok(Question::new(peer.certificate.clone(), permission));
        }
        let (peer, is_bound) = (peer.map(AsRef::as_ref), self.shows == Shows::Token);
        self.authorizer.token_question(&request.headers, peer, permission, is_bound).await
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
    S: Service<Request<GuardedRequest<B>>, Response = Response<RB>, Future: Send> + Clone + Send + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    RB: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    type Response = Response<Guarded<RB>>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The one that is ready goes, its clone stays.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        let grpc =
            request.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
        let require = self.require.clone();
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            let question = match require.question(&parts).await {
                Ok(question) => question,
                Err(decision) => return Ok(refused(&decision, grpc)),
            };
            if let QuestionSubject::AccessToken(shown) = &question.subject {
                parts.extensions.insert(shown.clone());
            }
            let (decision, guard) = match require.authorizer.admit(question).await {
                Ok((decision, guard)) => (decision, Arc::new(guard)),
                Err(decision) => return Ok(refused(&decision, grpc)),
            };
            parts.extensions.insert(decision);
            let request = Request::from_parts(parts, GuardedRequest::new(body, &guard));
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
    let mut response = if grpc { status(decision).into_http() } else { problem(decision) };
    challenge(decision, response.headers_mut());
    response
}
