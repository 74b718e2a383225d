//! A request's body on its way to an upstream. Its trailers are headers, too.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::headers::{remove_hop_by_hop, remove_identity};

/// See the module's words.
pub(crate) struct RequestBody {
    inner: Incoming,
    removed: Arc<[String]>,
}

impl RequestBody {
    /// `removed`: names of headers that the configuration has removed.
    pub(crate) fn new(inner: Incoming, removed: Arc<[String]>) -> Self {
        Self { inner, removed }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        polled.map_ok(|mut frame| {
            if let Some(trailers) = frame.trailers_mut() {
                remove_hop_by_hop(trailers);
                remove_identity(trailers, &self.removed);
            }
            frame
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
