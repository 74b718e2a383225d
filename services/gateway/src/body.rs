//! The bodies of answers: our own texts, and what comes from upstreams as long as it may.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

/// Any error of a body.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What flows from an upstream.
pub(crate) type Flow = dyn HttpBody<Data = Bytes, Error = BoxError> + Send;

/// See the module's words.
pub(crate) enum Body {
    /// All of it, if there is any.
    Text(Option<Bytes>),
    Flow(Pin<Box<Flow>>),
}

impl Default for Body {
    fn default() -> Self {
        Self::Text(None)
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self::Text(Some(text.into()))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut *self {
            Self::Text(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Self::Flow(flow) => flow.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Text(text) => text.is_none(),
            Self::Flow(flow) => flow.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Text(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Self::Flow(flow) => flow.size_hint(),
        }
    }
}
