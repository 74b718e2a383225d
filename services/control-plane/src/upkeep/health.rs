//! The gRPC health service says what `/readyz` says.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{authorization::SERVICES, node::Node};

const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Reports readiness, for the server as a whole and for each service, until `stop`.
pub(crate) async fn report(node: Arc<Node>, reporter: HealthReporter, stop: CancellationToken) {
    let mut told = None;
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    loop {
        let ready = node.readiness(node.now()).ready;
        if told != Some(ready) {
            told = Some(ready);
            let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
            for service in std::iter::once("").chain(SERVICES) {
                reporter.set_service_status(service, status).await;
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
    }
}
