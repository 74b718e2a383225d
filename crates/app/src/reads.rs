//! Reads that any operation may need: of one record, within a scope, and of all tenants and CAs.

use signet_core::{
    CaId, Error, PrincipalId, PrincipalType, Serial, StoreError, TenantId, TenantScope, Time,
    authorities::Ca,
    authorization::Permit,
    certificates::{Certificate, CertificateKind},
    enrollment::rule::EnrollmentRule,
    principals::{HeldCertificate, Principal},
    store::{
        Index, LISTING_SHARDS, Query, SortRange, Table, Unreadable, Versioned,
        scope::{ClaimScope, Housekeeper},
    },
    tenants::{Tenant, TenantStatus},
    tokens::TokenKeys,
};

use crate::{App, Listing, paging};

/// The scope's tenant, or `NOT_FOUND`.
pub(crate) async fn tenant(app: &App, scope: &TenantScope, now: Time) -> Result<Tenant, Error> {
    Ok(versioned_tenant(app, scope, now).await?.value)
}

/// The same with its version, for who changes something that hangs on it.
pub(crate) async fn versioned_tenant(app: &App, scope: &TenantScope, now: Time) -> Result<Versioned<Tenant>, Error> {
    let found = scope.get::<Tenant>(&*app.store, &Tenant::key_of(scope.tenant()), now).await?;
    found.ok_or_else(|| Error::not_found("tenant", scope.tenant()))
}

/// `NOT_FOUND` if the scope's tenant does not exist, for whoever found nothing in it. One that cannot be read exists.
pub(crate) async fn require_tenant(app: &App, scope: &TenantScope, now: Time) -> Result<(), Error> {
    match tenant(app, scope, now).await {
        Err(Error::Unreadable { .. }) => Ok(()),
        found => found.map(drop),
    }
}

/// A tenant's list: one that is empty may be that of no tenant.
pub(crate) async fn in_tenant<T>(
    app: &App,
    scope: &TenantScope,
    found: Listing<T>,
    now: Time,
) -> Result<Listing<T>, Error> {
    if found.items.is_empty() {
        require_tenant(app, scope, now).await?;
    }
    Ok(found)
}

/// What is not there: `resource`, or the tenant itself.
pub(crate) async fn missing(
    app: &App,
    scope: &TenantScope,
    resource: &'static str,
    id: impl std::fmt::Display,
    now: Time,
) -> Error {
    match require_tenant(app, scope, now).await {
        Ok(()) => Error::not_found(resource, id),
        Err(error) => error,
    }
}

/// The scope's tenant, if it may act.
pub(crate) async fn require_active_tenant(app: &App, scope: &TenantScope, now: Time) -> Result<Tenant, Error> {
    let tenant = tenant(app, scope, now).await?;
    require_active(&tenant)?;
    Ok(tenant)
}

pub(crate) fn require_active(tenant: &Tenant) -> Result<(), Error> {
    refuse_deleted(tenant)?;
    match tenant.status {
        TenantStatus::Active => Ok(()),
        TenantStatus::Suspended => Err(Error::precondition(
            "TENANT_SUSPENDED",
            format!("tenant {} is suspended; activate it first", tenant.id),
        )),
    }
}

/// Nothing of a deleted tenant changes but by its undeletion and its purge.
pub(crate) fn refuse_deleted(tenant: &Tenant) -> Result<(), Error> {
    if tenant.is_deleted() { Err(deleted(&tenant.id)) } else { Ok(()) }
}

/// What a change in a deleted tenant is answered with.
pub fn deleted(id: &TenantId) -> Error {
    let message = format!("tenant {id} was deleted; undelete it first with `principal tenant undelete {id}`");
    Error::precondition("TENANT_DELETED", message)
}

/// The principal `id` within the scope, or `NOT_FOUND`.
pub(crate) async fn principal(
    app: &App,
    scope: &TenantScope,
    id: &PrincipalId,
    now: Time,
) -> Result<Versioned<Principal>, Error> {
    match find_principal(app, scope, id, now).await? {
        Some(found) => Ok(found),
        None => Err(missing(app, scope, "principal", id, now).await),
    }
}

/// The same; inside `Corrupt`, if its record cannot be read.
pub(crate) async fn read_principal(
    app: &App,
    scope: &TenantScope,
    id: &PrincipalId,
    now: Time,
) -> Result<Result<Versioned<Principal>, StoreError>, Error> {
    let key = Principal::key_of(scope.tenant(), id);
    let found = match scope.get::<Principal>(&*app.store, &key, now).await {
        Err(error @ StoreError::Corrupt { .. }) if scope.only().is_none_or(|only| only == id) => {
            return Ok(Err(error));
        }
        // Who may see one principal alone does not learn that there is another.
        Err(StoreError::Corrupt { .. }) => None,
        found => found?,
    };
    match found {
        Some(found) => Ok(Ok(found)),
        None => Err(missing(app, scope, "principal", id, now).await),
    }
}

pub(crate) async fn find_principal(
    app: &App,
    scope: &TenantScope,
    id: &PrincipalId,
    now: Time,
) -> Result<Option<Versioned<Principal>>, Error> {
    Ok(scope.get::<Principal>(&*app.store, &Principal::key_of(scope.tenant(), id), now).await?)
}

