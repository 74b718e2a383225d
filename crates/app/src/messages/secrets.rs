//! The secrets' records.

use serde::Serialize;
use signet_core::{
    Error, PrincipalId, PrincipalType, TenantScope, Time,
    audit::sha256_hex,
    authorities::signer::random,
    authorization::Permit,
    messages::{MessageSecret, SealedSecret, bound_to},
    principals::Principal,
    store::{
        Entity, LISTING_SHARDS, Versioned,
        commit::{Commit, Write},
    },
    trust::change::Notice,
};
use signet_messages::SigningSecret;

use super::keys::{self, Sealing};
use crate::{
    App, AuditEntry, Call, Listing, PageRequest, Planned, authorities::reservation, call,
    certificates::order::require_active_principal, ledger, paging, reads,
};

/// The kind of resource in audit events: a restore goes by it.
const KIND: &str = "message_secret";

/// Whose secret is to be made or replaced.
#[derive(Clone, Debug, Serialize)]
pub struct RotateMessageSecret {
    /// The device.
    pub principal: PrincipalId,
    /// Whether the one before ends at once.
    pub at_once: bool,
}

/// A secret that was just made.
#[derive(Debug)]
pub struct RotatedSecret {
    /// What is kept of it.
    pub record: MessageSecret,
    /// It, for its device.
    pub secret: SigningSecret,
}

/// Makes a device's first secret, or the next one, which a device does not make for itself (`SECRET_HELD`). A
/// repetition of the request is given the same secret, by whom it was asked for and for as long as it is the device's:
/// an answer that was lost must not cost the device two secrets.
pub async fn rotate_message_secret(
    app: &App,
    call: &Call,
    permit: &Permit,
    scope: &TenantScope,
    input: RotateMessageSecret,
) -> Result<RotatedSecret, Error> {
    let secret = SigningSecret::new(random(&*app.entropy));
    let id = reservation::serial(app, call.now).to_string();
    let asked_by = asked_by(call);
    let plan = || async {
        reads::require_active_tenant(app, scope, call.now).await?;
        let device = device(app, scope, permit, &input.principal, call.now).await?;
        require_active_principal(&device.value)?;
        let before = record(app, scope, &input.principal, call.now).await?;
        let Sealing { key, made } = keys::sealing(app, scope, call.now).await?;
        let id = id.parse().map_err(Error::internal)?;
        let place = bound_to(scope.tenant(), &input.principal, &id);
        let sealed = key.seal(random(&*app.entropy), &place, &secret).map_err(Error::internal)?;
        let next = SealedSecret { id, sealed, made_at: call.now, asked_by: asked_by.clone() };
        let whose = (scope.tenant(), &input.principal, device.value.created_at);
        let known = before.as_ref().map(|before| &before.value);
        if is_own(permit, scope, &input.principal)
            && known.is_some_and(|known| known.incarnation == device.value.created_at)
        {
            // Whoever has a copy of its certificate must not get its secret as well.
            let message = format!("{} has a secret: an admin makes the next one", input.principal);
            return Err(Error::precondition("SECRET_HELD", message));
        }
        let rotated = MessageSecret::rotated(known, whose, next, input.at_once, call.now);
        let rotated = rotated.map_err(|until| in_grace(until, call.now))?;
        let entry = AuditEntry::done(call, KIND, &input.principal).detail("secret", &rotated.current.id);
        let entry = known.iter().fold(entry, |entry, before| entry.detail("previous", &before.current.id));
        let entry = if input.at_once { entry.detail("at_once", true) } else { entry };
        let write = match before {
            Some(before) => Write::replace(rotated.clone(), before.version),
            None => Write::create(rotated.clone()),
        };
        // Its deletion at the same moment sees the secret, or this sees the deletion.
        let check = Write::Check(device.value.key(), device.version);
        let commit = changed(app, call, scope, &input.principal, &entry).write(write).write(check);
        let commit = commit.writes(made.map(Write::create));
        Ok(Planned::Commit(Box::new(commit), (rotated, secret.clone())))
    };
    let replay = |_| replayed(app, call, scope, &input.principal, asked_by.as_deref());
    let (record, secret) = ledger::mutate(app, call, scope.tenant(), &input, plan, replay).await?;
    Ok(RotatedSecret { record, secret })
}

fn in_grace(until: Time, now: Time) -> Error {
    let minutes = until.millis_since(now).saturating_add(59_999) / 60_000;
    let message =
        format!("the secret before the present one still verifies for {minutes} min: wait, or end both at once");
    Error::precondition("SECRET_IN_GRACE", message)
}

