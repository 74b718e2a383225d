//! Principals: create, read, change, suspend, activate. `deletion` has what is special about an end for
//! good, `failures` the suspension that nobody ordered.

use std::sync::atomic::AtomicBool;

use serde::Serialize;
use signet_core::{
    Error, PrincipalId, PrincipalType, Role, TenantScope, Time,
    authorization::Permit,
    principals::{Principal, PrincipalStatus},
    store::{
        Index, LISTING_SHARDS, Query, Table, Versioned,
        commit::{Commit, Write},
    },
    tenants::{MAX_LIFETIME, quota::Quota},
    text::check_display_name,
    trust::change::Change,
};

use crate::{
    App, AuditEntry, Call, Listing, PageRequest, Planned, call, ledger, paging, reads, sync::queues::QueueTurn,
    tenants::quotas,
};

pub mod deletion;
pub mod failures;
mod held;

/// Most roles of a principal.
const MAX_ROLES: usize = 16;
/// Most groups of a principal.
const MAX_GROUPS: usize = 64;

/// A principal to be made.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct CreatePrincipal {
    pub id: PrincipalId,
    pub principal_type: PrincipalType,
    /// For people.
    pub display_name: String,
    pub roles: Vec<Role>,
    /// As in the principal; at most 64.
    pub groups: Vec<Role>,
}

/// What to change; `None`: leave as it is.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PrincipalPatch {
    /// For people.
    pub display_name: Option<String>,
    /// Its roles, all of them.
    pub roles: Option<Vec<Role>>,
    /// Its groups, all of them.
    pub groups: Option<Vec<Role>>,
}

/// Makes a principal. `ALREADY_EXISTS` also for an id whose deleted owner may still hold certificates.
pub async fn create_principal(
    app: &App,
    call: &Call,
    scope: &TenantScope,
    input: CreatePrincipal,
) -> Result<Principal, Error> {
    let principal = new_principal(call, scope, &input)?;
    let (tenant, id) = (scope.tenant(), &input.id);
    let turn = quotas::turn_to_count(app, tenant, Quota::Principals).await;
    let plan = || async {
        let owner = reads::require_active_tenant(app, scope, call.now).await?;
        if reads::find_principal(app, scope, id, call.now).await?.is_some() {
            return Err(Error::AlreadyExists { resource: "principal", id: id.to_string() });
        }
        let counted = quotas::one_more(app, &owner, Quota::Principals, None, &turn, call.now).await?;
        let entry = AuditEntry::done(call, "principal", id).detail("type", input.principal_type);
        let commit = call::audited(app, call, tenant, &entry).write(Write::create(principal.clone())).write(counted);
        Ok(Planned::Commit(Box::new(commit), principal.clone()))
    };
    ledger::mutate(app, call, tenant, &input, plan, |_| get_principal(app, call, scope, id)).await
}

/// Reads a principal.
pub async fn get_principal(app: &App, call: &Call, scope: &TenantScope, id: &PrincipalId) -> Result<Principal, Error> {
    Ok(reads::read_principal(app, scope, id, call.now).await??.value)
}

/// Lists the tenant's principals, in no particular order.
pub async fn list_principals(
    app: &App,
    call: &Call,
    scope: &TenantScope,
    page: &PageRequest,
) -> Result<Listing<Principal>, Error> {
    let tenant = scope.tenant();
    let query = |shard| Query::index(Table::Principals, Index::Listing, Principal::listing(tenant, shard));
    let read = |query| async move { scope.page::<Principal>(&*app.store, &query, call.now).await };
    let found = paging::list(page, &format!("principals/{tenant}"), LISTING_SHARDS, query, read).await?;
    reads::in_tenant(app, scope, found, call.now).await
}

/// Changes a principal's name, roles or groups. Both hold on every node within a second, roles also for certificates
/// that carry others.
pub async fn update_principal(
    app: &App,
    call: &Call,
    scope: &TenantScope,
    id: &PrincipalId,
    patch: PrincipalPatch,
) -> Result<Principal, Error> {
    let patch = checked(patch)?;
    let _turn = turn_to_write(app, scope, id).await;
    let plan = || async {
        let mut found = reads::principal(app, scope, id, call.now).await?;
        refuse_deleted(&found.value)?;
        let before = found.value.clone();
        let now = &mut found.value;
        now.display_name = patch.display_name.clone().unwrap_or_else(|| before.display_name.clone());
        now.roles = patch.roles.clone().unwrap_or_else(|| before.roles.clone());
        now.groups = patch.groups.clone().unwrap_or_else(|| before.groups.clone());
        if *now == before {
            return Ok(Planned::Unchanged(before));
        }
        let rights_changed = now.roles != before.roles || now.groups != before.groups;
        if rights_changed {
            now.generation += 1;
        }
        let groups = (now.groups != before.groups).then(|| joined(&now.groups));
        let until = now.outlived_at(call.now);
        // Groups are not in certificates, but in answers that somebody keeps: this tells whose hold no more.
        let change = rights_changed.then(|| {
            let roles = found.value.roles.clone();
            (Change::PrincipalRoles { principal: id.clone(), roles, until }, until)
        });
        let entry = AuditEntry::done(call, "principal", id);
        let entry = groups.into_iter().fold(entry, |entry, groups| entry.detail("groups", groups));
        let (commit, changed) = change_audited(app, call, entry, found, change);
        Ok(Planned::Commit(Box::new(commit), changed))
    };
    ledger::mutate(app, call, scope.tenant(), &(id, &patch), plan, |_| get_principal(app, call, scope, id)).await
}

