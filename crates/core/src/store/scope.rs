//! Proof that a caller may touch a tenant's data. Only the authorization step, a redeemed proof or Signet's own
//! housekeeping makes one, and storage calls take one: a cross-tenant read cannot be written.

use crate::{
    PrincipalId, StoreError, TenantId, Time,
    store::{
        Store, Unreadable,
        body::{Body, Record},
        layout::{Cursor, Key, Query},
        stored::{Version, Versioned},
    },
};

/// The right to act in one tenant, perhaps as one principal only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantScope {
    tenant: TenantId,
    only: Option<PrincipalId>,
}

/// A page of entities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed<E> {
    /// What can be read.
    pub records: Vec<Versioned<E>>,
    /// What cannot.
    pub unreadable: Vec<Unreadable>,
    /// `Some`: ask again after this place.
    pub next: Option<Cursor>,
}

/// The right to act on tenants themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentScope(());

impl TenantScope {
    pub(crate) fn granted(tenant: TenantId, only: Option<PrincipalId>) -> Self {
        Self { tenant, only }
    }

    /// The scope of a token's holder: that of the tenant which made the token, found by its secret.
    pub fn of_token(token: &crate::enrollment::EnrollmentToken) -> Self {
        Self { tenant: token.tenant.clone(), only: None }
    }

    /// The scope of a caller whose proof a rule accepts: that of the tenant which made the rule.
    pub fn of_grant(grant: &crate::enrollment::rule::Grant<'_>) -> Self {
        Self { tenant: grant.rule.tenant.clone(), only: None }
    }

    /// The scope of a certificate's holder, found by the certificate's bytes and proven by its key: itself only.
    pub fn of_certificate(certificate: &crate::certificates::Certificate) -> Self {
        Self { tenant: certificate.tenant.clone(), only: Some(certificate.principal.clone()) }
    }

    /// For Signet's own work on a tenant: bootstrap, sweeper, feed, sealing. Not for anything a caller asks for.
    pub fn housekeeping(tenant: TenantId) -> Self {
        Self { tenant, only: None }
    }

    /// The tenant.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The one principal it is limited to, if any.
    pub fn only(&self) -> Option<&PrincipalId> {
        self.only.as_ref()
    }

    /// Whether an entity lies within.
    pub fn admits<E: Record>(&self, entity: &E, principal: Option<&PrincipalId>) -> bool {
        entity.tenant() == &self.tenant && (self.only.is_none() || self.only.as_ref() == principal)
    }

    /// Reads an entity that belongs to the scope's tenant; `None` if there is none or it is another tenant's.
    pub async fn get<E: Record>(
        &self,
        store: &dyn Store,
        key: &Key,
        now: Time,
    ) -> Result<Option<Versioned<E>>, StoreError> {
        let found = get::<E>(store, key, now).await?;
        Ok(found.filter(|found| found.value.tenant() == &self.tenant))
    }

    /// Reads a page of entities of the scope's tenant; other kinds and other tenants' are left out.
    /// `Corrupt` if one cannot be read: for decisions that must know all of them.
    pub async fn list<E: Record>(
        &self,
        store: &dyn Store,
        query: &Query,
        now: Time,
    ) -> Result<(Vec<Versioned<E>>, Option<Cursor>), StoreError> {
        self.page(store, query, now).await?.all_readable()
    }

    /// The same, going on without what cannot be read: for whom a record that is not seen is one that does not count.
    pub async fn page<E: Record>(&self, store: &dyn Store, query: &Query, now: Time) -> Result<Listed<E>, StoreError> {
        let page = store.query(query, now).await?;
        let own = page.records.into_iter().filter(|record| record.value.tenant() == &self.tenant);
        Ok(Listed { records: own.filter_map(typed).collect(), unreadable: page.unreadable, next: page.next })
    }
}

impl EnvironmentScope {
    pub(crate) fn granted() -> Self {
        Self(())
    }

    /// For Signet's own work: bootstrap, loading of trust.
    pub fn housekeeping() -> Self {
        Self(())
    }

    /// The scope of one tenant.
    pub fn tenant(&self, tenant: &TenantId) -> TenantScope {
        TenantScope::granted(tenant.clone(), None)
    }

    /// Reads a page of entities of any tenant; `Corrupt` if one cannot be read.
    pub async fn list<E: Record>(
        &self,
        store: &dyn Store,
        query: &Query,
        now: Time,
    ) -> Result<(Vec<Versioned<E>>, Option<Cursor>), StoreError> {
        self.page(store, query, now).await?.all_readable()
    }

    /// The same, going on without what cannot be read: no tenant's record holds up the others.
    pub async fn page<E: Record>(&self, store: &dyn Store, query: &Query, now: Time) -> Result<Listed<E>, StoreError> {
        let page = store.query(query, now).await?;
        let records = page.records.into_iter().filter_map(typed).collect();
        Ok(Listed { records, unreadable: page.unreadable, next: page.next })
    }

    /// Reads an entity of any tenant.
    pub async fn get<E: Record>(
        &self,
        store: &dyn Store,
        key: &Key,
        now: Time,
    ) -> Result<Option<Versioned<E>>, StoreError> {
        get(store, key, now).await
    }
}

impl<E> Listed<E> {
    fn all_readable(self) -> Result<(Vec<Versioned<E>>, Option<Cursor>), StoreError> {
        match self.unreadable.into_iter().next() {
            None => Ok((self.records, self.next)),
            Some(unreadable) => Err(unreadable.into()),
        }
    }
}

async fn get<E: Record>(store: &dyn Store, key: &Key, now: Time) -> Result<Option<Versioned<E>>, StoreError> {
    let Some(Versioned { value, version }) = store.get(key, now).await? else { return Ok(None) };
    let value = E::try_from(value).map_err(|_| StoreError::Corrupt {
        key: key.to_string(),
        reason: "another kind of entity is kept there".into(),
    })?;
    Ok(Some(Versioned { value, version }))
}

fn typed<E: Record>(record: Versioned<Body>) -> Option<Versioned<E>> {
    let version: Version = record.version;
    E::try_from(record.value).ok().map(|value| Versioned { value, version })
}
