//! The plain HTTP listeners: health and public material for everybody, metrics for the operator.

mod public;

use std::{io, sync::Arc};

use axum::{Router, http::header, response::IntoResponse, routing::get};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::node::Node;

/// Serves health and public material until `shutdown`.
pub(crate) async fn serve_public(
    node: Arc<Node>,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> io::Result<()> {
    serve(listener, public::router(node), shutdown).await
}

/// Serves `/metrics` until `shutdown`.
pub(crate) async fn serve_metrics(
    node: Arc<Node>,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> io::Result<()> {
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

async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) -> io::Result<()> {
    axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await
}
