//! Tells those who keep answers which of them hold no more.

use std::{sync::Arc, time::Duration};

use signet_core::{TenantId, trust::Affected};
use signet_proto::v1::{DecisionsChange, decisions_change::Of};
use tokio::time::{Instant, timeout_at};
use tonic::Status;

use crate::{node::Node, services::stream::Sink};

/// How often a watcher hears of the node when nothing changes.
const EVERY: Duration = Duration::from_secs(5);
/// From so many changes at once on, all answers are to be asked for again.
const MANY: usize = 100;

/// `named`: whether the watcher may learn whom a change is about.
pub(super) async fn watch(
    node: Arc<Node>,
    tenant: TenantId,
    named: bool,
    sink: Sink<DecisionsChange>,
) -> Result<(), Status> {
    let mut epochs = node.epochs.clone();
    // From before the first message: an answer that comes after it is told of if it changes.
    let mut seen = node.trust.epoch();
    let mut changes = vec![DecisionsChange { of: Some(Of::All(true)) }];
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
        changes = messages(&node.trust.affected_since(seen, &tenant), named);
        seen = epoch;
        if changed.is_err() {
            spoke = Instant::now();
            // Who hears nothing knows that this node may know nothing.
            if changes.is_empty() && !node.trust.refuses_all() {
                changes.push(DecisionsChange { of: None });
            }
        }
    }
}

fn messages(affected: &[Affected], named: bool) -> Vec<DecisionsChange> {
    // What signs messages decides nothing that is asked here.
    let decisions = affected.iter().filter(|affected| !matches!(affected, Affected::MessageSecret(..)));
    let mut all = decisions.map(|affected| match affected {
        Affected::Principal(_, id) if named => Of::PrincipalId(id.to_string()),
        Affected::Certificate(_, serial) if named => Of::SerialNumber(serial.to_string()),
        _ => Of::All(true),
    });
    let mut told = Vec::new();
    let is_all = affected.len() > MANY
        || all.any(|of| {
            let is_all = of == Of::All(true);
            if !told.contains(&of) {
                told.push(of);
            }
            is_all
        });
    let told = if is_all { vec![Of::All(true)] } else { told };
    told.into_iter().map(|of| DecisionsChange { of: Some(of) }).collect()
}
