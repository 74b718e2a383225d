//! Tells verifiers whose secrets, or whose right to send, changed.

use std::{sync::Arc, time::Duration};

use signet_core::{TenantId, trust::Affected};
use signet_proto::v1::{MessageSecretsChange, message_secrets_change::Of};
use tokio::time::{Instant, timeout_at};
use tonic::Status;

use crate::{node::Node, services::stream::Sink};

/// How often a verifier hears of the node when nothing changes.
const EVERY: Duration = Duration::from_secs(5);
/// From so many changes at once on, all secrets are to be asked for again.
const MANY: usize = 1000;

pub(super) async fn watch(node: Arc<Node>, tenant: TenantId, sink: Sink<MessageSecretsChange>) -> Result<(), Status> {
    let mut epochs = node.epochs.clone();
    // From before the first message: an answer that comes after it is told of if it changes.
    let mut seen = node.trust.epoch();
    let mut changes = vec![MessageSecretsChange { of: Some(Of::All(true)) }];
    let mut spoke = Instant::now();
    loop {
        for change in changes {
            if !sink.send(change).await {
                return Ok(());
            }
            spoke = Instant::now();
        }
        let changed = timeout_at(spoke + EVERY, epochs.changed()).await;
        if let Ok(Err(_)) = changed {
            return Ok(());
        }
        let epoch = node.trust.epoch();
        changes = told(&node.trust.affected_since(seen, &tenant));
        seen = epoch;
        if changed.is_err() {
            spoke = Instant::now();
            // Who hears nothing knows that this node may know nothing.
            if changes.is_empty() && !node.trust.refuses_all() {
                changes.push(MessageSecretsChange { of: None });
            }
        }
    }
}

fn told(affected: &[Affected]) -> Vec<MessageSecretsChange> {
    let mut told = Vec::new();
    for affected in affected {
        let of = match affected {
            Affected::MessageSecret(_, id) | Affected::Principal(_, id) => Of::PrincipalId(id.to_string()),
            // A certificate signs no messages.
            Affected::Certificate(..) => continue,
            Affected::Everybody | Affected::Tenant(_) => Of::All(true),
        };
        if of == Of::All(true) || told.len() >= MANY {
            return vec![MessageSecretsChange { of: Some(Of::All(true)) }];
        }
        if !told.contains(&of) {
            told.push(of);
        }
    }
    told.into_iter().map(|of| MessageSecretsChange { of: Some(of) }).collect()
}
