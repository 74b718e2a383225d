//! The way of an answer: a panic becomes INTERNAL, and the end of every call, of its stream too, is counted and logged.

use std::{
    any::Any,
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};
use tonic::{Code, Status, body::Body};
use tracing::Span;

use crate::{
    authorization::Route,
    errors, metrics,
    node::{CallPlace, Node, Peer},
};

/// One call, from its arrival to the end of its answer.
pub(crate) struct Observation {
    node: Arc<Node>,
    route: Arc<Route>,
    started: Instant,
    span: Span,
    /// What the caller was told; until then: the caller went away.
    code: Code,
}

impl Observation {
    pub(crate) fn start(node: &Arc<Node>, route: &Arc<Route>, peer: &Peer) -> Self {
        let operation = route.operation;
        let identity = peer.session.as_ref().map(|session| session.identity());
        let span = tracing::info_span!(
            target: "signet::rpc",
            "rpc",
            otel.name = node.spans.then_some(operation),
            otel.kind = node.spans.then_some("server"),
            operation,
            tenant.id = identity.map(|identity| identity.tenant.as_str()),
            principal = identity.map(|identity| identity.principal.as_str()),
            cert.serial = identity.map(|identity| tracing::field::display(identity.serial)),
            client.address = %peer.remote,
        );
        if let Some(metrics) = node.metrics.operation(operation) {
            metrics.in_flight.increment(1.0);
        }
        let (node, route) = (Arc::clone(node), Arc::clone(route));
        Self { node, route, started: Instant::now(), span, code: Code::Cancelled }
    }

    fn read_code(&mut self, headers: &HeaderMap) {
        if let Some(code) = headers.get("grpc-status") {
            self.code = Code::from_bytes(code.as_bytes());
        }
    }

    /// The code of an answer: gRPC's own, or what the HTTP status comes to.
    fn read_head(&mut self, response: &http::Response<Body>) {
        if self.route.http {
            self.code = errors::code_of(response.status());
        } else {
            self.read_code(response.headers());
        }
    }

    /// The status in the call's protocol.
    fn answer(&self, status: Status) -> http::Response<Body> {
        if self.route.http { errors::to_http(&status) } else { status.into_http() }
    }

    fn panicked(&mut self, cause: &(dyn Any + Send)) -> Status {
        let cause = cause.downcast_ref::<String>().map(String::as_str).or_else(|| cause.downcast_ref().copied());
        let cause = cause.unwrap_or("a panic without words");
        tracing::error!(target: "signet::rpc", parent: &self.span, cause, "a call panicked");
        self.node.metrics.count("signet_panics_total", "operation", self.route.operation);
        self.code = Code::Internal;
        errors::to_status(&signet_core::Error::internal(cause))
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        if let Some(metrics) = self.node.metrics.operation(self.route.operation) {
            metrics.in_flight.decrement(1.0);
            metrics.finished(self.code, took);
        }
        let (code, duration_ms) = (metrics::name(self.code), took.as_micros() as f64 / 1000.0);
        tracing::info!(target: "signet::rpc", parent: &self.span, code, duration_ms, "call");
    }
}

pin_project! {
    /// The future of an answer.
    #[project = AnswerProjection]
    pub(crate) enum Answer<F> {
        /// The gate refused.
        Refused { response: Option<http::Response<Observed>> },
        /// A service works on it.
        Passed {
            #[pin]
            future: F,
            #[pin]
            deadline: Sleep,
            place: CallPlace,
            observation: Option<Observation>,
        },
    }
}

impl<F> Answer<F> {
    pub(crate) fn refused(status: Status, observation: Option<Observation>) -> Self {
        let observation = observation.map(|mut observation| {
            observation.code = status.code();
            observation
        });
        let response = match &observation {
            Some(observation) => observation.answer(status),
            None => status.into_http(),
        };
        Self::Refused { response: Some(response.map(|body| Observed { body, observation })) }
    }

    pub(crate) fn passed(future: F, place: CallPlace, observation: Observation) -> Self {
        let deadline = sleep(observation.node.limits.request_timeout);
        Self::Passed { future, deadline, place, observation: Some(observation) }
    }
}

impl<F: Future<Output = Result<http::Response<Body>, Infallible>>> Future for Answer<F> {
    type Output = Result<http::Response<Observed>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (future, deadline, observation) = match self.project() {
            AnswerProjection::Refused { response } => {
                return response.take().map_or(Poll::Pending, |response| Poll::Ready(Ok(response)));
            }
            AnswerProjection::Passed { future, deadline, observation, .. } => (future, deadline, observation),
        };
        let span = observation.as_ref().map_or_else(Span::none, |observation| observation.span.clone());
        let polled = span.in_scope(|| catch_unwind(AssertUnwindSafe(|| future.poll(cx))));
        let response = match polled {
            Ok(Poll::Ready(response)) => errors::of_the_message(response?),
            Ok(Poll::Pending) => {
                ready!(deadline.poll(cx));
                match observation {
                    Some(observation) => observation.answer(errors::timed_out()),
                    None => errors::timed_out().into_http(),
                }
            }
            Err(cause) => match observation {
                Some(observation) => {
                    let status = observation.panicked(&*cause);
                    observation.answer(status)
                }
                None => Status::internal("internal error").into_http(),
            },
        };
        let mut observation = observation.take();
        if let Some(observation) = &mut observation {
            observation.read_head(&response);
        }
        Poll::Ready(Ok(response.map(|body| Observed { body, observation })))
    }
}

/// An answer's body; its end is the call's end.
pub(crate) struct Observed {
    body: Body,
    observation: Option<Observation>,
}

impl http_body::Body for Observed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut this.body).poll_frame(cx)));
        let frame = match (polled, &mut this.observation) {
            (Ok(polled), _) => ready!(polled),
            (Err(cause), Some(observation)) => Some(Err(observation.panicked(&*cause))),
            (Err(_), None) => Some(Err(Status::internal("internal error"))),
        };
        if let (Some(Ok(frame)), Some(observation)) = (&frame, &mut this.observation)
            && let Some(trailers) = frame.trailers_ref()
        {
            observation.read_code(trailers);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