/// Refuses the principal everywhere until it is activated.
pub async fn suspend_principal(
    app: &App,
    call: &Call,
    permit: &Permit,
    scope: &TenantScope,
    id: &PrincipalId,
) -> Result<Principal, Error> {
    set_principal_status(app, call, permit, scope, id, PrincipalStatus::Suspended).await
}

/// Lifts a suspension.
pub async fn activate_principal(
    app: &App,
    call: &Call,
    permit: &Permit,
    scope: &TenantScope,
    id: &PrincipalId,
) -> Result<Principal, Error> {
    set_principal_status(app, call, permit, scope, id, PrincipalStatus::Active).await
}

pub(crate) async fn set_principal_status(
    app: &App,
    call: &Call,
    permit: &Permit,
    scope: &TenantScope,
    id: &PrincipalId,
    status: PrincipalStatus,
) -> Result<Principal, Error> {
    let is_charged = AtomicBool::new(false);
    let _turn = turn_to_write(app, scope, id).await;
    let plan = || async {
        let mut found = reads::read_principal(app, scope, id, call.now).await??;
        permit.may_manage(found.value.principal_type, &found.value.roles)?;
        // Also what is as it was asked: the feed may have lost it (a restore by halves), or said something else since.
        let is_new = found.value.status != status;
        if is_new {
            refuse_deleted(&found.value)?;
        } else if status != PrincipalStatus::Deleted || !found.value.holds_any() {
            app.throttle.repeated(call, &is_charged)?;
        }
        if status != PrincipalStatus::Active {
            refuse_own(permit, scope, id)?;
        }
        let until = match status {
            PrincipalStatus::Active | PrincipalStatus::Suspended => found.value.outlived_at(call.now),
            PrincipalStatus::Deleted => found.value.free_at.unwrap_or_else(|| found.value.forgotten_at(call.now)),
        };
        found.value.status = status;
        found.value.generation += u64::from(is_new);
        found.value.free_at = (status == PrincipalStatus::Deleted).then_some(until);
        let principal = id.clone();
        let change = match status {
            PrincipalStatus::Active => Change::PrincipalAllowed { principal },
            PrincipalStatus::Suspended | PrincipalStatus::Deleted => Change::PrincipalDenied { principal, until },
        };
        let (held, counted) = match status {
            PrincipalStatus::Deleted if is_new => {
                // Not held until the commit, which may wait for the feed: who meets others takes another part the next
                // time.
                let turn = quotas::turn_to_count(app, scope.tenant(), Quota::Principals).await;
                let tally = quotas::tally(app, scope.tenant(), Quota::Principals, call.now).await?;
                // From now on it counts until its id is free, and no longer.
                let counted = vec![turn.count(&tally, -1, None), turn.count(&tally, 1, Some(until))];
                (held::take_held(app, scope, &mut found.value, call.now).await?, counted)
            }
            _ => Default::default(),
        };
        let secrets = match status {
            PrincipalStatus::Deleted => held::message_secrets(app, scope, id, call.now).await?,
            _ => None,
        };
        let (commit, changed) = change_principal(app, call, found, Some((change, until)));
        let commit = held::revoke_all(commit.writes(counted).writes(secrets), held, scope.tenant(), call.now);
        Ok(Planned::Commit(Box::new(commit), changed))
    };
    let replay = |_| get_principal(app, call, scope, id);
    match ledger::mutate(app, call, scope.tenant(), &(id, status), plan, replay).await {
        Err(Error::Unreadable { key, .. })
            if key == Principal::key_of(scope.tenant(), id).to_string()
                && status == PrincipalStatus::Suspended
                && reads::may_manage_any(permit) =>
        {
            suspend_unread(app, call, permit, scope, id).await?;
            Err(Error::Unreadable { key, also: "; the principal is refused everywhere nevertheless" })
        }
        result => result,
    }
}

/// Waits for a turn to write the principal: who changes it again and again makes nobody start over who stops it.
async fn turn_to_write<'a>(app: &'a App, scope: &TenantScope, id: &PrincipalId) -> QueueTurn<'a> {
    app.turns.take(format!("record/{}/{id}", scope.tenant())).await
}

