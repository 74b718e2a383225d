//! Principals: create, read, change, suspend, activate. [`crate::deletion`] has what is special about an end for good.

use serde::Serialize;
use signet_core::{
    Error, PrincipalId, PrincipalType, Role, StoreError, TenantScope, Time,
    authz::Permit,
    change::Change,
    commit::{Commit, Write},
    principal::{Principal, PrincipalStatus},
    quota::Quota,
    store::{Index, LISTING_SHARDS, Query, Table, Versioned},
    tenant::MAX_LIFETIME,
    text::is_deceptive,
};

use crate::{App, AuditEntry, Call, Listing, PageRequest, Planned, deletion, paging};

/// Why an operation on a record that cannot be read is refused.
const RECORD_UNREADABLE: &str = "RECORD_UNREADABLE";
/// Most roles of a principal.
const MAX_ROLES: usize = 16;
/// Most groups of a principal.
const MAX_GROUPS: usize = 64;
/// Longest display name, in characters.
pub(crate) const MAX_DISPLAY_NAME: usize = 128;

/// A principal to be made.
#[derive(Clone, Debug, Serialize)]
pub struct CreatePrincipal {
    /// Its id.
    pub id: PrincipalId,
    /// Its type.
    pub principal_type: PrincipalType,
    /// For people.
    pub display_name: String,
    /// Its roles.
    pub roles: Vec<Role>,
    /// Its groups.
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

impl App {
    /// Makes a principal. `ALREADY_EXISTS` also for an id whose deleted owner may still hold certificates.
    pub async fn create_principal(
        &self,
        call: &Call,
        scope: &TenantScope,
        input: CreatePrincipal,
    ) -> Result<Principal, Error> {
        let principal = new_principal(call, scope, &input)?;
        let (tenant, id) = (scope.tenant(), &input.id);
        let turn = self.turn_to_count(tenant, Quota::Principals).await;
        let plan = || async {
            let owner = self.require_active_tenant(scope, call.now).await?;
            if self.find_principal(scope, id, call.now).await?.is_some() {
                return Err(Error::AlreadyExists { resource: "principal", id: id.to_string() });
            }
            let counted = self.one_more(&owner, Quota::Principals, None, &turn, call.now).await?;
            let entry = AuditEntry::done(call, "principal", id).detail("type", input.principal_type);
            let commit = self.audited(call, tenant, &entry).write(Write::create(principal.clone())).write(counted);
            Ok(Planned::Commit(Box::new(commit), principal.clone()))
        };
        self.mutate(call, tenant, &input, plan, |_| self.get_principal(call, scope, id)).await
    }

    /// Reads a principal.
    pub async fn get_principal(&self, call: &Call, scope: &TenantScope, id: &PrincipalId) -> Result<Principal, Error> {
        Ok(self.read_principal(scope, id, call.now).await?.map_err(unreadable)?.value)
    }

    /// Lists the tenant's principals, in no particular order.
    pub async fn list_principals(
        &self,
        call: &Call,
        scope: &TenantScope,
        page: &PageRequest,
    ) -> Result<Listing<Principal>, Error> {
        let tenant = scope.tenant();
        let query = |shard| Query::index(Table::Principals, Index::Listing, Principal::listing(tenant, shard));
        let read = |query| async move { scope.page::<Principal>(&*self.store, &query, call.now).await };
        paging::list(page, &format!("principals/{tenant}"), LISTING_SHARDS, query, read).await
    }

