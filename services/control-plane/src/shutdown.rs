//! The end in order: not ready, no new connections, calls in flight finished, streams ended, what calls had set going
//! finished, then everything else.

use std::{sync::atomic::Ordering, time::Duration};

use signet_app::sync::detached;
use tokio::{net::TcpListener, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{ServeError, grpc::Server};

/// Time for connections that were cut, and for background work, to end.
const LAST_MOMENT: Duration = Duration::from_secs(2);

/// Serves until `shutdown`, then ends `server`, the background `tasks` and, last, the `plain` listeners.
pub(crate) async fn run(
    server: Server,
    listener: TcpListener,
    shutdown: CancellationToken,
    tasks: (TaskTracker, CancellationToken),
    plain: (TaskTracker, CancellationToken),
) -> Result<(), ServeError> {
    let node = std::sync::Arc::clone(&server.node);
    let stop_accepting = CancellationToken::new();
    let mut serving = tokio::spawn(server.run(listener, stop_accepting.clone(), tasks.1.clone()));
    let asked = tokio::select! {
        () = shutdown.cancelled() => Ok(()),
        gone = &mut serving => Err(ServeError::Ended(gone.map_or_else(|error| error.to_string(), |()| "see the log".into()))),
    };
    tracing::info!(limit = ?node.limits.drain, "draining");
    node.draining.store(true, Ordering::Release);
    node.drained.cancel();
    stop_accepting.cancel();
    if asked.is_ok() && timeout(node.limits.drain, &mut serving).await.is_err() {
        let cut = node.connections.drain();
        tracing::warn!(connections.cut = cut, "calls were still running at the drain limit");
        if timeout(LAST_MOMENT, &mut serving).await.is_err() {
            serving.abort();
        }
    }
    if timeout(LAST_MOMENT, detached::wait_detached(&node.app)).await.is_err() {
        tracing::error!("locks or refusals of disconnected callers were not stored in time");
    }
    end(tasks).await;
    end(plain).await;
    if let Err(error) = node.app.store().settle().await {
        tracing::warn!(%error, "the store file is incomplete without its -wal file: copy both");
    }
    tracing::info!("ended");
    asked
}

async fn end((tasks, stop): (TaskTracker, CancellationToken)) {
    stop.cancel();
    tasks.close();
    if timeout(LAST_MOMENT, tasks.wait()).await.is_err() {
        tracing::warn!("background work did not end in time");
    }
}
