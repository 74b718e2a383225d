//! Secrets for services that verify by themselves.

use futures::{StreamExt, TryStreamExt, stream};
use signet_core::{Error, PrincipalId, TenantScope, Time};
use signet_messages::{MessageRefusal, SigningSecret};

use super::{
    keys, secrets,
    senders::{Admits, note_late_use, require_sender},
};
use crate::{App, AuditEntry, Call, call, ledger, reads};

/// Records that are read at once.
const READS_AT_ONCE: usize = 16;

/// The secret that signs and, until when it verifies, the one before; or why there is none.
pub type FetchedPair = Result<(SigningSecret, Option<(SigningSecret, Time)>), MessageRefusal>;

/// What a verifier is given of a device.
#[derive(Debug)]
pub struct FetchedSecret {
    /// The device.
    pub principal: PrincipalId,
    /// Its secrets.
    pub secrets: FetchedPair,
}

/// The secrets of `devices`, in their order. What is given is in the audit log first, and which devices were `late` to
/// use their next secret, by the caller's word.
pub async fn fetch_message_secrets(
    app: &App,
    call: &Call,
    scope: &TenantScope,
    admits: Admits<'_>,
    devices: Vec<PrincipalId>,
    late: &[PrincipalId],
) -> Result<Vec<FetchedSecret>, Error> {
    for device in late {
        if let Ok(Some(record)) = secrets::record(app, scope, device, call.now).await {
            note_late_use(app, call, scope, &record).await;
        }
    }
    let mut reads = Vec::with_capacity(devices.len());
    for device in devices {
        reads.push(fetched(app, call, scope, admits, device));
    }
    let found: Vec<FetchedSecret> = stream::iter(reads).buffered(READS_AT_ONCE).try_collect().await?;
    let given: Vec<&str> = found.iter().filter(|of| of.secrets.is_ok()).map(|of| of.principal.as_str()).collect();
    if !given.is_empty() {
        let entry = AuditEntry::done(call, "message_secrets", scope.tenant()).detail("devices", given.join(" "));
        ledger::commit(app, &call::audited(app, call, scope.tenant(), &entry), call.now).await?;
    }
    Ok(found)
}

async fn fetched(
    app: &App,
    call: &Call,
    scope: &TenantScope,
    admits: Admits<'_>,
    principal: PrincipalId,
) -> Result<FetchedSecret, Error> {
    let secrets = match found(app, call, scope, admits, &principal).await {
        // One that cannot be read is no trouble of the others.
        Err(Error::Unreadable { .. }) => Err(MessageRefusal::Unknown),
        found => found?,
    };
    Ok(FetchedSecret { principal, secrets })
}

async fn found(
    app: &App,
    call: &Call,
    scope: &TenantScope,
    admits: Admits<'_>,
    device: &PrincipalId,
) -> Result<FetchedPair, Error> {
    if !admits(device) {
        return Ok(Err(MessageRefusal::SenderRefused));
    }
    let Some(record) = secrets::record(app, scope, device, call.now).await?.map(|found| found.value) else {
        return Ok(Err(MessageRefusal::UnknownSender));
    };
    let principal = reads::find_principal(app, scope, device, call.now).await?.map(|found| found.value);
    if let Err(refusal) = require_sender(principal.as_ref(), record.incarnation) {
        return Ok(Err(refusal));
    }
    Ok(keys::pair(app, scope, &record, call.now).await?.ok_or(MessageRefusal::Unknown))
}
