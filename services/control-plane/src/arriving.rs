//! Requests whose message is still to come: it gets some time, and not that of the call. Its place would otherwise be
//! held by nothing but a head.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};
use tonic::{Status, body::Body};

use crate::errors;

/// From a request's head to the end of its message.
const ARRIVES_WITHIN: Duration = Duration::from_secs(2);

pin_project! {
    struct Arriving {
        #[pin]
        body: Body,
        #[pin]
        deadline: Sleep,
    }
}

/// The body, with its time limit. One that is there costs nothing.
pub(crate) fn arriving(body: Body) -> Body {
    if http_body::Body::is_end_stream(&body) {
        return body;
    }
    within(ARRIVES_WITHIN, body)
}

fn within(limit: Duration, body: Body) -> Body {
    Body::new(Arriving { body, deadline: sleep(limit) })
}

impl http_body::Body for Arriving {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.project();
        match this.body.poll_frame(cx) {
            Poll::Pending => this.deadline.poll(cx).map(|()| Some(Err(errors::request_incomplete()))),
            frame => frame,
        }
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
    use http_body_util::{BodyExt, Full, StreamBody};
    use tonic::Code;

    use super::*;

    #[tokio::test]
    async fn a_message_that_does_not_come_ends_its_call() {
        let silent = StreamBody::new(futures::stream::pending::<Result<Frame<Bytes>, Status>>());
        let status = within(Duration::from_millis(1), Body::new(silent)).collect().await.map(drop).unwrap_err();
        assert_eq!(status.code(), Code::Aborted);
        // What is there is read before anybody looks at the time.
        let there = within(Duration::ZERO, Body::new(Full::new(Bytes::from_static(b"all of it")))).collect().await;
        assert_eq!(there.unwrap().to_bytes(), "all of it");
    }
}
