//! Tenants: create, read, change, suspend, activate. `deletion` has how they end.

use std::{collections::BTreeMap, sync::atomic::AtomicBool};

use serde::Serialize;
use signet_core::{
    Error, Lifetime, PrincipalType, TenantId, TenantScope, Time,
    authorities::{CaKind, CaState},
    certificates::renewal::{MAX_GRACE, Steering},
    store::{
        Index, LISTING_SHARDS, Query, Table, Versioned,
        commit::Write,
        scope::{ClaimScope, EnvironmentScope},
    },
    tenants::{
        DEFAULT_MAX_CERTIFICATES, FailureLimit, Isolation, MAX_LIFETIME, MAX_UNIT, MIN_LIFETIME, SubjectForm, Tenant,
        TenantStatus, quota::Quotas,
    },
    text::{check_display_name, is_deceptive},
};

use crate::{
    App, AuditEntry, Call, Listing, PageRequest, Planned,
    authorities::{self, CertifiedOnce, NewCa},
    call, ledger, paging, reads,
    sync::queues::QueueTurn,
};

pub mod deletion;
pub mod quotas;

/// Most certificates that one principal of a tenant may be allowed to hold.
const MAX_CERTIFICATES: u32 = 100;

/// A tenant to be made.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct CreateTenant {
    pub id: TenantId,
    /// For people.
    pub display_name: String,
    /// Whose key signs for it.
    pub isolation: Isolation,
    /// Lifetimes that differ from the defaults.
    pub lifetimes: BTreeMap<PrincipalType, Lifetime>,
    /// Subjects that differ from the plain form.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub subjects: BTreeMap<PrincipalType, SubjectForm>,
    /// How many certificates one principal may hold, at most 100; 0: the default.
    pub max_certificates: u32,
    /// How long after expiry certificates may be renewed out of band, at most 30 days.
    pub renewal_grace: Lifetime,
    /// How much of what it may have; unset or 0: the defaults.
    #[serde(skip_serializing_if = "Quotas::is_unset")]
    pub quotas: Quotas,
    /// When a principal is suspended by itself; `None`: the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_limit: Option<FailureLimit>,
}

/// What to change; `None`: leave as it is.
#[derive(Clone, Debug, Default, Serialize)]
pub struct TenantPatch {
    /// For people.
    pub display_name: Option<String>,
    /// Lifetimes that differ from the defaults, all of them.
    pub lifetimes: Option<BTreeMap<PrincipalType, Lifetime>>,
    /// Subjects that differ from the plain form, all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subjects: Option<BTreeMap<PrincipalType, SubjectForm>>,
    /// How many certificates one principal may hold, at most 100; 0: the default.
    pub max_certificates: Option<u32>,
    /// How long after expiry certificates may be renewed out of band, at most 30 days.
    pub renewal_grace: Option<Lifetime>,
    /// How much of what it may have; unset: as before, 0: the default.
    #[serde(skip_serializing_if = "Quotas::is_unset")]
    pub quotas: Quotas,
    /// When a principal is suspended by itself; `Some(None)`: the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_limit: Option<Option<FailureLimit>>,
}

/// Makes a tenant and, unless it shares the environment's, its CA.
pub async fn create_tenant(
    app: &App,
    call: &Call,
    scope: &EnvironmentScope,
    input: CreateTenant,
) -> Result<Tenant, Error> {
    let tenant = new_tenant(app, call, &input)?;
    let made = CertifiedOnce::default();
    let plan = || async {
        if let Some(found) = scope.get::<Tenant>(&*app.store, &Tenant::key_of(&input.id), call.now).await? {
            return Err(taken(&found.value));
        }
        let entry = AuditEntry::done(call, "tenant", &input.id);
        let mut commit = call::tenant_commit(app, call, &input.id, &entry).write(Write::create(tenant.clone()));
        if tenant.isolation == Isolation::Dedicated {
            let (kind, state) = (CaKind::Tenant, CaState::Active);
            let new = NewCa { kind, owner: &input.id, generation: 1, key: None, state };
            let (ca, records) = authorities::certify_once(app, call, &made, &new).await?;
            commit = commit.write(Write::create(ca)).writes(records);
        }
        Ok(Planned::Commit(Box::new(commit), tenant.clone()))
    };
    ledger::mutate(app, call, &TenantId::system(), &input, plan, |_| tenant_now(app, scope, &input.id, call.now)).await
}

/// Reads a tenant.
pub async fn get_tenant(app: &App, call: &Call, scope: &TenantScope) -> Result<Tenant, Error> {
    reads::tenant(app, scope, call.now).await
}

