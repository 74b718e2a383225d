//! The end of a tenant, and the way back while there is one. `crate::purge` removes what is left of it.

use signet_core::{
    Error, TenantId, Time,
    store::{Versioned, commit::Write, scope::EnvironmentScope},
    tenants::{Deletion, Tenant, TenantStatus},
};

use crate::{
    App, AuditEntry, Call, Planned, call, ledger,
    tenants::{find_tenant, tenant_now, turn_to_write},
};

/// Deletes a suspended tenant: nothing of it changes any more, and after the grace time it is purged. Repeated, it
/// changes nothing, not the time of the purge either.
pub async fn delete_tenant(app: &App, call: &Call, scope: &EnvironmentScope, id: &TenantId) -> Result<Tenant, Error> {
    if id.is_system() {
        let message = "the system tenant cannot be deleted: the environment is operated from it";
        return Err(Error::precondition("SYSTEM_TENANT", message));
    }
    let _turn = turn_to_write(app, id).await;
    let plan = || async {
        let mut found = find_tenant(app, scope, id, call.now).await?;
        if found.value.is_deleted() {
            return Ok(Planned::Unchanged(found.value));
        }
        if found.value.status != TenantStatus::Suspended {
            let message = format!(
                "tenant {id} is active; suspend it first with `principal tenant suspend {id}`, and delete it once nobody \
                 misses it"
            );
            return Err(Error::precondition("TENANT_NOT_SUSPENDED", message));
        }
        let deletion = Deletion { at: call.now, purge_at: call.now.plus(app.settings.deletion_grace), purge: None };
        found.value.deletion = Some(deletion.clone());
        Ok(changed(app, call, found, Some(&deletion)))
    };
    let replay = |_| tenant_now(app, scope, id, call.now);
    ledger::mutate(app, call, &TenantId::system(), &id, plan, replay).await
}

/// Takes a deletion back, until the tenant is purged. It is suspended then, as it was before.
pub async fn undelete_tenant(app: &App, call: &Call, scope: &EnvironmentScope, id: &TenantId) -> Result<Tenant, Error> {
    let _turn = turn_to_write(app, id).await;
    let plan = || async {
        let mut found = find_tenant(app, scope, id, call.now).await?;
        let Some(deletion) = found.value.deletion.take() else { return Ok(Planned::Unchanged(found.value)) };
        if deletion.purge.is_some() || deletion.purge_at <= call.now {
            return Err(purged(id, deletion.purge_at));
        }
        // Some process of a version that knows no deletions may have activated it.
        found.value.status = TenantStatus::Suspended;
        Ok(changed(app, call, found, None))
    };
    let replay = |_| tenant_now(app, scope, id, call.now);
    ledger::mutate(app, call, &TenantId::system(), &id, plan, replay).await
}

/// A restore finds in the event what became of the tenant.
fn changed(app: &App, call: &Call, mut found: Versioned<Tenant>, deletion: Option<&Deletion>) -> Planned<Tenant> {
    found.value.updated_at = call.now;
    let mut entry = AuditEntry::done(call, "tenant", &found.value.id);
    if let Some(deletion) = deletion {
        entry = entry.detail("purge_at", deletion.purge_at.unix_seconds());
    }
    let commit = call::tenant_commit(app, call, &found.value.id, &entry);
    let commit = commit.write(Write::replace(found.value.clone(), found.version));
    Planned::Commit(Box::new(commit), found.value)
}

fn purged(id: &TenantId, purge_at: Time) -> Error {
    let message = format!("tenant {id} could be undeleted until {purge_at}; nothing brings it back any more");
    Error::precondition("TENANT_PURGED", message)
}
