//! The end in order: not ready, no new connections, calls in flight finished, streams ended, then everything else.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::{net::TcpListener, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::grpc::Server;

/// Time for connections that were cut, and for background work, to end.
const LAST_MOMENT: Duration = Duration::from_secs(2);

/// Serves until `shutdown`, then ends `server`, the background `tasks` and, last, the `plain` listeners.
pub(crate) async fn run(
    server: Server,
    listener: TcpListener,
    shutdown: CancellationToken,
    tasks: (TaskTracker, CancellationToken),
    plain: (TaskTracker, CancellationToken),
) {
    let node = std::sync::Arc::clone(&server.node);
    let stop_accepting = CancellationToken::new();
    let mut serving = tokio::spawn(server.run(listener, stop_accepting.clone(), tasks.1.clone()));
    tokio::select! {
        () = shutdown.cancelled() => tracing::info!(limit = ?node.limits.drain, "draining"),
        _ = &mut serving => tracing::error!("the gRPC listener is gone; ending"),
    }
    node.draining.store(true, Ordering::Release);
    node.drained.cancel();
    stop_accepting.cancel();
    if !serving.is_finished() && timeout(node.limits.drain, &mut serving).await.is_err() {
        let cut = node.connections.drain();
        tracing::warn!(connections.cut = cut, "calls were still under way at the drain limit");
        if timeout(LAST_MOMENT, &mut serving).await.is_err() {
            serving.abort();
        }
    }
    end(tasks).await;
    end(plain).await;
    tracing::info!("ended");
}

async fn end((tasks, stop): (TaskTracker, CancellationToken)) {
    stop.cancel();
    tasks.close();
    if timeout(LAST_MOMENT, tasks.wait()).await.is_err() {
        tracing::warn!("background work did not end in time");
    }
}
