//! Secrets for services that verify by themselves.

use futures::{StreamExt, TryStreamExt, stream};
use signet_core::{
    Error, PrincipalId, TenantScope, Time,
    principals::{Principal, PrincipalStatus},
};
use signet_messages::{MessageRefusal, SigningSecret};

use super::{keys, secrets, verification::Admits};
use crate::{App, AuditEntry, Call, call, ledger, reads};

/// Records that are read at once.
const READS_AT_ONCE: usize = 16;

/// What a verifier is given of a device.
#[derive(Debug)]
pub struct FetchedSecret {
    /// The device.
    pub principal: PrincipalId,
    /// The secret that signs and, until when it verifies, the one before; or why there is none.
    pub secrets: Result<(SigningSecret, Option<(SigningSecret, Time)>), MessageRefusal>,
}

/// The secrets of `devices`, in their order. What is given is in the audit log first.
pub async fn fetch_message_secrets(
    app: &App,
    call: &Call,
    scope: &TenantScope,
    admits: Admits<'_>,
    devices: Vec<PrincipalId>,
) -> Result<Vec<FetchedSecret>, Error> {
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
        // One that cannot be opened is no trouble of the others.
        Err(Error::Misconfigured { .. } | Error::Unreadable { .. }) => Err(MessageRefusal::Unknown),
        found => found?,
    };
    Ok(FetchedSecret { principal, secrets })
}

type Secrets = Result<(SigningSecret, Option<(SigningSecret, Time)>), MessageRefusal>;

async fn found(
    app: &App,
    call: &Call,
    scope: &TenantScope,
    admits: Admits<'_>,
    device: &PrincipalId,
) -> Result<Secrets, Error> {
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
    let current = keys::opened(app, scope, &record, &record.current, call.now).await?;
    let previous = match record.in_grace(call.now) {
        Some(previous) => {
            let secret = keys::opened(app, scope, &record, &previous.secret, call.now).await?;
            Some((secret, previous.until))
        }
        None => None,
    };
    Ok(Ok((current, previous)))
}

/// Whether the principal is the device whose secret it is, and may send.
pub(super) fn require_sender(principal: Option<&Principal>, incarnation: Time) -> Result<(), MessageRefusal> {
    let own = principal.filter(|principal| principal.created_at == incarnation).ok_or(MessageRefusal::UnknownSender)?;
    if own.status == PrincipalStatus::Active { Ok(()) } else { Err(MessageRefusal::SenderRefused) }
}
