//! Proof that a caller may touch a tenant's data. Only the authorization step, a redeemed proof or a [`Housekeeper`]
//! makes one, and storage calls take one: a cross-tenant read cannot be written.

use crate::{
    Actor, CaId, PrincipalId, Serial, StoreError, TenantId, Time,
    audit::{SealHead, checkpoint::Checkpoint},
    authorities::{RevocationList, RevocationListPart},
    certificates::{
        Certificate, CertificateState,
        expiry::{BrokenOff, ExpiryWarning},
    },
    enrollment::{EnrollmentToken, UsedProof, rule::EnrollmentRule},
    messages::SeenMessage,
    restore::Restoration,
    store::{
        Store, Unreadable,
        body::{Body, Record},
        layout::{Cursor, Entity, Key, Query},
        request::RequestRecord,
        stored::{Version, Versioned},
    },
    tenants::{Tenant, quota::QuotaCount},
    trust::change::{ChangeEntry, ChangeHead},
};

/// The right to act in one tenant, perhaps as one principal only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantScope {
    tenant: TenantId,
    only: Option<PrincipalId>,
}

/// The right to act on tenants themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentScope(());

/// The right to any tenant's records for work that nobody asked for: sealing, sweeping, warnings, publication. Who
/// starts such work makes one; nothing that serves a caller has one (`tidy: sources::housekeepers_are_appointed_…`).
#[derive(Clone, Copy, Debug)]
pub struct Housekeeper(());

/// What a caller's word that it belongs to a tenant lets be read before it has proven anything: what decides on that.
#[derive(Clone, Debug)]
pub struct ClaimScope(TenantId);

/// What a [`ClaimScope`] reads.
pub trait OnClaim: Record {}

impl OnClaim for Tenant {}
impl OnClaim for EnrollmentRule {}

/// Reads what Signet keeps for itself, of whatever tenant it is: no caller is shown it.
#[derive(Clone, Copy, Debug)]
pub struct Books;

/// What [`Books`] reads.
pub trait Book: Record {}

impl Book for BrokenOff {}
impl Book for ChangeEntry {}
impl Book for ChangeHead {}
impl Book for Checkpoint {}
impl Book for ExpiryWarning {}
impl Book for QuotaCount {}
impl Book for RequestRecord {}
impl Book for Restoration {}
// Published for everybody.
impl Book for RevocationList {}
impl Book for RevocationListPart {}
impl Book for SealHead {}
impl Book for SeenMessage {}
impl Book for UsedProof {}

/// What anybody may know of a certificate (RFC 6960): its state, for whoever names issuer and serial number.
pub async fn certificate_state(
    store: &dyn Store,
    issuer: &CaId,
    serial: &Serial,
    now: Time,
) -> Result<Option<CertificateState>, StoreError> {
    let found = get::<Certificate>(store, &Certificate::key_of(issuer, serial), now).await?;
    Ok(found.map(|found| found.value.state))
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

impl TenantScope {
    pub(crate) fn granted(tenant: TenantId, only: Option<PrincipalId>) -> Self {
        Self { tenant, only }
    }

    /// The scope of a token's holder: that of the tenant which made the token, found by its secret.
    pub fn of_token(token: &EnrollmentToken) -> Self {
        Self { tenant: token.tenant.clone(), only: None }
    }

    /// The scope of the principal that made a token, for the question whether it still may: itself only.
    pub fn of_maker(token: &EnrollmentToken) -> Option<Self> {
        token.made_by().map(|(tenant, maker)| Self { tenant, only: Some(maker) })
    }

    /// The scope of a certificate's holder, found by the certificate's bytes and proven by its key: itself only.
    pub fn of_certificate(certificate: &Certificate) -> Self {
        Self::of_holder(&certificate.tenant, &certificate.principal)
    }

    /// The scope of who has proven the key of a certificate that a CA of `tenant` signed for `principal`: itself only.
    pub fn of_holder(tenant: &TenantId, principal: &PrincipalId) -> Self {
        Self { tenant: tenant.clone(), only: Some(principal.clone()) }
    }

    /// The scope of a caller as itself; `None`: it is a process of ours.
    pub fn of_actor(actor: &Actor) -> Option<Self> {
        match actor {
            Actor::Principal { tenant, principal, .. } => Some(Self::of_holder(tenant, principal)),
            _ => None,
        }
    }

    /// The environment's own: what no caller chooses.
    pub fn system() -> Self {
        Self { tenant: TenantId::system(), only: None }
    }

    /// Whose records this scope reads and writes.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The one principal it is limited to, if any.
    pub fn only(&self) -> Option<&PrincipalId> {
        self.only.as_ref()
    }

    /// Whether an entity lies within.
    fn admits(&self, entity: &(impl Entity + ?Sized)) -> bool {
        let is_own = |principal| self.only.as_ref().is_none_or(|only| only == principal);
        entity.tenant() == &self.tenant && entity.principal().is_none_or(is_own)
    }

    /// Reads an entity that lies within the scope; `None` if there is none or it is another's.
    pub async fn get<E: Record>(
        &self,
        store: &dyn Store,
        key: &Key,
        now: Time,
    ) -> Result<Option<Versioned<E>>, StoreError> {
        let found = get::<E>(store, key, now).await?;
        Ok(found.filter(|found| self.admits(&found.value)))
    }

    /// Reads a page of entities that lie within the scope; other kinds and what is others' is left out.
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
        page(store, query, now, |entity| self.admits(entity)).await
    }
}