    /// Changes a principal's name, roles or groups. Roles hold on every node within a second, also for certificates
    /// that carry others.
    pub async fn update_principal(
        &self,
        call: &Call,
        scope: &TenantScope,
        id: &PrincipalId,
        patch: PrincipalPatch,
    ) -> Result<Principal, Error> {
        let patch = checked(patch)?;
        let plan = || async {
            let mut found = self.principal(scope, id, call.now).await?;
            refuse_deleted(&found.value)?;
            let before = found.value.clone();
            let now = &mut found.value;
            now.display_name = patch.display_name.clone().unwrap_or_else(|| before.display_name.clone());
            now.roles = patch.roles.clone().unwrap_or_else(|| before.roles.clone());
            now.groups = patch.groups.clone().unwrap_or_else(|| before.groups.clone());
            if *now == before {
                return Ok(Planned::Unchanged(before));
            }
            let roles_changed = now.roles != before.roles;
            if roles_changed || now.groups != before.groups {
                now.generation += 1;
            }
            let until = now.outlived_at(call.now);
            let change = roles_changed.then(|| {
                let roles = found.value.roles.clone();
                (Change::PrincipalRoles { principal: id.clone(), roles, until }, until)
            });
            let (commit, changed) = self.change_principal(call, found, change);
            Ok(Planned::Commit(Box::new(commit), changed))
        };
        self.mutate(call, scope.tenant(), &(id, &patch), plan, |_| self.get_principal(call, scope, id)).await
    }

    /// Refuses the principal everywhere until it is activated.
    pub async fn suspend_principal(
        &self,
        call: &Call,
        permit: &Permit,
        scope: &TenantScope,
        id: &PrincipalId,
    ) -> Result<Principal, Error> {
        self.set_principal_status(call, permit, scope, id, PrincipalStatus::Suspended).await
    }

    /// Lifts a suspension.
    pub async fn activate_principal(
        &self,
        call: &Call,
        permit: &Permit,
        scope: &TenantScope,
        id: &PrincipalId,
    ) -> Result<Principal, Error> {
        self.set_principal_status(call, permit, scope, id, PrincipalStatus::Active).await
    }

    pub(crate) async fn set_principal_status(
        &self,
        call: &Call,
        permit: &Permit,
        scope: &TenantScope,
        id: &PrincipalId,
        status: PrincipalStatus,
    ) -> Result<Principal, Error> {
        let turn = match status {
            PrincipalStatus::Deleted => Some(self.turn_to_count(scope.tenant(), Quota::Principals).await),
            PrincipalStatus::Active | PrincipalStatus::Suspended => None,
        };
        let plan = || async {
            let mut found = self.read_principal(scope, id, call.now).await?.map_err(unreadable)?;
            permit.may_manage(found.value.principal_type, &found.value.roles)?;
            // Also what is as it was asked: the feed may have lost it (a restore by halves), or said something else since.
            let is_new = found.value.status != status;
            if is_new {
                refuse_deleted(&found.value)?;
            } else {
                self.guard.repeated(scope.tenant(), call.now)?;
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
            let (held, counted) = match &turn {
                Some(turn) if is_new => {
                    let tally = self.tally(scope, Quota::Principals, call.now).await?;
                    // From now on it counts until its id is free, and no longer.
                    let counted = vec![turn.count(&tally, -1, None), turn.count(&tally, 1, Some(until))];
                    (self.take_held(scope, &mut found.value, call.now).await?, counted)
                }
                _ => Default::default(),
            };
            let (commit, changed) = self.change_principal(call, found, Some((change, until)));
            let commit = deletion::revoke_all(commit.writes(counted), held, scope.tenant(), call.now);
            Ok(Planned::Commit(Box::new(commit), changed))
        };
        let replay = |_| self.get_principal(call, scope, id);
        match self.mutate(call, scope.tenant(), &(id, status), plan, replay).await {
            Err(Error::Precondition { reason: RECORD_UNREADABLE, message })
                if status == PrincipalStatus::Suspended && may_manage_any(permit) =>
            {
                self.suspend_unread(call, permit, scope, id).await?;
                let message = format!("{message}; the principal is refused everywhere from now on all the same");
                Err(Error::precondition(RECORD_UNREADABLE, message))
            }
            result => result,
        }
    }

    /// The suspension of a principal whose record cannot be read, and so cannot be written either. Without knowing what it
    /// has: for as long as a certificate may live.
    async fn suspend_unread(
        &self,
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
            self.guard.repeated(scope.tenant(), call.now)?;
            let entry = AuditEntry::done(call, "principal", id).detail("record", "unreadable");
            let change = Change::PrincipalDenied { principal: id.clone(), until };
            let commit = self.audited(call, scope.tenant(), &entry).announce(scope.tenant(), change, until);
            Ok(Planned::Commit(Box::new(commit), ()))
        };
        self.mutate(call, scope.tenant(), id, plan, |_| async { Ok(()) }).await
    }

