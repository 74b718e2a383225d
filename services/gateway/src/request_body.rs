//! A request's body on its way to an upstream, as long as there may be an answer. Its trailers are headers, too.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};

use crate::{
    body::BoxError,
    headers::{remove_hop_by_hop, remove_identity},
};

/// See the module's words.
pub(crate) struct RequestBody {
    inner: Incoming,
    removed: Arc<[String]>,
    /// `None`: there is nothing to send.
    end: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl RequestBody {
    /// `removed`: names of headers that the configuration has removed. It breaks off with the guard, if there is one.
    pub(crate) fn new(inner: Incoming, removed: Arc<[String]>) -> (Self, Option<DropGuard>) {
        if inner.is_end_stream() {
            return (Self { inner, removed, end: None }, None);
        }
        let end = CancellationToken::new();
        let (ended, guard) = (Box::pin(end.clone().cancelled_owned()), end.drop_guard());
        (Self { inner, removed, end: Some(ended) }, Some(guard))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.end.as_mut().is_some_and(|end| end.as_mut().poll(cx).is_ready()) {
            return Poll::Ready(Some(Err("there will be no answer".into())));
        }
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        let polled = polled.map_ok(|mut frame| {
            if let Some(trailers) = frame.trailers_mut() {
                remove_hop_by_hop(trailers);
                remove_identity(trailers, &self.removed);
            }
            frame
        });
        polled.map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
