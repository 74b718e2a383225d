//! An answer that goes on as long as its caller may have it: it ends with the permission, the token, or the patience
//! with whom nothing comes from, or who does not read.

use std::{
    future::{pending, poll_fn},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use signet_client::OngoingAccess;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::{sync::DropGuard, task::AbortOnDropHandle};

use crate::{
    audit::Event,
    body::{Body, BoxError, Frames},
    caller::Busy,
    metrics::Counted,
    refusal::Refusal,
    shared::Shared,
    upstream::Place,
};

/// What an answer, or an upgraded connection, ends with.
pub(crate) struct Ends {
    pub(crate) access: OngoingAccess,
    /// How long the token is good; `None`: there is none. A certificate's end closes its connection.
    pub(crate) token_left: Option<Duration>,
    /// How long nothing may come.
    pub(crate) idle: Duration,
    pub(crate) grpc: bool,
    /// Of the upstream's requests; given back with this.
    pub(crate) _place: Place,
    /// What the client still sends ends with this.
    pub(crate) _sending: Option<DropGuard>,
    pub(crate) _busy: Busy,
    pub(crate) shared: Arc<Shared>,
    /// What the audit log says.
    pub(crate) event: Event,
}

impl Ends {
    /// It was cut.
    pub(crate) fn cut(&mut self, refusal: &Refusal) {
        self.shared.metrics.count(Counted::StreamsEnded, &refusal.reason);
        let event = std::mem::take(&mut self.event);
        let event = Event { outcome: "failure", reason: refusal.reason.clone(), status: None, ..event };
        self.shared.audit.write(&event.detailed(refusal.title.clone()));
    }
}

/// The permission or the token has ended.
pub(crate) fn over(access: &OngoingAccess) -> Refusal {
    Refusal::of(&access.why())
}

/// See [`over`].
pub(crate) fn token_over() -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, "ACCESS_TOKEN_EXPIRED", "the token is over")
}

/// Nothing came, or was read, for too long.
pub(crate) fn idle() -> Refusal {
    Refusal::upstream(StatusCode::GATEWAY_TIMEOUT, "UPSTREAM_IDLE", "nothing came, or was read, for too long")
}

/// Most bytes of an answer that nobody watches over: what a client has whole answers of and does not read stays in
/// memory as long as its connection.
const UNWATCHED: usize = 1024;

/// The body of an answer. What is there as a whole, and little, needs nobody to watch over it.
pub(crate) async fn body(mut inner: Incoming, ends: Ends) -> Body {
    let mut frames: Frames = [None, None];
    let mut is_whole = inner.is_end_stream();
    for at in &mut frames {
        if is_whole {
            break;
        }
        // Whether it is there already; nobody waits.
        match poll_fn(|cx| Poll::Ready(Pin::new(&mut inner).poll_frame(cx))).await {
            Poll::Ready(Some(frame)) => {
                is_whole = frame.is_err() || inner.is_end_stream();
                *at = Some(frame.map_err(Into::into));
            }
            Poll::Ready(None) => is_whole = true,
            Poll::Pending => break,
        }
    }
    let bytes = frames
        .iter()
        .flatten()
        .flatten()
        .filter_map(Frame::data_ref)
        .fold(0_usize, |sum, data| sum.saturating_add(data.len()));
    let has_failed = frames.iter().flatten().any(Result::is_err);
    if has_failed || (is_whole && bytes <= UNWATCHED) {
        return Body::Whole(frames);
    }
    Body::Flow(Box::pin(Streamed::new(inner, frames, ends)))
}

/// See the module's words. Whoever does not read it does not poll it either: so another task watches over it.
pub(crate) struct Streamed {
    flow: Arc<Mutex<Flow>>,
    _watch: AbortOnDropHandle<()>,
}

struct Flow {
    /// What came before it was a stream.
    first: Frames,
    /// Until it is over.
    inner: Option<(Incoming, Ends)>,
    /// When something was read last.
    last: Instant,
    cut: Option<Result<Frame<Bytes>, BoxError>>,
    reader: Option<Waker>,
}

fn lock(flow: &Mutex<Flow>) -> MutexGuard<'_, Flow> {
    flow.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Streamed {
    fn new(inner: Incoming, first: Frames, ends: Ends) -> Self {
        let (ended, token_left, idle_for) = (ends.access.ended(), ends.token_left, ends.idle);
        let flow = Flow { first, inner: Some((inner, ends)), last: Instant::now(), cut: None, reader: None };
        let flow = Arc::new(Mutex::new(flow));
        let watched = Arc::downgrade(&flow);
        let watch = tokio::spawn(async move {
            let token = async {
                match token_left {
                    Some(left) => sleep(left).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                biased;
                () = ended => cut(&watched, |ends| over(&ends.access)),
                () = token => cut(&watched, |_| token_over()),
                () = silence(&watched, idle_for) => cut(&watched, |_| idle()),
            }
        });
        Self { flow, _watch: AbortOnDropHandle::new(watch) }
    }
}

impl HttpBody for Streamed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut flow = lock(&self.flow);
        let flow = &mut *flow;
        if let Some(cut) = flow.cut.take() {
            return Poll::Ready(Some(cut));
        }
        let [first, second] = &mut flow.first;
        if let Some(frame) = first.take().or_else(|| second.take()) {
            return Poll::Ready(Some(frame));
        }
        let Some((inner, _)) = &mut flow.inner else { return Poll::Ready(None) };
        let Poll::Ready(frame) = Pin::new(inner).poll_frame(cx) else {
            // For whoever cuts it.
            if !flow.reader.as_ref().is_some_and(|reader| reader.will_wake(cx.waker())) {
                flow.reader = Some(cx.waker().clone());
            }
            return Poll::Pending;
        };
        flow.last = Instant::now();
        if !matches!(frame, Some(Ok(_))) {
            flow.inner = None;
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        let flow = lock(&self.flow);
        flow.inner.is_none() && flow.cut.is_none() && flow.first.iter().all(Option::is_none)
    }

    fn size_hint(&self) -> SizeHint {
        let flow = lock(&self.flow);
        let inner = flow.inner.as_ref().map(|(inner, _)| inner.size_hint());
        // With what is there already nothing is known but that it is more.
        inner.filter(|_| flow.first.iter().all(Option::is_none)).unwrap_or_default()
    }
}

/// Completes once nothing was passed on for so long.
async fn silence(watched: &Weak<Mutex<Flow>>, limit: Duration) {
    loop {
        let Some(until) = watched.upgrade().map(|flow| lock(&flow).last + limit) else { return };
        if until <= Instant::now() {
            return;
        }
        sleep_until(until).await;
    }
}

/// Ends it for the server behind at once, and for the client when it reads on.
fn cut(watched: &Weak<Mutex<Flow>>, why: impl FnOnce(&Ends) -> Refusal) {
    let Some(shared) = watched.upgrade() else { return };
    let mut flow = lock(&shared);
    let Some((inner, mut ends)) = flow.inner.take() else { return };
    let refusal = why(&ends);
    flow.first = [None, None];
    let end = if ends.grpc { Ok(Frame::trailers(refusal.trailers())) } else { Err(refusal.title.as_str().into()) };
    flow.cut = Some(end);
    let reader = flow.reader.take();
    drop(flow);
    drop(inner);
    ends.cut(&refusal);
    if let Some(reader) = reader {
        reader.wake();
    }
}
