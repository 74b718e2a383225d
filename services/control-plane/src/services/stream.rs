//! Streams that end when their session does.

use std::{pin::Pin, sync::Arc};

use futures::Stream;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tonic::Status;

use super::{Api, Caller};
use crate::{errors, node::Session};

/// A stream of messages.
pub(super) type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Messages that wait for a slow reader; a producer waits after that.
const WAITING: usize = 16;

/// Where a stream's producer puts messages.
pub(super) struct Sink<T>(mpsc::Sender<Result<T, Status>>);

impl<T> Sink<T> {
    /// False: the reader is gone.
    pub(super) async fn send(&self, message: T) -> bool {
        self.0.send(Ok(message)).await.is_ok()
    }
}

impl Api {
    /// Takes `places` among the node's streams and runs `produce` until it ends, the reader goes, the session ends or the node drains; says why it ended.
    pub(super) fn stream<T, F>(
        &self,
        caller: &Caller,
        places: u32,
        produce: impl FnOnce(Sink<T>) -> F + Send + 'static,
    ) -> Result<Messages<T>, Status>
    where
        T: Send + 'static,
        F: Future<Output = Result<(), Status>> + Send + 'static,
    {
        let session = caller.session.clone().ok_or_else(|| Status::unauthenticated("a certificate is needed"))?;
        let place = Arc::clone(&self.node.streams).try_acquire_many_owned(places);
        let place = place.map_err(|_| errors::busy("this node is at its limit of open streams", "TOO_MANY_STREAMS"))?;
        let drained = self.node.drained.clone();
        let (sender, receiver) = mpsc::channel(WAITING);
        tokio::spawn(async move {
            let produced = produce(Sink(sender.clone()));
            let end = tokio::select! {
                () = sender.closed() => return,
                end = ended(&session) => end,
                () = drained.cancelled() => errors::ended(signet_mtls::Ended::Drained),
                produced = produced => match produced {
                    Ok(()) => return,
                    Err(status) => status,
                },
            };
            // The reader may have gone meanwhile.
            let _ = sender.send(Err(end)).await;
        });
        Ok(held(ReceiverStream::new(receiver), place))
    }
}

async fn ended(session: &Session) -> Status {
    errors::ended(session.ended().await)
}

/// The stream, which keeps its place among the node's streams while it is open.
fn held<T: Send + 'static>(stream: ReceiverStream<Result<T, Status>>, place: OwnedSemaphorePermit) -> Messages<T> {
    Box::pin(stream.map(move |message| {
        let _ = &place;
        message
    }))
}
