//! Private keys in this process's memory: unwrapped when they first sign, let go of when another takes their place.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use signet_core::{
    Error, KeyError, TenantId, Time, WrapLabel,
    tokens::{TokenAlgorithm, TokenKey, TokenKeys, TokenUse},
};
use signet_jwt::{Algorithm, SigningKey};

use crate::{App, sync::single_flight::SingleFlight};

/// See the module's words. One for each kind of a tenant's tokens at most.
#[derive(Debug, Default)]
pub(crate) struct Unwrapped {
    of: RwLock<HashMap<(TenantId, TokenUse), Arc<SigningKey>>>,
    unwrapping: SingleFlight<String, Result<Arc<SigningKey>, KeyError>>,
    /// A tenant's first key is asked for by many at once, and a pair of keys is dear: one of them makes it.
    pub(super) advancing: SingleFlight<(TenantId, TokenUse), Result<TokenKeys, Error>>,
}

/// Lets go of private keys that are published no more, by `is_published` (tenant, kind, key). Call it on a timer.
pub fn forget_keys(app: &App, is_published: impl Fn(&TenantId, TokenUse, &str) -> bool) {
    let mut all = app.unwrapped.of.write().unwrap_or_else(PoisonError::into_inner);
    all.retain(|(tenant, for_use), key| is_published(tenant, *for_use, key.id()));
}

/// The key that signs at `now`, of a tenant's keys as this node knows them.
pub async fn signing_key(app: &App, keys: &TokenKeys, now: Time) -> Result<Arc<SigningKey>, Error> {
    let key = keys.signing(now).ok_or_else(|| Error::not_found("token keys", keys.for_use))?;
    let owner = (keys.tenant.clone(), keys.for_use);
    let known = || {
        let known = app.unwrapped.of.read().unwrap_or_else(PoisonError::into_inner).get(&owner).cloned();
        known.filter(|known| known.id() == key.id)
    };
    if let Some(known) = known() {
        return Ok(known);
    }
    let unwrap = || async {
        if let Some(known) = known() {
            return Ok(known);
        }
        let signer = Arc::new(unwrap(app, &owner, key).await?);
        app.unwrapped.of.write().unwrap_or_else(PoisonError::into_inner).insert(owner.clone(), Arc::clone(&signer));
        Ok(signer)
    };
    Ok(app.unwrapped.unwrapping.read(&key.id, unwrap).await?)
}

async fn unwrap(app: &App, owner: &(TenantId, TokenUse), key: &TokenKey) -> Result<SigningKey, KeyError> {
    let label = WrapLabel { tenant: owner.0.clone(), for_use: owner.1.into() };
    let pkcs8 = app.keys.unwrap(&label, &key.wrapped).await?;
    let algorithm = match key.algorithm {
        TokenAlgorithm::Es256 => Algorithm::ES256,
        TokenAlgorithm::Rs256 => Algorithm::RS256,
    };
    let unusable = |reason: String| KeyError::Unusable { key: key.id.clone(), reason };
    let signer = SigningKey::from_pkcs8(algorithm, &pkcs8).map_err(|fault| unusable(fault.to_string()))?;
    if signer.id() == key.id {
        Ok(signer)
    } else {
        Err(unusable(
            "its private half belongs to another key: replace it with `principal token-key rotate --now`".into(),
        ))
    }
}
