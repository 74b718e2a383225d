//! An answer that goes on as long as its caller may have it: it ends with the permission, the token, or the upstream's
//! patience.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use signet_client::OngoingAccess;
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::{
    audit::Event,
    body::{Body, BoxError},
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

/// Nothing came for too long.
pub(crate) fn idle() -> Refusal {
    Refusal::upstream(StatusCode::GATEWAY_TIMEOUT, "UPSTREAM_IDLE", "nothing came for too long")
}

pin_project! {
    /// See the module's words.
    pub(crate) struct Streamed {
        #[pin]
        inner: Incoming,
        #[pin]
        ended: WaitForCancellationFutureOwned,
        #[pin]
        token: Option<Sleep>,
        #[pin]
        idle: Sleep,
        last: Instant,
        is_over: bool,
        ends: Ends,
    }
}

impl Streamed {
    /// The body of an answer. One that is over already needs no guard.
    pub(crate) fn body(inner: Incoming, ends: Ends) -> Body {
        if inner.is_end_stream() {
            return Body::default();
        }
        let (ended, token, idle) = (ends.access.ended(), ends.token_left.map(sleep), sleep(ends.idle));
        Body::Flow(Box::pin(Self { inner, ended, token, idle, last: Instant::now(), is_over: false, ends }))
    }
}

impl HttpBody for Streamed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut this = self.project();
        if *this.is_over {
            return Poll::Ready(None);
        }
        let token_is_over = this.token.as_mut().as_pin_mut().is_some_and(|token| token.poll(cx).is_ready());
        let cut = if this.ended.poll(cx).is_ready() {
            over(&this.ends.access)
        } else if token_is_over {
            token_over()
        } else {
            match this.inner.poll_frame(cx) {
                Poll::Ready(frame) => {
                    *this.last = Instant::now();
                    *this.is_over = !matches!(frame, Some(Ok(_)));
                    return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
                }
                Poll::Pending => {
                    // Looked at when the time is over, not put off with each part.
                    while this.idle.as_mut().poll(cx).is_ready() {
                        let until = *this.last + this.ends.idle;
                        if until <= Instant::now() {
                            break;
                        }
                        this.idle.as_mut().reset(until);
                    }
                    if !this.idle.is_elapsed() {
                        return Poll::Pending;
                    }
                    idle()
                }
            }
        };
        *this.is_over = true;
        this.ends.cut(&cut);
        Poll::Ready(Some(if this.ends.grpc { Ok(Frame::trailers(cut.trailers())) } else { Err(cut.title.into()) }))
    }

    fn is_end_stream(&self) -> bool {
        self.is_over || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
