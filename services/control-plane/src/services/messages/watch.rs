//! What verifiers hear of secrets, and of the right to send, that changed.

use signet_core::trust::Affected;
use signet_proto::v1::{MessageSecretsChange, message_secrets_change::Of};

/// From so many changes at once on, all secrets are to be asked for again.
const MANY: usize = 1000;

pub(super) fn told(affected: &[Affected]) -> Vec<MessageSecretsChange> {
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
