//! The way of an answer: a panic becomes INTERNAL, and the end of every call, of its stream too, is counted and logged.

use std::{
    any::Any,
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body as _, Frame, SizeHint};
use pin_project_lite::pin_project;
use signet_mtls::{Unread, UnreadAnswer};
use tokio::time::{Sleep, sleep};
use tonic::{Code, Status, body::Body};
use tracing::Span;

use crate::{
    arriving::arriving,
    authorization::Route,
    errors, metrics,
    node::{CallPlace, ConnectInfo, Node},
    shares::{Account, Full, Place, SMALL_ANSWER},
};

/// One call, from its arrival to the end of its answer.
pub(crate) struct Observation {
    node: Arc<Node>,
    route: Arc<Route>,
    started: Instant,
    span: Span,
    account: Arc<Account>,
    /// What the caller was told; until then: the caller went away.
    code: Code,
    /// Why the server ended the stream, if it did; no failure.
    ended: Option<&'static str>,
    /// How long it took to refuse it, without the wait after that.
    refused_after: Option<Duration>,
    /// What an HTTP caller calls it; told back.
    named: Option<HeaderValue>,
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

impl Observation {
    pub(crate) fn start(
        node: &Arc<Node>,
        route: &Arc<Route>,
        peer: &ConnectInfo,
        account: &Arc<Account>,
        request: &HeaderMap,
    ) -> Self {
        let operation = route.operation;
        let named = request.get(REQUEST_ID).filter(|_| route.http).cloned();
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
            metrics.began();
        }
        let (node, route, account) = (Arc::clone(node), Arc::clone(route), Arc::clone(account));
        Self {
            node,
            route,
            started: Instant::now(),
            span,
            account,
            code: Code::Cancelled,
            ended: None,
            refused_after: None,
            named,
        }
    }

    fn name<B>(&self, response: &mut http::Response<B>) {
        if let Some(named) = &self.named {
            response.headers_mut().insert(REQUEST_ID, named.clone());
        }
    }

    fn read_code(&mut self, headers: &HeaderMap) {
        if let Some(code) = headers.get("grpc-status") {
            self.code = Code::from_bytes(code.as_bytes());
        }
        if self.code == Code::Unavailable {
            self.ended = errors::end_in(headers);
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
        let cause = cause.unwrap_or("a panic without a message");
        tracing::error!(target: "signet::rpc", parent: &self.span, cause, "a call panicked");
        self.node.metrics.count("signet_panics_total", "operation", self.route.operation);
        self.code = Code::Internal;
        errors::to_status(&signet_core::Error::internal(cause))
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        let took = self.refused_after.unwrap_or_else(|| self.started.elapsed());
        if let Some(metrics) = self.node.metrics.operation(self.route.operation) {
            metrics.finished(self.code, took);
        }
        let left_out = match self.code {
            // A caller that is refused thousands of times a second would fill the disk with it.
            Code::Unauthenticated | Code::PermissionDenied | Code::NotFound | Code::ResourceExhausted => {
                match self.account.line() {
                    Some(left_out) => Some(left_out).filter(|left_out| *left_out > 0),
                    None => return,
                }
            }
            _ => None,
        };
        let (code, duration_ms) = (metrics::name(self.code), took.as_micros() as f64 / 1000.0);
        let ended = self.ended;
        tracing::info!(target: "signet::rpc", parent: &self.span, code, ended, duration_ms, left_out, "call");
    }
}

/// What a call keeps of the node's budgets until its answer has been read.
pub(crate) struct Holds {
    pub(crate) place: Option<CallPlace>,
    pub(crate) stream: Option<Place>,
    pub(crate) unread: Arc<Unread>,
}

impl Holds {
    /// Ready when the call must make room for others.
    fn poll_evicted(&self, cx: &Context<'_>) -> Poll<()> {
        match &self.place {
            Some(CallPlace::Stranger(place)) => place.poll_evicted(cx),
            _ => Poll::Pending,
        }
    }

    /// Ties the call's place to the bytes of its answer: it is given up when they have been sent, and with it the room
    /// that a large answer takes.
    fn tie(&mut self, bytes: Bytes) -> Result<Bytes, Full> {
        let Some(place) = self.place.take() else { return Ok(bytes) };
        let room = match &place {
            CallPlace::Known(place) if bytes.len() > SMALL_ANSWER => Some(place.unread(bytes.len())?),
            _ => None,
        };
        Ok(Bytes::from_owner(Tied { bytes, _place: place, _room: room, _unread: self.unread.begin() }))
    }
}

/// An answer's bytes, with what is given up when the last of them is gone.
struct Tied {
    bytes: Bytes,
    _place: CallPlace,
    _room: Option<Place>,
    _unread: UnreadAnswer,
}

impl AsRef<[u8]> for Tied {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

pin_project! {
    /// The future of an answer.
    #[project = AnswerProjection]
    pub(crate) enum Answer<F> {
        /// The gate refused.
        Refused {
            response: Option<http::Response<Observed>>,
            late: Option<(Place, Pin<Box<Sleep>>)>,
            unread: Option<Remainder>,
        },
        /// A service works on it.
        Passed {
            #[pin]
            future: F,
            #[pin]
            deadline: Sleep,
            holds: Option<Holds>,
            observation: Option<Observation>,
        },
    }
}

impl<F> Answer<F> {
    pub(crate) fn refused(status: Status, observation: Option<Observation>) -> Self {
        let observation = observation.map(|mut observation| {
            observation.code = status.code();
            observation.refused_after = Some(observation.started.elapsed());
            observation
        });
        let mut response = match &observation {
            Some(observation) => observation.answer(status),
            None => status.into_http(),
        };
        if let Some(observation) = &observation {
            observation.name(&mut response);
        }
        let response = response.map(|body| Observed { body, observation, holds: None });
        Self::Refused { response: Some(response), late: None, unread: None }
    }

