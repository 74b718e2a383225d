//! A body that ends when its permission does.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Bytes;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::Status;
use tower::BoxError;

use super::Guard;

/// A response's body behind [`super::Require`]: the service's own until its caller may no more, or a refusal.
pub struct Guarded<B>(Kind<B>);

enum Kind<B> {
    Passed { body: B, guard: Guard, end: Pin<Box<WaitForCancellationFutureOwned>>, grpc: bool },
    Told(Option<Bytes>),
    Ended,
}

impl<B> Guarded<B> {
    pub(super) fn passed(body: B, guard: Guard, grpc: bool) -> Self {
        let end = Box::pin(guard.end().clone().cancelled_owned());
        Self(Kind::Passed { body, guard, end, grpc })
    }

    pub(super) fn told(text: Bytes) -> Self {
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
            Kind::Passed { body, guard, end, grpc } => {
                if end.as_mut().poll(cx).is_pending() {
                    return Pin::new(body).poll_frame(cx).map_err(Into::into);
                }
                let status = super::layer::status(&guard.why());
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
            Kind::Passed { body, .. } => body.is_end_stream(),
            Kind::Told(text) => text.is_none(),
            Kind::Ended => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Passed { body, .. } => body.size_hint(),
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
