//! What tenants add to the built-in permissions: read, set, go back, and say what a change would do.

mod proof;

use proof::{Answer, Question};
use serde::Serialize;
use signet_core::{
    Error, TenantScope, Time,
    authorization::model::{AuthorizationModel, AuthorizationVersion, Proved, Rules},
    store::{Version, Versioned, commit::Write},
    text::check_display_name,
};
use signet_policy::{Difference, Shown};

use crate::{App, AuditEntry, Call, Listing, PageRequest, Planned, call, ledger, paging, reads};

/// New rules of a tenant.
#[derive(Clone, Debug, Serialize)]
pub struct SetModel {
    /// All of them.
    pub rules: Rules,
    /// The version that they take the place of; 0: there is none yet.
    pub base_version: u32,
    /// Why; for people.
    pub note: String,
    /// Also if a proof shows that they break an invariant.
    pub force: bool,
}

/// What new rules would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelTest {
    /// What a solver would say.
    pub proved: Proved,
    /// Of each invariant; empty without a solver, or without policies.
    pub invariants: Vec<Shown>,
    /// What would be decided otherwise by policies; empty without a solver.
    pub differences: Vec<Difference>,
}

/// Reads the model that holds, or an earlier version; `None`: the tenant has none.
pub async fn get_model(
    app: &App,
    call: &Call,
    scope: &TenantScope,
    version: Option<u32>,
) -> Result<Option<AuthorizationModel>, Error> {
    let (tenant, now) = (scope.tenant(), call.now);
    let Some(version) = version else {
        let found = head(app, scope, now).await?;
        if found.is_none() {
            reads::require_tenant(app, scope, now).await?;
        }
        return Ok(found.map(|found| found.value));
    };
    let key = AuthorizationVersion::key_of(tenant, version);
    match scope.get::<AuthorizationVersion>(&*app.store, &key, now).await? {
        Some(found) => Ok(Some(found.value.0)),
        None => Err(reads::missing(app, scope, "authorization model", &version, now).await),
    }
}

/// Lists the versions that are kept, the latest first.
pub async fn list_models(
    app: &App,
    call: &Call,
    scope: &TenantScope,
    page: &PageRequest,
) -> Result<Listing<AuthorizationModel>, Error> {
    let tenant = scope.tenant();
    let query = |_| AuthorizationVersion::all_of(tenant).descending();
    let read = |query| async move { scope.page::<AuthorizationVersion>(&*app.store, &query, call.now).await };
    let found = paging::list(page, &format!("authorization models/{tenant}"), 1, query, read).await?;
    let found = reads::in_tenant(app, scope, found, call.now).await?;
    let items = found.items.into_iter().map(|version| version.0).collect();
    Ok(Listing { items, next_page_token: found.next_page_token, unreadable: found.unreadable })
}

/// Replaces a tenant's rules, as a new version. Nodes hear of it as of every change of a tenant.
pub async fn set_model(
    app: &App,
    call: &Call,
    scope: &TenantScope,
    input: SetModel,
) -> Result<AuthorizationModel, Error> {
    check_display_name("note", &input.note)?;
    let environment = checked(app, call, scope, &input.rules).await?;
    let question = Question { rules: input.rules.clone(), environment, before: None, force: input.force };
    let Answer { proved, invariants, .. } = proof::ask(app, scope.tenant(), question).await?;
    proof::accept(app, proved, &invariants, input.force)?;
    let tenant = scope.tenant();
    let plan = || async {
        reads::require_active_tenant(app, scope, call.now).await?;
        let found = match head(app, scope, call.now).await {
            Err(Error::Unreadable { .. }) if input.force => {
                Held::Unreadable(unreadable_head(app, scope, call.now).await?)
            }
            found => found?.map_or(Held::Nothing, Held::Model),
        };
        let present = match &found {
            Held::Model(found) => found.value.version,
            _ => 0,
        };
        // Of what cannot be read nobody can say which version it is.
        if present != input.base_version && !matches!(found, Held::Unreadable(_)) {
            let message = format!(
                "the rules of {tenant} are at version {present}, not {}: read them, and make the change again",
                input.base_version
            );
            return Err(Error::precondition("MODEL_CHANGED", message));
        }
        if let Held::Model(found) = &found
            && found.value.rules == input.rules
        {
            return Ok(Planned::Unchanged(found.value.clone()));
        }
        // After those that are kept, too: a restore may have lost the model, and no version is given twice.
        let newest = newest_version(app, scope, call.now).await?;
        let model = AuthorizationModel {
            tenant: tenant.clone(),
            version: present.max(newest).saturating_add(1),
            rules: input.rules.clone(),
            note: input.note.clone(),
            proved,
            set_by: call.actor.to_string(),
            set_at: call.now,
        };
        let entry = described(AuditEntry::done(call, "authorization_model", model.version), &model);
        let write = match found {
            Held::Model(Versioned { version, .. }) | Held::Unreadable(version) => {
                Write::replace(model.clone(), version)
            }
            Held::Nothing => Write::create(model.clone()),
        };
        let commit = call::tenant_commit(app, call, tenant, &entry)
            .write(write)
            .write(Write::create(AuthorizationVersion(model.clone())));
        Ok(Planned::Commit(Box::new(commit), model))
    };
    let replay = |_| async {
        match made_by(app, call, scope, &input).await? {
            Some(made) => Ok(made),
            None => {
                get_model(app, call, scope, None).await?.ok_or_else(|| Error::not_found("authorization model", tenant))
            }
        }
    };
    ledger::mutate(app, call, tenant, &input, plan, replay).await
}