    /// A path that leads nowhere, to a caller that does not speak gRPC. `body`: what it sends.
    pub(crate) fn nowhere(response: axum::response::Response, body: Body) -> Self {
        let response = response.map(|body| Observed { body: Body::new(body), observation: None, holds: None });
        Self::Refused { response: Some(response), late: None, unread: None }.after(body)
    }

    /// The refusal of a call. `body`: what its caller sends.
    pub(crate) fn of_call(status: Status, observation: Observation, body: Body) -> Self {
        let is_http = observation.route.http;
        let refused = Self::refused(status, Some(observation));
        if is_http { refused.after(body) } else { refused }
    }

    /// The same refusal after the request's body, if that is small and comes in time: curl takes the reset of a stream
    /// that it still writes to for a failure. gRPC's clients do not.
    fn after(mut self, body: Body) -> Self {
        if let Self::Refused { unread, .. } = &mut self {
            *unread = Some(Remainder { body: arriving(body), room: MOST_READ });
        }
        self
    }

    /// The same refusal after a wait, which takes a place.
    pub(crate) fn late(mut self, wait: Option<(Place, Duration)>) -> Self {
        if let Self::Refused { late, .. } = &mut self {
            *late = wait.map(|(place, wait)| (place, Box::pin(sleep(wait))));
        }
        self
    }

    pub(crate) fn passed(future: F, holds: Holds, observation: Observation) -> Self {
        let deadline = sleep(observation.node.limits.request_timeout);
        Self::Passed { future, deadline, holds: Some(holds), observation: Some(observation) }
    }
}

impl<F: Future<Output = Result<http::Response<Body>, Infallible>>> Future for Answer<F> {
    type Output = Result<http::Response<Observed>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (future, deadline, holds, observation) = match self.project() {
            AnswerProjection::Refused { response, late, unread } => {
                if let Some(body) = unread {
                    ready!(body.poll_end(cx));
                }
                *unread = None;
                if let Some((_, wait)) = late {
                    ready!(wait.as_mut().poll(cx));
                }
                return response.take().map_or(Poll::Pending, |response| Poll::Ready(Ok(response)));
            }
            AnswerProjection::Passed { future, deadline, holds, observation } => (future, deadline, holds, observation),
        };
        let span = observation.as_ref().map_or_else(Span::none, |observation| observation.span.clone());
        let polled = span.in_scope(|| catch_unwind(AssertUnwindSafe(|| future.poll(cx))));
        let mut response = match polled {
            Ok(Poll::Ready(response)) => errors::of_the_message(response?),
            Ok(Poll::Pending) => {
                let why = match holds.as_ref().map(|holds| holds.poll_evicted(cx)) {
                    Some(Poll::Ready(())) => errors::strangers_full(),
                    _ => {
                        ready!(deadline.poll(cx));
                        errors::timed_out()
                    }
                };
                match observation {
                    Some(observation) => observation.answer(why),
                    None => why.into_http(),
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
        let (mut observation, mut holds) = (observation.take(), holds.take());
        if let Some(observation) = &mut observation {
            observation.read_head(&response);
            observation.name(&mut response);
        }
        if let Some(holds) = &mut holds
            && holds.stream.is_some()
        {
            // From here on a stream counts among the streams.
            holds.place = None;
        }
        Poll::Ready(Ok(response.map(|body| Observed { body, observation, holds })))
    }
}

/// A request's body that nobody asks for.
pub(crate) struct Remainder {
    body: Body,
    /// Bytes that are still read.
    room: usize,
}

/// As large as an enrollment may be.
const MOST_READ: usize = 64 * 1024;

impl Remainder {
    /// Ready at its end, whatever that is, or once it is larger than the room.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(Ok(frame)) = ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            match self.room.checked_sub(bytes) {
                Some(room) => self.room = room,
                None => break,
            }
        }
        Poll::Ready(())
    }
}

/// An answer's body; its end is the call's end.
pub(crate) struct Observed {
    body: Body,
    observation: Option<Observation>,
    holds: Option<Holds>,
}

impl Observed {
    /// Ties what the call holds to the frame. If there is no room for it the call ends with a status instead.
    fn tie(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        let Some(holds) = &mut self.holds else { return frame };
        let bytes = match frame.into_data() {
            Ok(bytes) => bytes,
            Err(trailers) => return trailers,
        };
        match holds.tie(bytes) {
            Ok(tied) => Frame::data(tied),
            Err(full) => {
                self.body = Body::empty();
                let mut trailers = HeaderMap::new();
                // It fails only for a message that no header may hold; ours may.
                let _ = errors::full(full).add_header(&mut trailers);
                Frame::trailers(trailers)
            }
        }
    }
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
        let frame = frame.map(|frame| frame.map(|frame| this.tie(frame)));
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

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use http_body_util::BodyExt;

