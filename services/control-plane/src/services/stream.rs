//! Streams that end when their session, or their caller's right to them, does.

use std::{pin::Pin, sync::Arc};

use futures::Stream;
use signet_app::Call;
use signet_core::{Error, TenantId};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{api::Api, caller::Caller};
use crate::{
    authorization::{Access, Route},
    errors, gate,
    node::{Node, Session},
};

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
    /// Runs `produce` until it ends, the reader goes, the session or the caller's right to read `tenant` ends, or the
    /// node drains; says why it ended. Its place among the node's streams is kept with the answer.
    pub(super) fn stream<T, F>(
        &self,
        caller: &Caller,
        tenant: &TenantId,
        produce: impl FnOnce(Sink<T>) -> F + Send + 'static,
    ) -> Result<Messages<T>, Status>
    where
        T: Send + 'static,
        F: Future<Output = Result<(), Status>> + Send + 'static,
    {
        let session = caller.session.clone().ok_or_else(|| Status::unauthenticated("a certificate is needed"))?;
        let right = Right {
            node: Arc::clone(&self.node),
            call: caller.call.clone(),
            session: Arc::clone(&session),
            route: Arc::clone(&caller.route),
            tenant: tenant.clone(),
        };
        let drained = self.node.drained.clone();
        let (sender, receiver) = mpsc::channel(WAITING);
        tokio::spawn(async move {
            let produced = produce(Sink(sender.clone()));
            let end = tokio::select! {
                () = sender.closed() => return,
                end = ended(&session) => end,
                end = right.lost() => end,
                () = drained.cancelled() => errors::ended(signet_mtls::Ended::Drained),
                produced = produced => match produced {
                    Ok(()) => return,
                    Err(status) => status,
                },
            };
            // The reader may have gone meanwhile.
            let _ = sender.send(Err(end)).await;
        });
        Ok(Box::pin(ReceiverStream::new(receiver)))
    }
}

async fn ended(session: &Session) -> Status {
    errors::ended(session.ended().await)
}

/// What a stream's caller must still have, at each trust epoch as in each call.
struct Right {
    node: Arc<Node>,
    call: Call,
    session: Arc<Session>,
    route: Arc<Route>,
    tenant: TenantId,
}

impl Right {
    /// Completes when the caller's roles no longer permit what it reads. A session that is refused ends by itself.
    async fn lost(self) -> Status {
        let mut epochs = self.node.epochs.clone();
        loop {
            // Seen before the look: a change during it leads to another.
            epochs.mark_unchanged();
            if let Err(Error::Denied(denial)) = self.ask() {
                self.node.refusals.denied(&self.call, denial);
                return errors::to_status(&Error::Denied(denial));
            }
            if epochs.changed().await.is_err() {
                // The feed has ended, and the node is about to.
                return std::future::pending().await;
            }
        }
    }

    fn ask(&self) -> Result<(), Error> {
        let Access::Rule(rule) = self.route.access() else { return Ok(()) };
        let permit = gate::permit(&self.node, rule, &self.session, self.node.now())?;
        Ok(permit.tenant(&self.tenant, None).map(drop)?)
    }
}
