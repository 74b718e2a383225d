//! The connection to the control plane: what changes comes over it, and secrets do.

use std::{sync::Arc, time::Duration};

use signet_proto::v1::{
    MessageSecretsChange, WatchMessageSecretsRequest, message_secrets_change::Of,
    message_service_client::MessageServiceClient,
};
use tokio::time::{Instant, interval, sleep, timeout};
use tonic::{Status, Streaming};

use super::{
    connection::Connection,
    state::{self, Inner},
};
use crate::{
    error::ClientError,
    identity::{Shared, Task},
    retry::jittered,
};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// The server speaks every five seconds.
const SILENT: Duration = Duration::from_secs(15);
/// How often it is looked for what can be forgotten.
const TIDY: Duration = Duration::from_secs(5);

/// For ever: a connection that ends (with the certificate, with the node) is opened again.
pub(super) async fn run(shared: Arc<Shared>, inner: Arc<Inner>) {
    let _fetcher = Task::spawn(state::fetch(Arc::clone(&inner)));
    let _tidier = Task::spawn(tidy(Arc::clone(&inner)));
    let (mut pause, mut told) = (FIRST_PAUSE, None);
    loop {
        let opened = Instant::now();
        let error = connected(&shared, &inner).await.err();
        inner.disconnected(error.as_ref().is_some_and(ClientError::refuses_us));
        let error = error.map(|error| error.to_string());
        if error.is_some() && error != told {
            tracing::warn!(tenant = %shared.anchors.tenant, error, "cannot follow devices' secrets; trying again");
        }
        let was_long = opened.elapsed() > LONGEST_PAUSE;
        told = if was_long { None } else { error };
        pause = if was_long { FIRST_PAUSE } else { pause };
        sleep(jittered(pause)).await;
        pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
    }
}

async fn connected(shared: &Shared, inner: &Inner) -> Result<(), ClientError> {
    let channel = shared.connector(Some(&shared.held()))?.connect_once().await?;
    let mut client = MessageServiceClient::new(channel.clone());
    let mut stream = client.watch_message_secrets(WatchMessageSecretsRequest {}).await?.into_inner();
    let connection = Arc::new(Connection::new(channel));
    let mut opened = false;
    loop {
        let change = tokio::select! {
            change = next(&mut stream) => change?,
            // What changes must not come over another connection than secrets do.
            () = connection.over.cancelled() => return Ok(()),
        };
        let Some(change) = change else { return Ok(()) };
        match change.of {
            Some(Of::All(_)) if !opened => {
                opened = true;
                inner.connected(&connection);
            }
            // Too many to tell.
            Some(Of::All(_)) => inner.memory.forget_all(),
            Some(Of::PrincipalId(device)) => inner.memory.change(&device),
            None => {}
        }
        inner.heard();
    }
}

async fn tidy(inner: Arc<Inner>) {
    let mut ticks = interval(TIDY);
    loop {
        ticks.tick().await;
        inner.tidy();
    }
}

/// `None`: it has ended.
async fn next(stream: &mut Streaming<MessageSecretsChange>) -> Result<Option<MessageSecretsChange>, ClientError> {
    let silent = |_| Status::unavailable("nothing is heard of the control plane");
    Ok(timeout(SILENT, stream.message()).await.map_err(silent)??)
}