    /// The commit of a changed principal, and what others must hear of it until when.
    pub(crate) fn change_principal(
        &self,
        call: &Call,
        mut found: Versioned<Principal>,
        change: Option<(Change, Time)>,
    ) -> (Commit, Principal) {
        let principal = &mut found.value;
        principal.updated_at = call.now;
        principal.forget_expired(call.now);
        let entry = AuditEntry::done(call, "principal", &principal.id).detail("generation", principal.generation);
        let mut commit =
            self.audited(call, &principal.tenant, &entry).write(Write::replace(principal.clone(), found.version));
        if let Some((change, until)) = change {
            commit = commit.announce(&principal.tenant, change, until);
        }
        (commit, found.value)
    }

    /// The principal `id` within the scope, or `NOT_FOUND`.
    pub(crate) async fn principal(
        &self,
        scope: &TenantScope,
        id: &PrincipalId,
        now: Time,
    ) -> Result<Versioned<Principal>, Error> {
        self.find_principal(scope, id, now).await?.ok_or_else(|| Error::not_found("principal", id))
    }

    /// The same; inside `Corrupt`, if its record cannot be read.
    pub(crate) async fn read_principal(
        &self,
        scope: &TenantScope,
        id: &PrincipalId,
        now: Time,
    ) -> Result<Result<Versioned<Principal>, StoreError>, Error> {
        let key = Principal::key_of(scope.tenant(), id);
        let found = match scope.get::<Principal>(&*self.store, &key, now).await {
            // Not to who may see one principal alone: it may be another's.
            Err(error @ StoreError::Corrupt { .. }) if scope.only().is_none_or(|only| only == id) => {
                return Ok(Err(error));
            }
            found => found?,
        };
        let found = found.filter(|found| scope.admits(&found.value, Some(&found.value.id)));
        Ok(Ok(found.ok_or_else(|| Error::not_found("principal", id))?))
    }

    pub(crate) async fn find_principal(
        &self,
        scope: &TenantScope,
        id: &PrincipalId,
        now: Time,
    ) -> Result<Option<Versioned<Principal>>, Error> {
        let found = scope.get::<Principal>(&*self.store, &Principal::key_of(scope.tenant(), id), now).await?;
        Ok(found.filter(|found| scope.admits(&found.value, Some(&found.value.id))))
    }
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

/// Whether the caller may take away the rights of any principal, whatever its type and roles.
pub(crate) fn may_manage_any(permit: &Permit) -> bool {
    permit.may_manage(PrincipalType::Admin, &[]).is_ok()
}

/// For a record that is needed and cannot be read.
pub(crate) fn unreadable(error: StoreError) -> Error {
    let StoreError::Corrupt { key, .. } = error else { return error.into() };
    let message = format!("the record {key} cannot be read: the runbook UnreadableRecords says how to mend it");
    Error::precondition(RECORD_UNREADABLE, message)
}

fn refuse_own(permit: &Permit, scope: &TenantScope, id: &PrincipalId) -> Result<(), Error> {
    if permit.identity().principal == *id && permit.identity().tenant == *scope.tenant() {
        return Err(Error::precondition("OWN_PRINCIPAL", "nobody suspends or deletes the principal it calls with"));
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

/// A name for people: short, and nothing that could change how it, or what stands beside it, is shown.
pub(crate) fn check_display_name(field: &'static str, name: &str) -> Result<(), Error> {
    if name.chars().count() > MAX_DISPLAY_NAME || name.chars().any(is_deceptive) {
        let message = "must be at most 128 characters, none that hides, moves the cursor or turns text round";
        return Err(Error::invalid(field, "INVALID_DISPLAY_NAME", message));
    }
    Ok(())
}