    use super::*;
    use crate::{
        authorization::Lane,
        shares::{self, Budget, Shares},
    };

    fn answer(account: &Arc<Account>, unread: &Arc<Unread>, bytes: usize) -> Option<Frame<Bytes>> {
        let place = account.take(Budget::Calls, 1, Lane::Ordinary).ok()?;
        let body = Body::new(http_body_util::Full::new(Bytes::from(vec![7; bytes])));
        let holds = Holds { place: Some(CallPlace::Known(place)), stream: None, unread: Arc::clone(unread) };
        let mut observed = Observed { body, observation: None, holds: Some(holds) };
        observed.frame().now_or_never().unwrap().transpose().unwrap()
    }

    #[tokio::test]
    async fn a_strangers_call_ends_when_its_place_is_another_ones() {
        let places = signet_mtls::Budget::new(2, 2);
        let call = || {
            let place = places.try_take([192, 0, 2, 1].into()).ok().map(CallPlace::Stranger);
            let holds = Some(Holds { place, stream: None, unread: Arc::default() });
            let (future, deadline) = (std::future::pending(), sleep(Duration::from_secs(3600)));
            Box::pin(Answer::Passed { future, deadline, holds, observation: None })
        };
        let (mut older, mut newer) = (call(), call());
        assert!((&mut older).now_or_never().is_none());
        let _other = places.try_take([198, 51, 100, 1].into()).unwrap();
        let Some(Ok(response)) = older.now_or_never() else { panic!("it goes on") };
        assert_eq!(Status::from_header_map(response.headers()).unwrap().code(), Code::ResourceExhausted);
        assert!((&mut newer).now_or_never().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_used_up_its_share_waits_to_be_told_so_as_long_as_there_is_a_place_to_wait() {
        let shares = Shares::new(&shares::tests::limits());
        let account = shares.account(&"acme".parse().unwrap(), &"w-1".parse().unwrap());
        let refused = |wait: Option<Place>| {
            let wait = wait.map(|place| (place, Duration::from_millis(200)));
            Box::pin(Answer::<std::future::Ready<_>>::refused(Status::resource_exhausted("full"), None).late(wait))
        };
        let mut waiting = Vec::new();
        while let Ok(place) = account.take(Budget::Refusals, 1, Lane::Ordinary) {
            waiting.push(refused(Some(place)));
        }
        assert_eq!(waiting.len(), 1024);
        assert!(refused(None).now_or_never().is_some(), "it is told at once");
        let mut first = waiting.pop().unwrap();
        assert!((&mut first).now_or_never().is_none());
        tokio::time::advance(Duration::from_millis(201)).await;
        assert!((&mut first).now_or_never().is_some());
        drop(first);
        assert!(account.take(Budget::Refusals, 1, Lane::Ordinary).is_ok(), "the place is free again");
    }

    #[test]
    fn answers_that_nobody_reads_end_at_a_share_of_places_and_of_bytes() {
        let shares = Shares::new(&shares::tests::limits());
        let account = shares.account(&"acme".parse().unwrap(), &"w-1".parse().unwrap());
        let unread = Arc::default();
        let fill = |bytes| {
            let (mut waiting, mut refused) = (Vec::new(), None);
            while let Some(frame) = answer(&account, &unread, bytes) {
                match frame.into_data() {
                    Ok(data) => waiting.push(data),
                    Err(trailers) => {
                        refused = trailers.into_trailers().ok();
                        break;
                    }
                }
            }
            (waiting, refused)
        };
        // A megabyte each: 16 MB of 128.
        let (large, refused) = fill(1 << 20);
        assert_eq!(large.len(), 16);
        let status = Status::from_header_map(&refused.unwrap()).unwrap();
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert!(status.message().contains("this principal is at its limit of 16777216 bytes"), "{}", status.message());
        // Small ones are covered by their places, of which the large ones have some.
        let (small, refused) = fill(1000);
        assert_eq!((small.len(), refused), (128 - 16, None));
        // A part of an answer that is still to be sent keeps all of it.
        let rest: Vec<Bytes> = large.into_iter().map(|mut data| data.split_off(1000)).collect();
        assert!(matches!(account.take(Budget::Calls, 1, Lane::Ordinary), Err(Full { .. })));
        drop((rest, small));
        let again = fill(1 << 20).0.len();
        assert_eq!((again, fill(1000).0.len()), (16, 128));
    }
}
