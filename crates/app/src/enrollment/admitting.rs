//! Who is let in by a proof, and what becomes of those who are not.

use std::sync::Arc;

use signet_core::{
    Error, Lifetime, PrincipalId, PrincipalType, Role, TenantId, TenantScope, Time,
    principals::Principal,
    store::{
        Versioned,
        commit::{Commit, Write},
    },
    tenants::quota::Quota,
};

use crate::{
    App, AuditEntry, Call, CreatePrincipal,
    audit::events,
    authorities::reservation::CREATED,
    certificates::order::{Admission, OPERATORS_ELSEWHERE, require_active_principal},
    principals::new_principal,
    reads,
    tenants::quotas::{self, CountTurn},
};

/// What is known of a caller, for the audit event of a refusal. No secrets.
pub(super) type Known = Vec<(&'static str, String)>;

pub(super) const TOO_MANY: &str = "TOO_MANY_REFUSED_ENROLLMENTS";

/// Refuses, before any work, those who have just been refused too often.
pub(super) fn check_guesses(app: &App, call: &Call, tenant: &TenantId) -> Result<(), Error> {
    if app.throttle.admits(tenant, call.source, call.now) {
        return Ok(());
    }
    let message = "too many refused enrollments; check the proof, and retry in a few minutes";
    Err(Error::Exhausted { reason: TOO_MANY, message: message.into(), retry_after: Some(Lifetime::minutes(1)) })
}

/// The principal that a caller becomes: `found`, or a new one.
pub(super) fn enrolled(
    call: &Call,
    scope: &TenantScope,
    found: Option<Versioned<Principal>>,
    new: (PrincipalId, PrincipalType, &[Role]),
) -> Result<Versioned<Principal>, Error> {
    if let Some(found) = found {
        return Ok(found);
    }
    let (id, principal_type, roles) = new;
    let (display_name, roles, groups) = (String::new(), roles.to_vec(), Vec::new());
    let input = CreatePrincipal { id, principal_type, display_name, roles, groups };
    Ok(Versioned { value: new_principal(call, scope, &input)?, version: CREATED })
}

/// A turn to count the principal that the caller becomes, unless there is one with its `id`.
pub(super) async fn turn_if_new<'a>(
    app: &'a App,
    scope: &TenantScope,
    id: Option<&PrincipalId>,
    now: Time,
) -> Result<Option<CountTurn<'a>>, Error> {
    if let Some(id) = id
        && reads::find_principal(app, scope, id, now).await?.is_some()
    {
        return Ok(None);
    }
    Ok(Some(quotas::turn_to_count(app, scope.tenant(), Quota::Principals).await))
}

/// The principal that is let in, which `commit` makes if it is `created`.
pub(super) async fn admission(
    app: &App,
    call: &Call,
    scope: &TenantScope,
    principal: Versioned<Principal>,
    created: bool,
    turn: Option<&CountTurn<'_>>,
    commit: Commit,
) -> Result<Admission, Error> {
    if !created {
        return Ok(Admission { principal, presented: None, commit, others: None });
    }
    let others = quotas::tally(app, scope.tenant(), Quota::Principals, call.now).await?;
    let counted = match turn {
        Some(turn) => turn.count(&others, 1, None),
        // It was there a moment ago.
        None => quotas::turn_to_count(app, scope.tenant(), Quota::Principals).await.count(&others, 1, None),
    };
    let commit = commit.write(Write::create(principal.value.clone())).write(counted);
    Ok(Admission { principal, presented: None, commit, others: Some(others) })
}

/// Records a refusal and says no more than that; other failures pass as they are.
pub(super) async fn refuse_proof<T>(
    app: &Arc<App>,
    call: &Call,
    tenant: &TenantId,
    error: Error,
    known: Known,
) -> Result<T, Error> {
    let reason = match &error {
        Error::ProofRefused { reason } => reason,
        Error::Precondition { reason: "RESERVATION_ABANDONED", .. }
        | Error::Exhausted { reason: TOO_MANY, .. }
        | Error::Invalid { .. }
        | Error::Conflict(_)
        | Error::Unavailable { .. }
        | Error::Restoring { .. }
        | Error::Misconfigured { .. }
        | Error::Unreadable { .. }
        | Error::Internal { .. } => return Err(error),
        other => other.reason(),
    };
    tracing::info!(reason, tenant.id = %tenant, call.correlation_id, "enrollment refused by the control plane");
    // Whose proof is good and whose tenant is full is told so; it guesses nothing.
    let is_full = matches!(error, Error::OverQuota(_));
    if !is_full {
        app.throttle.failed(tenant, call.source, call.now);
    }
    if let Some(unwritten) = app.throttle.may_record(tenant, reason, call.now) {
        let entry =
            known.into_iter().fold(AuditEntry::refused(call, reason), |entry, (name, value)| entry.detail(name, value));
        let entry = if unwritten == 0 { entry } else { entry.detail("unwritten_refusals_before", unwritten) };
        record_refusal(app, call, tenant, reason, entry).await;
    }
    // What to do instead is no secret: it is so for every operator.
    Err(if is_full || reason == OPERATORS_ELSEWHERE { error } else { refused(reason) })
}

/// Writes a refusal into the tenant's log, also if its caller does not wait for that.
pub(crate) async fn record_refusal(
    app: &Arc<App>,
    call: &Call,
    tenant: &TenantId,
    reason: &'static str,
    entry: AuditEntry,
) {
    let (own, call, tenant) = (Arc::clone(app), call.clone(), tenant.clone());
    let record = async move {
        let recorded = events::refuse(&own, &call, &tenant, &entry).await;
        if let Err(error) = &recorded {
            tracing::error!(%error, reason, tenant.id = %tenant, "a refusal could not be recorded");
        }
        recorded
    };
    // An error was told where it happened; the refusal stands either way.
    let _recorded = app.detached.run(record).await;
}

pub(super) fn refused(reason: &'static str) -> Error {
    Error::ProofRefused { reason }
}

/// Whether a principal that exists is what the proof's maker had in mind, with no other rights than it knew of.
pub(super) fn fits(principal: &Principal, principal_type: PrincipalType, roles: &[Role]) -> Result<(), Error> {
    require_active_principal(principal)?;
    if principal.principal_type != principal_type {
        return Err(refused("PRINCIPAL_TYPE_DIFFERS"));
    }
    let more = principal.roles.iter().any(|role| !roles.contains(role));
    if more { Err(refused("PRINCIPAL_ROLES_CHANGED")) } else { Ok(()) }
}
