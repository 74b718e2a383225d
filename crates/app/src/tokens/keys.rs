//! The keys' records. What is due is decided in core; of several nodes that do it at once one writes.

use serde::Serialize;
use signet_core::{
    Error, TenantId, TenantScope, Time, WrapLabel, WrappedKey,
    store::{Versioned, commit::Write},
    tokens::{KeyStep, TokenAlgorithm, TokenKey, TokenKeys, TokenUse, is_believable, kept, plan_keys},
};
use signet_jwt::PublicKey;
use tokio::sync::OnceCell;

use crate::{App, AuditEntry, Call, Chore, Planned, call, ledger, reads};

/// What an admin wants of a tenant's keys.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct RotateTokenKeys {
    /// For which tokens.
    pub for_use: TokenUse,
    /// What the next key signs with; `None`: as the present one.
    pub algorithm: Option<TokenAlgorithm>,
    /// The next key takes the place of all others at once: what they signed is good no more. Otherwise it is published
    /// an hour before it signs.
    pub now: bool,
}

/// A tenant's keys for all kinds of tokens; none of those that were never asked for.
pub async fn get_token_keys(app: &App, call: &Call, scope: &TenantScope) -> Result<Vec<TokenKeys>, Error> {
    let mut found = Vec::new();
    for for_use in TokenUse::ALL {
        let key = TokenKeys::key_of(scope.tenant(), for_use);
        found.extend(scope.get::<TokenKeys>(&*app.store, &key, call.now).await?.map(|found| found.value));
    }
    if found.is_empty() {
        reads::require_tenant(app, scope, call.now).await?;
    }
    Ok(found)
}

/// Does what is due for a tenant's keys: the first one, the next one, or letting go of those that are over. Returns the
/// keys after it.
pub async fn advance(app: &App, chore: &Chore, tenant: &TenantId, for_use: TokenUse) -> Result<TokenKeys, Error> {
    let owner = (tenant.clone(), for_use);
    app.unwrapped.advancing.read(&owner, || advanced(app, chore, tenant, for_use)).await
}

async fn advanced(app: &App, chore: &Chore, tenant: &TenantId, for_use: TokenUse) -> Result<TokenKeys, Error> {
    let scope = chore.keeper.tenant(tenant);
    let plan = || async {
        let found = head(app, &scope, for_use, chore.now).await?;
        let keys = found.as_ref().map_or(&[][..], |found| &found.value.keys);
        let step = plan_keys(for_use, keys, chore.now);
        let (Some(step), keys) = (step, kept(for_use, keys, chore.now)) else {
            let keys = found.map(|found| found.value);
            return Ok(Planned::Unchanged(keys.ok_or_else(|| Error::not_found("token keys", for_use))?));
        };
        reads::require_active_tenant(app, &scope, chore.now).await?;
        let next = match step {
            KeyStep::Make { algorithm, signs_at } => {
                Some(made(app, (tenant, for_use), algorithm, (chore.now, signs_at)).await?)
            }
            KeyStep::LetGo => None,
        };
        let keys = keys.into_iter().chain(next).collect();
        written(app, chore, &scope, for_use, (keys, found)).await
    };
    let replay = |_| async { Err(Error::not_found("token keys", for_use)) };
    ledger::mutate(app, chore, tenant, &for_use, plan, replay).await
}