/// The suspension of a principal whose record cannot be read, and so cannot be written either. Without knowing what it
/// has: for as long as a certificate may live.
async fn suspend_unread(
    app: &App,
    call: &Call,
    permit: &Permit,
    scope: &TenantScope,
    id: &PrincipalId,
) -> Result<(), Error> {
    refuse_own(permit, scope, id)?;
    // Not once per request id: once the record is mended, the same request suspends it wholly.
    let call = &Call { request_id: None, ..call.clone() };
    let until = call.now.plus(MAX_LIFETIME);
    let plan = || async {
        let entry = AuditEntry::done(call, "principal", id).detail("record", "unreadable");
        let change = Change::PrincipalDenied { principal: id.clone(), until };
        let commit = call::audited(app, call, scope.tenant(), &entry).announce(scope.tenant(), change, until);
        Ok(Planned::Commit(Box::new(commit), ()))
    };
    ledger::mutate(app, call, scope.tenant(), id, plan, |_| async { Ok(()) }).await
}

/// The commit of a changed principal, and what others must hear of it until when.
pub(crate) fn change_principal(
    app: &App,
    call: &Call,
    found: Versioned<Principal>,
    change: Option<(Change, Time)>,
) -> (Commit, Principal) {
    let entry = AuditEntry::done(call, "principal", &found.value.id);
    change_audited(app, call, entry, found, change)
}

fn joined(names: &[Role]) -> String {
    names.iter().map(Role::as_str).collect::<Vec<_>>().join(",")
}

/// The same with more to say in its audit event.
fn change_audited(
    app: &App,
    call: &Call,
    entry: AuditEntry,
    mut found: Versioned<Principal>,
    change: Option<(Change, Time)>,
) -> (Commit, Principal) {
    let principal = &mut found.value;
    principal.updated_at = call.now;
    principal.forget_expired(call.now);
    let mut entry = entry.detail("generation", principal.generation);
    if let Some((Change::PrincipalRoles { roles, .. }, _)) = &change {
        // A restore finds here what was taken away.
        entry = entry.detail("roles", joined(roles));
    }
    let mut commit =
        call::audited(app, call, &principal.tenant, &entry).write(Write::replace(principal.clone(), found.version));
    if let Some((change, until)) = change {
        commit = commit.announce(&principal.tenant, change, until);
    }
    (commit, found.value)
}

/// A principal as `input` asks for it.
pub(crate) fn new_principal(call: &Call, scope: &TenantScope, input: &CreatePrincipal) -> Result<Principal, Error> {
    let patch = checked(PrincipalPatch {
        display_name: Some(input.display_name.clone()),
        roles: Some(input.roles.clone()),
        groups: Some(input.groups.clone()),
    })?;
    Ok(Principal {
        tenant: scope.tenant().clone(),
        id: input.id.clone(),
        principal_type: input.principal_type,
        status: PrincipalStatus::Active,
        display_name: patch.display_name.unwrap_or_default(),
        roles: patch.roles.unwrap_or_default(),
        groups: patch.groups.unwrap_or_default(),
        generation: 1,
        certificates: Vec::new(),
        superseded: Vec::new(),
        created_at: call.now,
        updated_at: call.now,
        compromises: 0,
        ended_instances: Vec::new(),
        enrolled_by: None,
        free_at: None,
    })
}

fn refuse_own(permit: &Permit, scope: &TenantScope, id: &PrincipalId) -> Result<(), Error> {
    if permit.identity().principal == *id && permit.identity().tenant == *scope.tenant() {
        return Err(Error::precondition(
            "OWN_PRINCIPAL",
            "you cannot suspend or delete the principal that you call as",
        ));
    }
    Ok(())
}

fn refuse_deleted(principal: &Principal) -> Result<(), Error> {
    if principal.status == PrincipalStatus::Deleted {
        return Err(Error::precondition("PRINCIPAL_DELETED", "the principal was deleted; create one with another id"));
    }
    Ok(())
}

fn checked(patch: PrincipalPatch) -> Result<PrincipalPatch, Error> {
    check_display_name("principal.display_name", patch.display_name.as_deref().unwrap_or_default())?;
    let roles = patch.roles.map(|roles| checked_roles("principal.roles", roles)).transpose()?;
    let groups = patch.groups.map(|groups| sorted("principal.groups", groups, MAX_GROUPS)).transpose()?;
    Ok(PrincipalPatch { roles, groups, ..patch })
}

/// Roles as they are stored: sorted, no duplicates, not too many.
pub(crate) fn checked_roles(field: &'static str, roles: Vec<Role>) -> Result<Vec<Role>, Error> {
    sorted(field, roles, MAX_ROLES)
}

fn sorted(field: &'static str, mut names: Vec<Role>, most: usize) -> Result<Vec<Role>, Error> {
    names.sort();
    names.dedup();
    if names.len() > most {
        return Err(Error::invalid(field, "TOO_MANY", format!("must be at most {most}")));
    }
    Ok(names)
}