/// The secret that this very request has made.
async fn replayed(
    app: &App,
    call: &Call,
    scope: &TenantScope,
    device: &PrincipalId,
    asked_by: Option<&str>,
) -> Result<(MessageSecret, SigningSecret), Error> {
    let found = record(app, scope, device, call.now).await?.map(|found| found.value);
    let own = found.filter(|found| found.current.asked_by.is_some() && found.current.asked_by.as_deref() == asked_by);
    let Some(own) = own else {
        let message = "this request made a secret that another has taken the place of; make the next one with a new \
                       request id";
        return Err(Error::precondition("SECRET_NOT_KEPT", message));
    };
    let secret = keys::opened(app, scope, &own, &own.current, call.now).await?;
    let secret = secret.ok_or_else(|| Error::internal("a message secret that was just made cannot be opened"))?;
    Ok((own, secret))
}

/// Ends a device's secrets. `NOT_FOUND` if it has none.
pub async fn delete_message_secret(
    app: &App,
    call: &Call,
    permit: &Permit,
    scope: &TenantScope,
    device: &PrincipalId,
) -> Result<(), Error> {
    let plan = || async {
        let found = record(app, scope, device, call.now).await?;
        let Some(found) = found else {
            self::device(app, scope, permit, device, call.now).await?;
            return Err(Error::not_found("message secret", device));
        };
        // Also of a device that is gone.
        if let Some(device) = reads::find_principal(app, scope, device, call.now).await? {
            permit.may_manage(device.value.principal_type, &device.value.roles)?;
        }
        let entry = AuditEntry::done(call, KIND, device).detail("previous", &found.value.current.id);
        let removed = Write::Delete(found.value.key(), found.version);
        Ok(Planned::Commit(Box::new(changed(app, call, scope, device, &entry).write(removed)), ()))
    };
    ledger::mutate(app, call, scope.tenant(), &("delete", device), plan, |_| async { Ok(()) }).await
}

/// What is known of a device's secrets. `NOT_FOUND` if it has none.
pub async fn get_message_secret(
    app: &App,
    call: &Call,
    scope: &TenantScope,
    device: &PrincipalId,
) -> Result<MessageSecret, Error> {
    let principal = reads::principal(app, scope, device, call.now).await?.value;
    let found = record(app, scope, device, call.now).await?.map(|found| found.value);
    let own = found.filter(|found| found.incarnation == principal.created_at);
    own.ok_or_else(|| Error::not_found("message secret", device))
}

/// Lists what is known of the secrets of the tenant's devices, in no particular order.
pub async fn list_message_secrets(
    app: &App,
    call: &Call,
    scope: &TenantScope,
    page: &PageRequest,
) -> Result<Listing<MessageSecret>, Error> {
    let tenant = scope.tenant();
    let query = |shard| MessageSecret::list(tenant, shard);
    let read = |query| async move { scope.page::<MessageSecret>(&*app.store, &query, call.now).await };
    let found = paging::list(page, &format!("message-secrets/{tenant}"), LISTING_SHARDS, query, read).await?;
    reads::in_tenant(app, scope, found, call.now).await
}

/// The record of a device's secrets, of whatever life of its id.
pub(super) async fn record(
    app: &App,
    scope: &TenantScope,
    device: &PrincipalId,
    now: Time,
) -> Result<Option<Versioned<MessageSecret>>, Error> {
    Ok(scope.get(&*app.store, &MessageSecret::key_of(scope.tenant(), device), now).await?)
}

/// Who asked, and with which request id: nobody else's repetition is the same.
pub(super) fn asked_by(call: &Call) -> Option<String> {
    let id = call.request_id.as_ref()?;
    Some(sha256_hex(format!("{}#{id}", call.actor.key()).as_bytes()))
}

async fn device(
    app: &App,
    scope: &TenantScope,
    permit: &Permit,
    id: &PrincipalId,
    now: Time,
) -> Result<Versioned<Principal>, Error> {
    let found = reads::principal(app, scope, id, now).await?;
    if found.value.principal_type != PrincipalType::Device {
        let message = format!("{id} is a {}: devices have message secrets", found.value.principal_type);
        return Err(Error::invalid("principal_id", "NOT_A_DEVICE", message));
    }
    if !is_own(permit, scope, id) {
        permit.may_manage(found.value.principal_type, &found.value.roles)?;
    }
    Ok(found)
}

fn is_own(permit: &Permit, scope: &TenantScope, id: &PrincipalId) -> bool {
    permit.identity().principal == *id && permit.identity().tenant == *scope.tenant()
}

/// A commit that tells every verifier.
fn changed(app: &App, call: &Call, scope: &TenantScope, device: &PrincipalId, entry: &AuditEntry) -> Commit {
    let notice = Notice::MessageSecretChanged { principal: device.clone() };
    call::audited(app, call, scope.tenant(), entry).notify(scope.tenant(), notice)
}