impl EnvironmentScope {
    pub(crate) fn granted() -> Self {
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
        page(store, query, now, |_| true).await
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

impl Housekeeper {
    /// For who starts such work.
    pub const fn appoint() -> Self {
        Self(())
    }

    /// Its right to one tenant.
    pub fn tenant(self, tenant: &TenantId) -> TenantScope {
        TenantScope::granted(tenant.clone(), None)
    }

    /// Its right to all of them.
    pub const fn environment(self) -> EnvironmentScope {
        EnvironmentScope(())
    }
}

impl ClaimScope {
    /// That the caller belongs to `tenant`.
    pub fn of(tenant: &TenantId) -> Self {
        Self(tenant.clone())
    }

    /// Reads an entity of that tenant.
    pub async fn get<E: OnClaim>(
        &self,
        store: &dyn Store,
        key: &Key,
        now: Time,
    ) -> Result<Option<Versioned<E>>, StoreError> {
        let found = get::<E>(store, key, now).await?;
        Ok(found.filter(|found| found.value.tenant() == &self.0))
    }

    /// Reads a page of entities of that tenant, going on without what cannot be read.
    pub async fn page<E: OnClaim>(&self, store: &dyn Store, query: &Query, now: Time) -> Result<Listed<E>, StoreError> {
        page(store, query, now, |entity: &E| entity.tenant() == &self.0).await
    }
}

impl Books {
    /// Reads one.
    pub async fn get<E: Book>(
        self,
        store: &dyn Store,
        key: &Key,
        now: Time,
    ) -> Result<Option<Versioned<E>>, StoreError> {
        get(store, key, now).await
    }

    /// Reads a page of them, going on without what cannot be read.
    pub async fn page<E: Book>(self, store: &dyn Store, query: &Query, now: Time) -> Result<Listed<E>, StoreError> {
        page(store, query, now, |_| true).await
    }
}

/// The join token whose secret has this digest, whosever it is: the secret is the right to find it.
pub async fn token_of_secret(
    store: &dyn Store,
    secret_sha256: &str,
    now: Time,
) -> Result<Option<Versioned<EnrollmentToken>>, StoreError> {
    get(store, &EnrollmentToken::key_of(secret_sha256), now).await
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

async fn page<E: Record>(
    store: &dyn Store,
    query: &Query,
    now: Time,
    admits: impl Fn(&E) -> bool,
) -> Result<Listed<E>, StoreError> {
    let page = store.query(query, now).await?;
    let records = page.records.into_iter().filter_map(typed::<E>).filter(|found| admits(&found.value)).collect();
    Ok(Listed { records, unreadable: page.unreadable, next: page.next })
}

fn typed<E: Record>(record: Versioned<Body>) -> Option<Versioned<E>> {
    let version: Version = record.version;
    E::try_from(record.value).ok().map(|value| Versioned { value, version })
}
