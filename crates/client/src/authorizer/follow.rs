//! The connection to the control plane: what changes comes over it, and answers do.

use std::{sync::Arc, time::Duration};

use signet_proto::v1::{
    DecisionsChange, WatchDecisionsRequest, authorization_service_client::AuthorizationServiceClient,
    decisions_change::Of,
};
use tokio::{
    sync::Notify,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};
use tonic::{Status, Streaming};

use super::{connection::Connection, state::Inner};
use crate::{error::ClientError, identity::{Shared, Task}, retry::jittered};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// The server speaks every five seconds.
const SILENT: Duration = Duration::from_secs(15);
/// How often it is looked for what time alone has ended.
const REVIEW: Duration = Duration::from_secs(1);

/// For ever: a connection that ends (with the certificate, with the node) is opened again.
pub(super) async fn run(shared: Arc<Shared>, inner: Arc<Inner>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let opened = Instant::now();
        let error = connected(&shared, &inner).await.err();
        inner.connection.send_replace(None);
        inner.answers.doubt();
        tracing::debug!(error = error.map(|error| error.to_string()), "the stream of decisions ended; reopening it");
        pause = if opened.elapsed() > LONGEST_PAUSE { FIRST_PAUSE } else { pause };
        sleep(jittered(pause)).await;
        inner.review(None).await;
        pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
    }
}

async fn connected(shared: &Shared, inner: &Arc<Inner>) -> Result<(), ClientError> {
    let channel = shared.connector(Some(&shared.held()))?.connect().await?;
    let mut client = AuthorizationServiceClient::new(channel);
    let mut stream = client.watch_decisions(WatchDecisionsRequest::default()).await?.into_inner();
    let (connection, changed) = (Arc::new(Connection::new(client)), Arc::new(Notify::new()));
    // Beside the stream, which must be read meanwhile.
    let _reviewer = Task::spawn(review(Arc::clone(inner), Arc::clone(&connection), Arc::clone(&changed)));
    let mut opened = false;
    while let Some(change) = next(&mut stream).await? {
        inner.heard();
        match &change.of {
            // The first: what was kept is in doubt already, and from now on questions go here.
            Some(Of::All(_)) if !opened => {
                opened = true;
                inner.connection.send_replace(Some(Arc::clone(&connection)));
            }
            Some(of) => inner.answers.change(of),
            None => continue,
        }
        changed.notify_one();
    }
    Ok(())
}

async fn review(inner: Arc<Inner>, connection: Arc<Connection>, changed: Arc<Notify>) {
    let mut ticks = interval(REVIEW);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = changed.notified() => {}
            _ = ticks.tick() => {}
        }
        inner.review(Some(&connection)).await;
    }
}

/// `None`: it has ended.
async fn next(stream: &mut Streaming<DecisionsChange>) -> Result<Option<DecisionsChange>, ClientError> {
    let silent = |_| Status::unavailable("nothing is heard of the control plane");
    Ok(timeout(SILENT, stream.message()).await.map_err(silent)??)
}
