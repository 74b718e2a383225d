//! The connection to the control plane: what changes comes over it, and answers do.

use std::{sync::Arc, time::Duration};

use signet_proto::v1::{
    BatchCheckRequest, CheckResponse, DecisionsChange, WatchDecisionsRequest,
    authorization_service_client::AuthorizationServiceClient, decisions_change::Of,
};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tonic::{Status, Streaming, transport::Channel};

use super::Inner;
use crate::{error::ClientError, identity::Shared, retry::jittered};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// The server speaks every five seconds.
const SILENT: Duration = Duration::from_secs(15);
/// How often it is looked for what time alone has ended.
const REVIEW: Duration = Duration::from_secs(1);

/// One connection, so that both come from the same node and in order.
pub(super) struct Connection(AuthorizationServiceClient<Channel>);

impl Connection {
    /// One answer for each question.
    pub(super) async fn ask(&self, questions: &[super::Question]) -> Result<Vec<CheckResponse>, ClientError> {
        let mut client = self.0.clone();
        if let [question] = questions {
            return Ok(vec![client.check(question.message()).await?.into_inner()]);
        }
        let checks = questions.iter().map(super::Question::message).collect();
        let answers = client.batch_check(BatchCheckRequest { checks }).await?.into_inner().answers;
        if answers.len() == questions.len() {
            Ok(answers)
        } else {
            Err(Status::internal("the answers are not as many as the questions").into())
        }
    }
}

/// For ever: a connection that ends (with the certificate, with the node) is opened again.
pub(super) async fn run(shared: Arc<Shared>, inner: Arc<Inner>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let opened = Instant::now();
        let error = connected(&shared, &inner).await.err();
        inner.connection.send_replace(None);
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
    let connection = Arc::new(Connection(client));
    let mut ticks = interval(REVIEW);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            change = next(&mut stream) => {
                let Some(change) = change? else { return Ok(()) };
                inner.heard();
                if let Some(of) = &change.of {
                    inner.answers.change(of);
                }
                if matches!(change.of, Some(Of::All(_))) {
                    // What was kept before is forgotten: from now on, questions go here.
                    inner.connection.send_replace(Some(Arc::clone(&connection)));
                }
                if change.of.is_none() {
                    continue;
                }
            }
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