/// Makes the next key now. `FAILED_PRECONDITION` while another one waits to sign, unless all are replaced.
pub async fn rotate_token_keys(
    app: &App,
    call: &Call,
    scope: &TenantScope,
    input: RotateTokenKeys,
) -> Result<TokenKeys, Error> {
    let RotateTokenKeys { for_use, algorithm, now } = input;
    // One for all attempts: keys are dear.
    let made_before = OnceCell::new();
    let plan = || async {
        reads::require_active_tenant(app, scope, call.now).await?;
        let before = match head(app, scope, for_use, call.now).await {
            // Nodes of this release cannot use it: it is replaced.
            Err(Error::Unreadable { .. }) if now => replaceable(app, scope, for_use, call.now).await?,
            found => found?,
        };
        let keys = before.as_ref().map_or(&[][..], |before| &before.value.keys);
        if let Some(waiting) = keys.last().filter(|key| !now && key.signs_at > call.now && is_believable(key, call.now))
        {
            let seconds = waiting.signs_at.millis_since(call.now) / 1000;
            let message =
                format!("the next key is published already and signs in {seconds} s: wait, or replace all keys now");
            return Err(Error::precondition("TOKEN_KEY_WAITS", message));
        }
        let algorithm = algorithm.or(keys.last().map(|key| key.algorithm)).unwrap_or_default();
        let at_once = now || keys.is_empty();
        let signs_at = if at_once { call.now } else { call.now.plus(signet_core::tokens::PUBLISH_LEAD) };
        let make = || async {
            app.throttle.token_key_made(scope.tenant(), call.now)?;
            made(app, (scope.tenant(), for_use), algorithm, (call.now, signs_at)).await
        };
        let next: TokenKey = made_before.get_or_try_init(make).await?.clone();
        let stay = if at_once { Vec::new() } else { kept(for_use, keys, call.now) };
        let keys = stay.into_iter().chain([next]).collect();
        written(app, call, scope, for_use, (keys, before)).await
    };
    let replay = |_| async {
        let found = head(app, scope, for_use, call.now).await?;
        found.map(|found| found.value).ok_or_else(|| Error::not_found("token keys", for_use))
    };
    ledger::mutate(app, call, scope.tenant(), &input, plan, replay).await
}

/// The generation rises above those of all uses: a bundle goes by the highest.
async fn written(
    app: &App,
    call: &Call,
    scope: &TenantScope,
    for_use: TokenUse,
    (keys, before): (Vec<TokenKey>, Option<Versioned<TokenKeys>>),
) -> Result<Planned<TokenKeys>, Error> {
    let ids: Vec<&str> = keys.iter().map(|key| &*key.id).collect();
    let entry = AuditEntry::done(call, "token_keys", for_use).detail("key_ids", ids.join(" "));
    let all = reads::token_keys(app, scope, call.now).await?;
    let highest = all.iter().map(|keys| keys.generation).max().unwrap_or(0);
    let generation = TokenKeys::generation_after(highest, call.now);
    let keys = TokenKeys { tenant: scope.tenant().clone(), for_use, keys, generation };
    let write = match before {
        Some(before) => Write::replace(keys.clone(), before.version),
        None => Write::create(keys.clone()),
    };
    let commit = call::tenant_commit(app, call, &keys.tenant, &entry).write(write);
    Ok(Planned::Commit(Box::new(commit), keys))
}

async fn made(
    app: &App,
    (tenant, for_use): (&TenantId, TokenUse),
    algorithm: TokenAlgorithm,
    (published_at, signs_at): (Time, Time),
) -> Result<TokenKey, Error> {
    let label = WrapLabel { tenant: tenant.clone(), for_use: for_use.into() };
    let WrappedKey { spki_der, wrapped } = app.keys.make_wrapped(&label, algorithm).await?;
    let id = PublicKey::from_spki(&spki_der).map_err(Error::internal)?.thumbprint();
    Ok(TokenKey { id, algorithm, spki_der, wrapped, published_at, signs_at })
}

async fn head(
    app: &App,
    scope: &TenantScope,
    for_use: TokenUse,
    now: Time,
) -> Result<Option<Versioned<TokenKeys>>, Error> {
    Ok(scope.get(&*app.store, &TokenKeys::key_of(scope.tenant(), for_use), now).await?)
}

/// A record that cannot be read, as one without keys, to write it anew: its version stands beside the body.
async fn replaceable(
    app: &App,
    scope: &TenantScope,
    for_use: TokenUse,
    now: Time,
) -> Result<Option<Versioned<TokenKeys>>, Error> {
    let page = scope.page::<TokenKeys>(&*app.store, &TokenKeys::all_of(scope.tenant()), now).await?;
    if let Some(found) = page.records.into_iter().find(|found| found.value.for_use == for_use) {
        return Ok(Some(found));
    }
    let key = TokenKeys::key_of(scope.tenant(), for_use);
    let version = page.unreadable.into_iter().find(|record| record.key == key).and_then(|record| record.version);
    let value = TokenKeys { tenant: scope.tenant().clone(), for_use, keys: Vec::new(), generation: 0 };
    Ok(version.map(|version| Versioned { value, version }))
}
