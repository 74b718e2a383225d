//! The plain HTTP listeners: health and public material for everybody, metrics for the operator.

mod public;

use std::{sync::Arc, time::Duration};

use axum::{Router, http::header, response::IntoResponse, routing::get};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, sync::Semaphore, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::node::Node;

/// Connections at once, per listener.
const MAX_CONNECTIONS: usize = 512;
/// From the opening of a connection, or the answer before, to the end of a request's head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest life of a connection.
const MAX_AGE: Duration = Duration::from_secs(300);
/// After the system gave no connection.
const PAUSE: Duration = Duration::from_millis(100);
/// For answers under way at the end.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Serves health and public material until `shutdown`.
pub(crate) async fn serve_public(node: Arc<Node>, listener: TcpListener, shutdown: CancellationToken) {
    serve(listener, public::router(node), shutdown).await
}

/// Serves `/metrics` until `shutdown`.
pub(crate) async fn serve_metrics(node: Arc<Node>, listener: TcpListener, shutdown: CancellationToken) {
    let render = move || {
        let node = Arc::clone(&node);
        async move {
            crate::upkeep::gauges(&node);
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], node.metrics.render())
                .into_response()
        }
    };
    serve(listener, Router::new().route("/metrics", get(render)), shutdown).await
}

/// HTTP/1.1 until `shutdown`, with limits on what a slow or greedy client can hold.
async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) {
    let (places, open) = (Arc::new(Semaphore::new(MAX_CONNECTIONS)), GracefulShutdown::new());
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors, most likely: closing connections bring some back.
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let service = TowerToHyperService::new(router.clone());
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        let connection = timeout(MAX_AGE, open.watch(connection));
        tokio::spawn(async move {
            // Whatever a client did wrong, its connection is over.
            let _ = connection.await;
            drop(place);
        });
    }
    drop(listener);
    let _ = timeout(LAST_ANSWERS, open.shutdown()).await;
}