/// Lists the environment's tenants, in no particular order; with `show_deleted` also those that are deleted and not yet
/// purged.
pub async fn list_tenants(
    app: &App,
    call: &Call,
    scope: &EnvironmentScope,
    show_deleted: bool,
    page: &PageRequest,
) -> Result<Listing<Tenant>, Error> {
    let query = |shard| Query::index(Table::Tenants, Index::Listing, Tenant::listing(shard));
    let read = |query| async move {
        let mut page = scope.page::<Tenant>(&*app.store, &query, call.now).await?;
        page.records.retain(|found| show_deleted || !found.value.is_deleted());
        Ok(page)
    };
    let of = if show_deleted { "tenants, deleted too" } else { "tenants" };
    paging::list(page, of, LISTING_SHARDS, query, read).await
}

/// Changes a tenant's name or limits. They hold for certificates that are issued from then on.
pub async fn update_tenant(
    app: &App,
    call: &Call,
    scope: &EnvironmentScope,
    id: &TenantId,
    patch: TenantPatch,
) -> Result<Tenant, Error> {
    let patch = checked(patch)?;
    let _turn = turn_to_write(app, id).await;
    let plan = || async {
        let mut found = find_tenant(app, scope, id, call.now).await?;
        reads::refuse_deleted(&found.value)?;
        let before = found.value.clone();
        let tenant = &mut found.value;
        tenant.display_name = patch.display_name.clone().unwrap_or(before.display_name.clone());
        tenant.lifetimes = patch.lifetimes.clone().unwrap_or(before.lifetimes.clone());
        tenant.subjects = patch.subjects.clone().unwrap_or(before.subjects.clone());
        tenant.max_certificates = patch.max_certificates.unwrap_or(before.max_certificates);
        tenant.renewal_grace = patch.renewal_grace.unwrap_or(before.renewal_grace);
        tenant.quotas = patch.quotas.or(before.quotas);
        tenant.failure_limit = patch.failure_limit.unwrap_or(before.failure_limit);
        if *tenant == before {
            return Ok(Planned::Unchanged(before));
        }
        Ok(change_tenant(app, call, found))
    };
    let replay = |_| tenant_now(app, scope, id, call.now);
    ledger::mutate(app, call, &TenantId::system(), &(id, &patch), plan, replay).await
}

/// Refuses all of the tenant's principals everywhere, and issues nothing for it, until it is activated.
pub async fn suspend_tenant(app: &App, call: &Call, scope: &EnvironmentScope, id: &TenantId) -> Result<Tenant, Error> {
    if id.is_system() {
        let message = "the system tenant cannot be suspended: nobody could activate it again";
        return Err(Error::precondition("SYSTEM_TENANT", message));
    }
    set_tenant_status(app, call, scope, id, TenantStatus::Suspended).await
}

/// Lifts a suspension.
pub async fn activate_tenant(app: &App, call: &Call, scope: &EnvironmentScope, id: &TenantId) -> Result<Tenant, Error> {
    set_tenant_status(app, call, scope, id, TenantStatus::Active).await
}

async fn set_tenant_status(
    app: &App,
    call: &Call,
    scope: &EnvironmentScope,
    id: &TenantId,
    status: TenantStatus,
) -> Result<Tenant, Error> {
    let is_charged = AtomicBool::new(false);
    let _turn = turn_to_write(app, id).await;
    let plan = || async {
        // Also what is as it was asked: the feed may have lost it (a restore by halves).
        let mut found = find_tenant(app, scope, id, call.now).await?;
        reads::refuse_deleted(&found.value)?;
        if found.value.status == status {
            app.throttle.repeated(call, &is_charged)?;
        }
        found.value.status = status;
        Ok(change_tenant(app, call, found))
    };
    let replay = |_| tenant_now(app, scope, id, call.now);
    ledger::mutate(app, call, &TenantId::system(), &(id, status), plan, replay).await
}

/// Steers the tenant's renewals: certificates made before an instant are renewed within a window. `None`: no more.
pub async fn steer_renewals(
    app: &App,
    call: &Call,
    scope: &TenantScope,
    steering: Option<Steering>,
) -> Result<Tenant, Error> {
    check_steering(call, steering.as_ref())?;
    let _turn = turn_to_write(app, scope.tenant()).await;
    let plan = || async {
        let found = scope.get::<Tenant>(&*app.store, &Tenant::key_of(scope.tenant()), call.now).await?;
        let mut found = found.ok_or_else(|| Error::not_found("tenant", scope.tenant()))?;
        reads::refuse_deleted(&found.value)?;
        if found.value.renewal_steering == steering {
            return Ok(Planned::Unchanged(found.value));
        }
        found.value.renewal_steering = steering;
        Ok(change_tenant(app, call, found))
    };
    ledger::mutate(app, call, scope.tenant(), &steering, plan, |_| get_tenant(app, call, scope)).await
}

