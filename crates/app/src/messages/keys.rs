//! Tenants' data keys in this process's memory: unwrapped when a secret is first sealed or opened.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use signet_core::{
    Error, KeyError, TenantId, TenantScope, Time, WrapLabel, WrapUse,
    messages::{MessageKey, MessageSecret, SealedSecret, bound_to},
};
use signet_messages::{DataKey, SigningSecret};

use crate::{App, sync::single_flight::SingleFlight};

/// See the module's words. One for each tenant at most.
#[derive(Debug, Default)]
pub(crate) struct DataKeys {
    of: RwLock<HashMap<TenantId, (MessageKey, Arc<DataKey>)>>,
    unwrapping: SingleFlight<TenantId, Result<Option<Arc<DataKey>>, Error>>,
}

/// What seals a tenant's next secret.
pub(super) struct Sealing {
    pub(super) key: Arc<DataKey>,
    /// The key's record, if it is to be written with the first secret.
    pub(super) made: Option<MessageKey>,
}

/// The tenant's data key; `None`: it has none yet.
pub(super) async fn data_key(app: &App, scope: &TenantScope, now: Time) -> Result<Option<Arc<DataKey>>, Error> {
    if let Some(known) = known(app, scope.tenant()) {
        return Ok(Some(known));
    }
    app.data_keys.unwrapping.read(scope.tenant(), || read(app, scope, now)).await
}

fn known(app: &App, tenant: &TenantId) -> Option<Arc<DataKey>> {
    let known = app.data_keys.of.read().unwrap_or_else(PoisonError::into_inner);
    known.get(tenant).map(|(_, key)| Arc::clone(key))
}

/// The record counts, and what this process has of another one does not: a restore may have put one back.
async fn read(app: &App, scope: &TenantScope, now: Time) -> Result<Option<Arc<DataKey>>, Error> {
    let found = scope.get::<MessageKey>(&*app.store, &MessageKey::key_of(scope.tenant()), now).await?;
    let Some(record) = found.map(|found| found.value) else { return Ok(None) };
    let same = |(known, key): &(MessageKey, Arc<DataKey>)| (*known == record).then(|| Arc::clone(key));
    let known = app.data_keys.of.read().unwrap_or_else(PoisonError::into_inner).get(scope.tenant()).and_then(same);
    if let Some(known) = known {
        return Ok(Some(known));
    }
    let key = unwrapped(app, &record).await?;
    let mut all = app.data_keys.of.write().unwrap_or_else(PoisonError::into_inner);
    all.insert(scope.tenant().clone(), (record, Arc::clone(&key)));
    Ok(Some(key))
}

async fn unwrapped(app: &App, record: &MessageKey) -> Result<Arc<DataKey>, Error> {
    let plain = app.keys.unwrap(&label(&record.tenant), &record.wrapped).await?;
    Ok(Arc::new(DataKey::new(&plain).map_err(|_| unusable(&record.tenant))?))
}

/// The key to seal with; one that is made now counts once its record is written.
pub(super) async fn sealing(app: &App, scope: &TenantScope, now: Time) -> Result<Sealing, Error> {
    if let Some(key) = data_key(app, scope, now).await? {
        return Ok(Sealing { key, made: None });
    }
    let wrapped = app.keys.make_data_key(&label(scope.tenant())).await?;
    let record = MessageKey { tenant: scope.tenant().clone(), wrapped, made_at: now };
    Ok(Sealing { key: unwrapped(app, &record).await?, made: Some(record) })
}

/// A secret in clear; `None`: it was not sealed with the tenant's key for this place, which only its owner's next
/// secret puts right.
pub(super) async fn opened(
    app: &App,
    scope: &TenantScope,
    of: &MessageSecret,
    sealed: &SealedSecret,
    now: Time,
) -> Result<Option<SigningSecret>, Error> {
    let bound_to = bound_to(&of.tenant, &of.principal, &sealed.id);
    if let Some(key) = data_key(app, scope, now).await?
        && let Ok(secret) = key.open(&bound_to, &sealed.sealed)
    {
        return Ok(Some(secret));
    }
    // The key may be another since this process has read it.
    let key = app.data_keys.unwrapping.read(scope.tenant(), || read(app, scope, now)).await?;
    let secret = key.and_then(|key| key.open(&bound_to, &sealed.sealed).ok());
    if secret.is_none() {
        let (tenant, device) = (of.tenant.as_str(), of.principal.as_str());
        tracing::error!(tenant.id = tenant, device, "a message secret cannot be opened: make a new one");
    }
    Ok(secret)
}

/// A device's secrets as its verifiers need them; `None`: see [`opened`].
pub(super) async fn pair(
    app: &App,
    scope: &TenantScope,
    of: &MessageSecret,
    now: Time,
) -> Result<Option<OpenedPair>, Error> {
    let Some(current) = opened(app, scope, of, &of.current, now).await? else { return Ok(None) };
    let previous = match of.in_grace(now) {
        Some(previous) => {
            let secret = opened(app, scope, of, &previous.secret, now).await?;
            secret.map(|secret| (secret, previous.until))
        }
        None => None,
    };
    Ok(Some((current, previous)))
}

/// The secret that signs and, until when it verifies, the one before.
pub(super) type OpenedPair = (SigningSecret, Option<(SigningSecret, Time)>);

fn label(tenant: &TenantId) -> WrapLabel {
    WrapLabel { tenant: tenant.clone(), for_use: WrapUse::MessageSecrets }
}

fn unusable(tenant: &TenantId) -> Error {
    let key = format!("{} of {tenant}", WrapUse::MessageSecrets);
    let reason = format!("it has not 32 bytes; {}", WrapUse::MessageSecrets.remedy());
    KeyError::Unusable { key, reason }.into()
}
