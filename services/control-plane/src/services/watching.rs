//! Tells those who keep what may change, at once.

use std::{sync::Arc, time::Duration};

use signet_core::{TenantId, trust::Affected};
use tokio::time::{Instant, timeout_at};
use tonic::Status;

use super::stream::Sink;
use crate::node::Node;

/// How often a watcher hears of the node when nothing changes.
const EVERY: Duration = Duration::from_secs(5);

/// `told`: what the watcher hears of changes; nothing if none is its own. First it hears that of everything, and the
/// default message is a sign of life.
pub(super) async fn watch<M: Default>(
    node: Arc<Node>,
    tenant: TenantId,
    sink: Sink<M>,
    told: impl Fn(&[Affected]) -> Vec<M>,
) -> Result<(), Status> {
    let mut epochs = node.epochs.clone();
    // From before the first message: an answer that comes after it is told of if it changes.
    let mut seen = node.trust.epoch();
    let mut changes = told(&[Affected::Everybody]);
    let mut spoke = Instant::now();
    loop {
        for change in changes {
            if !sink.send(change).await {
                return Ok(());
            }
            spoke = Instant::now();
        }
        // Others' changes put off no word that is due.
        let changed = timeout_at(spoke + EVERY, epochs.changed()).await;
        if let Ok(Err(_)) = changed {
            return Ok(());
        }
        let epoch = node.trust.epoch();
        // Also if nobody has told of a change yet: the feed tells once all of a poll is applied.
        changes = told(&node.trust.affected_since(seen, &tenant));
        seen = epoch;
        if changed.is_err() {
            spoke = Instant::now();
            // Who hears nothing knows that this node may know nothing.
            if changes.is_empty() && !node.trust.refuses_all() {
                changes.push(M::default());
            }
        }
    }
}