/// Whether the caller may take away the rights of any principal, whatever its type and roles.
pub(crate) fn may_manage_any(permit: &Permit) -> bool {
    permit.may_manage(PrincipalType::Admin, &[]).is_ok()
}

/// The principal's certificate within the scope, or `NOT_FOUND`.
pub(crate) async fn certificate(
    app: &App,
    scope: &TenantScope,
    issuer: &CaId,
    serial: &Serial,
    now: Time,
) -> Result<Versioned<Certificate>, Error> {
    Ok(read_certificate(app, scope, issuer, serial, now).await??)
}

/// The same; inside `Corrupt`, if its record cannot be read.
pub(crate) async fn read_certificate(
    app: &App,
    scope: &TenantScope,
    issuer: &CaId,
    serial: &Serial,
    now: Time,
) -> Result<Result<Versioned<Certificate>, StoreError>, Error> {
    let found = match scope.get::<Certificate>(&*app.store, &Certificate::key_of(issuer, serial), now).await {
        Err(error @ StoreError::Corrupt { .. }) => return Ok(Err(error)),
        found => found?,
    };
    let found = found.filter(|found| found.value.kind == CertificateKind::Leaf);
    found.map(Ok).ok_or_else(|| Error::not_found("certificate", format!("{issuer}/{serial}")))
}

/// A certificate that a principal has on its list, if it is still kept; inside `Corrupt`, if that cannot be read.
pub(crate) async fn read_held(
    app: &App,
    scope: &TenantScope,
    held: &HeldCertificate,
    now: Time,
) -> Result<Option<Result<Versioned<Certificate>, StoreError>>, Error> {
    match read_certificate(app, scope, &held.issuer, &held.serial, now).await {
        Ok(found) => Ok(Some(found)),
        Err(Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// All CAs of the scope's tenant that can be read, retired ones too. One that cannot neither signs nor is trusted.
pub(crate) async fn cas(app: &App, scope: &TenantScope, now: Time) -> Result<Vec<Versioned<Ca>>, Error> {
    Ok(cas_and_unreadable(app, scope, now).await?.0)
}

/// The same, and those that cannot be read: for who makes the next one, whose number theirs may be.
pub(crate) async fn cas_and_unreadable(
    app: &App,
    scope: &TenantScope,
    now: Time,
) -> Result<(Vec<Versioned<Ca>>, Vec<Unreadable>), Error> {
    let mut query = Ca::all_of(scope.tenant());
    let (mut cas, mut unreadable) = (Vec::new(), Vec::new());
    loop {
        let page = scope.page::<Ca>(&*app.store, &query, now).await?;
        cas.extend(page.records);
        unreadable.extend(page.unreadable);
        match page.next {
            None => return Ok((cas, unreadable)),
            next => query = query.after(next),
        }
    }
}

/// The CAs of all tenants, from the index, and those that cannot be read.
pub(crate) async fn all_cas(app: &App, keeper: Housekeeper, now: Time) -> Result<(Vec<Ca>, Vec<Unreadable>), Error> {
    let query = |shard| Query::index(Table::Tenants, Index::Listing, Ca::listing(shard));
    let read = |query| async move { keeper.environment().page::<Ca>(&*app.store, &query, now).await };
    paging::all(LISTING_SHARDS, query, read).await
}

pub(crate) async fn all_tenants(
    app: &App,
    keeper: Housekeeper,
    now: Time,
) -> Result<(Vec<Tenant>, Vec<Unreadable>), Error> {
    let query = |shard| Query::index(Table::Tenants, Index::Listing, Tenant::listing(shard));
    let read = |query| async move { keeper.environment().page::<Tenant>(&*app.store, &query, now).await };
    paging::all(LISTING_SHARDS, query, read).await
}

/// The keys for tokens of all tenants, from the index.
pub(crate) async fn all_token_keys(
    app: &App,
    keeper: Housekeeper,
    now: Time,
) -> Result<(Vec<TokenKeys>, Vec<Unreadable>), Error> {
    let query = |shard| Query::index(Table::Tenants, Index::Listing, TokenKeys::listing(shard));
    let read = |query| async move { keeper.environment().page::<TokenKeys>(&*app.store, &query, now).await };
    paging::all(LISTING_SHARDS, query, read).await
}

/// A tenant's keys for tokens; one that cannot be read is none.
pub(crate) async fn token_keys(app: &App, scope: &TenantScope, now: Time) -> Result<Vec<TokenKeys>, Error> {
    let page = scope.page::<TokenKeys>(&*app.store, &TokenKeys::all_of(scope.tenant()), now).await?;
    Ok(page.records.into_iter().map(|found| found.value).collect())
}

/// All rules of a tenant, strongly consistent.
pub(crate) async fn rules_of(app: &App, tenant: &TenantId, now: Time) -> Result<Vec<EnrollmentRule>, Error> {
    let scope = ClaimScope::of(tenant);
    let read = |query| {
        let scope = &scope;
        async move { scope.page::<EnrollmentRule>(&*app.store, &query, now).await }
    };
    // A rule that cannot be read grants nothing.
    Ok(paging::all(1, |_| all_of(tenant), read).await?.0)
}

pub(crate) fn all_of(tenant: &TenantId) -> Query {
    Query::table(Table::Tenants, tenant.as_str()).range(SortRange::Prefix(EnrollmentRule::SORT_PREFIX.to_owned()))
}