/// Waits for a turn to write the tenant: who changes it again and again makes nobody start over who suspends it.
pub(crate) async fn turn_to_write<'a>(app: &'a App, tenant: &TenantId) -> QueueTurn<'a> {
    app.turns.take(format!("record/{tenant}")).await
}

fn change_tenant(app: &App, call: &Call, mut found: Versioned<Tenant>) -> Planned<Tenant> {
    found.value.updated_at = call.now;
    let entry = AuditEntry::done(call, "tenant", &found.value.id);
    let commit = call::tenant_commit(app, call, &found.value.id, &entry);
    let commit = commit.write(Write::replace(found.value.clone(), found.version));
    Planned::Commit(Box::new(commit), found.value)
}

pub(crate) async fn tenant_now(app: &App, scope: &EnvironmentScope, id: &TenantId, now: Time) -> Result<Tenant, Error> {
    Ok(find_tenant(app, scope, id, now).await?.value)
}

pub(crate) async fn find_tenant(
    app: &App,
    scope: &EnvironmentScope,
    id: &TenantId,
    now: Time,
) -> Result<Versioned<Tenant>, Error> {
    let found = scope.get::<Tenant>(&*app.store, &Tenant::key_of(id), now).await?;
    found.ok_or_else(|| Error::not_found("tenant", id))
}

/// The tenants whose trust domain is or contains a host name of the control plane, with that name: they are older than
/// it, or than the rule.
pub async fn around_own_hosts(app: &App, now: Time) -> Result<Vec<(TenantId, String)>, Error> {
    let mut found = Vec::new();
    for host in &app.settings.own_hosts {
        let Some(id) = app.environment.suffix().tenant_around(host) else { continue };
        let known = ClaimScope::of(&id).get::<Tenant>(&*app.store, &Tenant::key_of(&id), now).await?;
        if known.is_some_and(|known| !known.value.is_purged()) {
            found.push((id, host.clone()));
        }
    }
    Ok(found)
}

fn require_not_around_own_hosts(app: &App, id: &TenantId) -> Result<(), Error> {
    let suffix = app.environment.suffix();
    let is_around = |host: &&String| suffix.tenant_around(host).as_ref() == Some(id);
    let Some(host) = app.settings.own_hosts.iter().find(is_around) else { return Ok(()) };
    let domain = suffix.trust_domain(id);
    let message =
        format!("would have the trust domain {domain}, and {host} is a name of the control plane; choose another id");
    Err(Error::invalid("tenant.tenant_id", "TRUST_DOMAIN_OF_SERVER", message))
}

/// Refusals of what an earlier tenant had rest on its id, so that no other gets it.
fn taken(found: &Tenant) -> Error {
    let id = &found.id;
    match &found.deletion {
        None => Error::AlreadyExists { resource: "tenant", id: id.to_string() },
        Some(deletion) if deletion.purge.is_none() => Error::precondition(
            "TENANT_DELETED",
            format!(
                "tenant {id} was deleted and is purged at {}; undelete it with `principal tenant undelete {id}`, or choose \
                 another id: this one is never given again",
                deletion.purge_at
            ),
        ),
        Some(_) => Error::precondition(
            "TENANT_PURGED",
            format!("{id} was the id of a tenant that was deleted, and is never given again; choose another"),
        ),
    }
}

fn new_tenant(app: &App, call: &Call, input: &CreateTenant) -> Result<Tenant, Error> {
    if input.id.is_system() || input.id.is_reserved() {
        let message = "is reserved for the environment; choose another";
        return Err(Error::invalid("tenant.tenant_id", "RESERVED_ID", message));
    }
    require_not_around_own_hosts(app, &input.id)?;
    let patch = checked(TenantPatch {
        display_name: Some(input.display_name.clone()),
        lifetimes: Some(input.lifetimes.clone()),
        subjects: Some(input.subjects.clone()),
        max_certificates: Some(input.max_certificates),
        renewal_grace: Some(input.renewal_grace),
        quotas: input.quotas,
        failure_limit: Some(input.failure_limit),
    })?;
    Ok(Tenant {
        id: input.id.clone(),
        display_name: input.display_name.clone(),
        status: TenantStatus::Active,
        isolation: input.isolation,
        lifetimes: input.lifetimes.clone(),
        subjects: patch.subjects.unwrap_or_default(),
        max_certificates: patch.max_certificates.unwrap_or(DEFAULT_MAX_CERTIFICATES),
        renewal_grace: input.renewal_grace,
        renewal_steering: None,
        quotas: patch.quotas.or(Quotas::default()),
        failure_limit: input.failure_limit,
        deletion: None,
        created_at: call.now,
        updated_at: call.now,
    })
}