/// What is where the model of a tenant stands.
enum Held {
    Nothing,
    Model(Versioned<AuthorizationModel>),
    Unreadable(Version),
}

/// The version that a repeated request made: the first after its base that says the same. `None`: it changed nothing.
async fn made_by(
    app: &App,
    call: &Call,
    scope: &TenantScope,
    input: &SetModel,
) -> Result<Option<AuthorizationModel>, Error> {
    let set_by = call.actor.to_string();
    let mut query = AuthorizationVersion::after(scope.tenant(), input.base_version);
    loop {
        let page = scope.page::<AuthorizationVersion>(&*app.store, &query, call.now).await?;
        let mut versions = page.records.into_iter().map(|found| found.value.0);
        let is_it =
            |made: &AuthorizationModel| made.rules == input.rules && made.note == input.note && made.set_by == set_by;
        match (versions.find(is_it), page.next) {
            (None, Some(next)) => query.after = Some(next),
            (found, _) => return Ok(found),
        }
    }
}

/// The number of the newest version that is kept, readable or not.
async fn newest_version(app: &App, scope: &TenantScope, now: Time) -> Result<u32, Error> {
    let query = AuthorizationVersion::all_of(scope.tenant()).descending().limit(1);
    let page = scope.page::<AuthorizationVersion>(&*app.store, &query, now).await?;
    let read = page.records.iter().map(|found| found.value.0.version);
    let unread = page.unreadable.iter().filter_map(|record| record.key.sort.parse().ok());
    Ok(read.chain(unread).max().unwrap_or(0))
}

/// The version of the record of a model that cannot be read, to write it anew: it stands beside the body.
async fn unreadable_head(app: &App, scope: &TenantScope, now: Time) -> Result<Version, Error> {
    let query = AuthorizationModel::of(scope.tenant());
    let page = scope.page::<AuthorizationModel>(&*app.store, &query, now).await?;
    let version = page.unreadable.into_iter().find_map(|record| record.version);
    version.ok_or(Error::Conflict("the authorization model"))
}

/// What [`set_model`] would say about rules, and what they would change.
pub async fn test_model(app: &App, call: &Call, scope: &TenantScope, rules: &Rules) -> Result<ModelTest, Error> {
    let environment = checked(app, call, scope, rules).await?;
    let before = get_model(app, call, scope, None).await?.map(|model| model.rules).unwrap_or_default();
    let question = Question { rules: rules.clone(), environment, before: Some(before), force: false };
    let Answer { proved, invariants, differences } = proof::ask(app, scope.tenant(), question).await?;
    Ok(ModelTest { proved, invariants, differences })
}

/// Whether the rules can be, but for their policies; returns the environment's.
async fn checked(app: &App, call: &Call, scope: &TenantScope, rules: &Rules) -> Result<Option<Rules>, Error> {
    if scope.tenant().is_system() && !rules.policies.is_empty() {
        let message = "the environment's rules hold in every tenant and have no policies; give them to each tenant";
        return Err(Error::invalid("rules.policies", "INVALID_POLICY", message));
    }
    let environment = inherited(app, scope, call.now).await?;
    rules.check(environment.as_ref().map_or(&Default::default(), |rules| &rules.permissions))?;
    Ok(environment)
}

/// The environment's rules, which hold in the scope's tenant too: its admins may read them, but not who set them or
/// why.
/// `None`: there are none, or it is `system`, whose own they are.
pub async fn inherited(app: &App, scope: &TenantScope, now: Time) -> Result<Option<Rules>, Error> {
    if scope.tenant().is_system() {
        return Ok(None);
    }
    Ok(head(app, &TenantScope::system(), now).await?.map(|found| found.value.rules))
}

async fn head(app: &App, scope: &TenantScope, now: Time) -> Result<Option<Versioned<AuthorizationModel>>, Error> {
    Ok(scope.get(&*app.store, &AuthorizationModel::key_of(scope.tenant()), now).await?)
}

fn described(entry: AuditEntry, model: &AuthorizationModel) -> AuditEntry {
    let proved = match model.proved {
        Proved::NotNeeded => "not needed",
        Proved::Proved => "proved",
        Proved::NotProved => "not proved",
        Proved::Refuted => "refuted, and forced",
    };
    let rules = &model.rules;
    entry
        .detail("version", model.version)
        .detail("permissions", rules.permissions.len())
        .detail("grants", rules.grants.len())
        .detail("policy_bytes", rules.policies.len())
        .detail("proof", proved)
        .detail("note", &model.note)
}
