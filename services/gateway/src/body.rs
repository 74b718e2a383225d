//! The bodies of answers: those that are there as a whole, and what comes from upstreams as long as it may.

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

/// The first of a body.
pub(crate) type Frames = [Option<Result<Frame<Bytes>, BoxError>>; 2];

/// See the module's words.
pub(crate) enum Body {
    /// All of it, if there is any: a text, trailers, or both; or how it broke off.
    Whole(Frames),
    Flow(Pin<Box<Flow>>),
}

impl Default for Body {
    fn default() -> Self {
        Self::Whole([None, None])
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self::Whole([Some(Ok(Frame::data(text.into()))), None])
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut *self {
            Self::Whole([first, second]) => Poll::Ready(first.take().or_else(|| second.take())),
            Self::Flow(flow) => flow.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(frames) => frames.iter().all(Option::is_none),
            Self::Flow(flow) => flow.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(frames) => {
                let length = |frame: &Frame<Bytes>| frame.data_ref().map_or(0, |data| data.len() as u64);
                SizeHint::with_exact(frames.iter().flatten().flatten().map(length).sum())
            }
            Self::Flow(flow) => flow.size_hint(),
        }
    }
}