fn checked(mut patch: TenantPatch) -> Result<TenantPatch, Error> {
    check_display_name("tenant.display_name", patch.display_name.as_deref().unwrap_or_default())?;
    let out_of_range = |lifetime: &Lifetime| *lifetime < MIN_LIFETIME || *lifetime > MAX_LIFETIME;
    if patch.lifetimes.iter().flat_map(BTreeMap::values).any(out_of_range) {
        let message = "each lifetime must be 60 to 7776000 seconds (90 days)";
        return Err(Error::invalid("tenant.lifetimes", "OUT_OF_RANGE", message));
    }
    if let Some(subjects) = &mut patch.subjects {
        subjects.retain(|_, form| *form != SubjectForm::default());
        subjects.iter().try_for_each(|(of, form)| check_subject(*of, form))?;
    }
    if let Some(Some(limit)) = patch.failure_limit {
        check_failure_limit(limit)?;
    }
    if patch.renewal_grace.is_some_and(|grace| grace > MAX_GRACE) {
        let message = "must be at most 2592000 seconds (30 days)";
        return Err(Error::invalid("tenant.renewal_grace_seconds", "OUT_OF_RANGE", message));
    }
    if let Some(quota) = patch.quotas.too_high() {
        let message = format!("{} must be at most {}", quota.name(), quota.most());
        return Err(Error::invalid("tenant.quotas", "OUT_OF_RANGE", message));
    }
    if let Some(most) = &mut patch.max_certificates {
        if *most == 0 {
            *most = DEFAULT_MAX_CERTIFICATES;
        }
        if *most > MAX_CERTIFICATES {
            return Err(Error::invalid("tenant.max_certificates", "OUT_OF_RANGE", "must be at most 100"));
        }
    }
    Ok(patch)
}

fn check_failure_limit(FailureLimit { failures, window }: FailureLimit) -> Result<(), Error> {
    let (field, rule) = if failures > FailureLimit::MOST {
        ("tenant.failure_limit.failures", "must be at most 100; 0: nobody is suspended by itself")
    } else if window < FailureLimit::SHORTEST || window > FailureLimit::LONGEST {
        ("tenant.failure_limit.window_seconds", "must be 1 to 3600 seconds (1 hour)")
    } else {
        return Ok(());
    };
    Err(Error::invalid(field, "OUT_OF_RANGE", rule))
}

fn check_subject(of: PrincipalType, form: &SubjectForm) -> Result<(), Error> {
    if form.tenant_in_common_name && of.is_workload() {
        let message = format!("the CN of a {of} is its id, beside its DNS name; others can have the tenant there");
        return Err(Error::invalid("tenant.subjects.tenant_in_common_name", "INVALID_SUBJECT", message));
    }
    match &form.organizational_unit {
        Some(unit) if !is_unit(unit) => {
            let message = format!(
                "must be 1 to {MAX_UNIT} characters, none that hides or turns text round, no space around them"
            );
            Err(Error::invalid("tenant.subjects.organizational_unit", "INVALID_SUBJECT", message))
        }
        _ => Ok(()),
    }
}

fn is_unit(unit: &str) -> bool {
    (1..=MAX_UNIT).contains(&unit.chars().count()) && unit.trim() == unit && !unit.chars().any(is_deceptive)
}

fn check_steering(call: &Call, steering: Option<&Steering>) -> Result<(), Error> {
    let Some(Steering { issued_before, window }) = steering else { return Ok(()) };
    let (field, rule) = if *issued_before > call.now {
        // Certificates renewed within the window would be meant again.
        ("steering.issued_before", "must not be in the future")
    } else if window.end.millis_since(window.start) < MIN_LIFETIME.millis() {
        ("steering.window_end", "must be at least a minute after the start")
    } else if window.end <= call.now {
        ("steering.window_end", "must be in the future")
    } else if window.end > call.now.plus(MAX_LIFETIME) {
        ("steering.window_end", "must be within 90 days: no certificate lives longer")
    } else {
        return Ok(());
    };
    Err(Error::invalid(field, "OUT_OF_RANGE", rule))
}
