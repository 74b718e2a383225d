//! Who sends: whether it may, and whether it is late to use its next secret.

use signet_core::{
    PrincipalId, TenantScope, Time,
    messages::MessageSecret,
    principals::{Principal, PrincipalStatus},
    store::{Versioned, commit::Write},
};
use signet_messages::MessageRefusal;

use crate::{App, AuditEntry, Call, call, ledger};

/// Whether a principal of the tenant counts as a sender, by what the node has in memory.
pub type Admits<'a> = &'a (dyn Fn(&PrincipalId) -> bool + Sync);

/// Whether the principal is the device whose secret it is, and may send.
pub(super) fn require_sender(principal: Option<&Principal>, incarnation: Time) -> Result<(), MessageRefusal> {
    let own = principal.filter(|principal| principal.created_at == incarnation).ok_or(MessageRefusal::UnknownSender)?;
    if own.status == PrincipalStatus::Active { Ok(()) } else { Err(MessageRefusal::SenderRefused) }
}

/// Once for each change of secrets: the device may not know of the next one, which it needs in a quarter of an hour.
pub(super) async fn note_late_use(app: &App, call: &Call, scope: &TenantScope, record: &Versioned<MessageSecret>) {
    let Some(previous) = record.value.previous.as_ref().filter(|previous| previous.is_late(call.now)) else { return };
    let mut noted = record.value.clone();
    if let Some(previous) = noted.previous.as_mut() {
        previous.is_late_noted = true;
    }
    let entry = AuditEntry::refused(call, "MESSAGE_SECRET_LATE").about("message_secret", &record.value.principal);
    let entry = entry.detail("secret", &previous.secret.id).detail("until", previous.until.unix_seconds());
    let commit = call::audited(app, call, scope.tenant(), &entry);
    let commit = commit.write(Write::replace(noted, record.version.clone()));
    // Another node was faster, or its next message is noted.
    if let Err(error) = ledger::commit(app, &commit, call.now).await {
        tracing::debug!(%error, "the late use of a message secret is not noted yet");
    }
}
