//! The connection to the control plane: what changes comes over it, and answers do.

use std::{sync::Arc, time::Duration};

use signet_proto::v1::{
    DecisionsChange, WatchDecisionsRequest, authorization_service_client::AuthorizationServiceClient,
    decisions_change::Of,
};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tonic::{Status, Streaming};

use super::{connection::Connection, state::Inner};
use crate::{
    error::ClientError,
    identity::{Shared, Task},
    retry::jittered,
};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// The server speaks every five seconds.
const SILENT: Duration = Duration::from_secs(15);
/// How often it is looked for what time alone has ended.
const REVIEW: Duration = Duration::from_secs(1);

/// For ever: a connection that ends (with the certificate, with the node) is opened again.
pub(super) async fn run(shared: Arc<Shared>, inner: Arc<Inner>) {
    // Beside the stream, which must be read meanwhile, and whether there is one or not.
    let _reviewer = Task::spawn(review(Arc::clone(&inner)));
    let mut pause = FIRST_PAUSE;
    loop {
        let opened = Instant::now();
        let error = connected(&shared, &inner).await.err();
        inner.disconnected(error.as_ref().is_some_and(ClientError::refuses_us));
        tracing::debug!(error = error.map(|error| error.to_string()), "the stream of decisions ended; reopening it");
        pause = if opened.elapsed() > LONGEST_PAUSE { FIRST_PAUSE } else { pause };
        sleep(jittered(pause)).await;
        pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
    }
}

async fn connected(shared: &Shared, inner: &Inner) -> Result<(), ClientError> {
    let channel = shared.connector(Some(&shared.held()))?.connect_once().await?;
    let mut client = AuthorizationServiceClient::new(channel.clone());
    let mut stream = client.watch_decisions(WatchDecisionsRequest::default()).await?.into_inner();
    let connection = Arc::new(Connection::new(channel));
    let mut opened = false;
    loop {
        let change = tokio::select! {
            change = next(&mut stream) => change?,
            // Calls have found it ended: what changes must not come over another connection than answers do.
            () = connection.over.cancelled() => return Ok(()),
        };
        let Some(change) = change else { return Ok(()) };
        inner.heard();
        match &change.of {
            // The first: what was kept is in doubt already, and from now on questions go here.
            Some(Of::All(_)) if !opened => {
                opened = true;
                inner.connected(&connection);
            }
            Some(of) => inner.answers.change(of),
            None => continue,
        }
        inner.changed.notify_one();
    }
}

async fn review(inner: Arc<Inner>) {
    let mut ticks = interval(REVIEW);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = inner.changed.notified() => {}
            _ = ticks.tick() => {}
        }
        inner.review().await;
    }
}

/// `None`: it has ended.
async fn next(stream: &mut Streaming<DecisionsChange>) -> Result<Option<DecisionsChange>, ClientError> {
    let silent = |_| Status::unavailable("nothing is heard of the control plane");
    Ok(timeout(SILENT, stream.message()).await.map_err(silent)??)
}
