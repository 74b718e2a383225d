//! Bodies that end when their permission does.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Bytes;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::Status;
use tower::BoxError;

use super::{
    refusal,
    state::{Guard, Released},
};

type End = Pin<Box<WaitForCancellationFutureOwned>>;

fn end_of(guard: &Guard) -> End {
    Box::pin(guard.end().clone().cancelled_owned())
}

/// A response's body behind [`super::Require`]: the service's own until its caller may no more, or a refusal.
pub struct Guarded<B>(Kind<B>);

enum Kind<B> {
    /// Nothing comes after its headers.
    Whole(B),
    Passed {
        body: Arc<Own<B>>,
        guard: Arc<Guard>,
        end: End,
        grpc: bool,
    },
    Told(Option<Bytes>),
    Ended,
}

/// The service's body. It goes when the permission does, also if the caller reads no further: whoever fills it is told.
struct Own<B>(Mutex<Option<B>>);

impl<B> Own<B> {
    fn lock(&self) -> MutexGuard<'_, Option<B>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B: Send> Released for Own<B> {
    fn release(&self) {
        let body = self.lock().take();
        drop(body);
    }
}

impl<B: Body + Send + 'static> Guarded<B> {
    pub(super) fn passed(body: B, guard: Arc<Guard>, grpc: bool) -> Self {
        if body.is_end_stream() {
            return Self(Kind::Whole(body));
        }
        let (body, end) = (Arc::new(Own(Mutex::new(Some(body)))), end_of(&guard));
        guard.releases(&body);
        Self(Kind::Passed { body, guard, end, grpc })
    }
}

impl<B> From<Bytes> for Guarded<B> {
    fn from(text: Bytes) -> Self {
        Self(Kind::Told(Some(text)))
    }
}

/// Of a refusal that is all in the headers.
impl<B> Default for Guarded<B> {
    fn default() -> Self {
        Self(Kind::Ended)
    }
}

impl<B> Body for Guarded<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let end = match &mut self.0 {
            Kind::Whole(body) => return Pin::new(body).poll_frame(cx).map_err(Into::into),
            Kind::Passed { body, guard, end, grpc } => {
                if end.as_mut().poll(cx).is_pending()
                    && let Some(body) = &mut *body.lock()
                {
                    return Pin::new(body).poll_frame(cx).map_err(Into::into);
                }
                let status = refusal::status(&guard.why());
                if *grpc { trailers(&status) } else { Err(BoxError::from(status.message().to_owned())) }
            }
            Kind::Told(text) => return Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Kind::Ended => return Poll::Ready(None),
        };
        self.0 = Kind::Ended;
        Poll::Ready(Some(end))
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Whole(body) => body.is_end_stream(),
            Kind::Passed { body, .. } => body.lock().as_ref().is_some_and(Body::is_end_stream),
            Kind::Told(text) => text.is_none(),
            Kind::Ended => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole(body) => body.size_hint(),
            Kind::Passed { body, .. } => body.lock().as_ref().map(Body::size_hint).unwrap_or_default(),
            Kind::Told(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Kind::Ended => SizeHint::with_exact(0),
        }
    }
}

fn trailers(status: &Status) -> Result<Frame<Bytes>, BoxError> {
    let mut trailers = HeaderMap::new();
    status.add_header(&mut trailers)?;
    Ok(Frame::trailers(trailers))
}

/// A request's body behind [`super::Require`]: the caller's own until it may no more; then a [`Status`] as its error.
pub struct GuardedRequest<B> {
    body: B,
    /// `None`: nothing comes after its headers.
    until: Option<(Arc<Guard>, End)>,
}

impl<B: Body> GuardedRequest<B> {
    pub(super) fn new(body: B, guard: &Arc<Guard>) -> Self {
        let until = (!body.is_end_stream()).then(|| (Arc::clone(guard), end_of(guard)));
        Self { body, until }
    }
}

impl<B> Body for GuardedRequest<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some((guard, end)) = &mut self.until
            && end.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Some(Err(refusal::status(&guard.why()).into())));
        }
        Pin::new(&mut self.body).poll_frame(cx).map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
