//! Metrics, health and keys, in plain HTTP on a listener of their own.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};
use signet_client::{Identity, RenewalState};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{metrics::Gauges, shared::Shared};

/// As the SDK: who hears nothing for longer decides nothing.
const SILENCE: Duration = Duration::from_secs(30);

/// What is shown.
#[derive(Clone)]
pub(crate) struct Private {
    pub(crate) shared: Arc<Shared>,
    pub(crate) identity: Identity,
}

/// Opens the listener; an error names the key.
pub(crate) async fn open(address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|error| format!("private = \"{address}\" cannot be opened: {error}"))
}

/// Serves until `stop`.
pub(crate) async fn serve(listener: TcpListener, private: Private, stop: CancellationToken) {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(health))
        .route("/jwks.json", get(keys))
        .with_state(private);
    let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(%error, "the private listener ended");
    }
}

async fn metrics(State(private): State<Private>) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], private.metrics()).into_response()
}

async fn keys(State(private): State<Private>) -> Json<Value> {
    Json(private.shared.keys.published())
}

async fn health(State(private): State<Private>) -> Response {
    let problem = private.problem();
    let status = if problem.is_some() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let body = json!({ "status": if problem.is_some() { "not ok" } else { "ok" }, "problem": problem });
    (status, Json(body)).into_response()
}

impl Private {
    /// Why requests are refused, if all are.
    fn problem(&self) -> Option<&'static str> {
        let standing = self.identity.status().borrow().standing;
        match standing {
            RenewalState::Expired => Some("the gateway's own certificate has expired; see its log"),
            RenewalState::Refused => Some("the gateway's own certificate is refused; enroll it again"),
            _ if self.shared.authorizer.silence() > SILENCE => {
                Some("nothing is heard of the control plane, so that nobody is let through")
            }
            _ => None,
        }
    }

    fn metrics(&self) -> String {
        let facts = self.identity.status().borrow().facts.clone();
        let silence = i64::try_from(self.shared.authorizer.silence().as_secs()).unwrap_or(i64::MAX);
        let lost = i64::try_from(self.shared.audit.lost()).unwrap_or(i64::MAX);
        let live = self.shared.live.load();
        let upstreams = live.upstreams.iter().map(|one| (one.config.name.clone(), one.is_open(), one.requests()));
        let gauges = Gauges {
            plain: vec![
                (
                    "not_after_seconds",
                    "Expiry of the gateway's own certificate, Unix time.",
                    facts.not_after_unix_millis / 1000,
                ),
                ("control_plane_silence_seconds", "Since the control plane was heard last.", silence),
                ("audit_lost", "Audit events that could not be written since the start.", lost),
                ("well", "1: requests can be decided.", i64::from(self.problem().is_none())),
            ],
            upstreams: upstreams.collect(),
        };
        self.shared.metrics.render(&gauges)
    }
}
