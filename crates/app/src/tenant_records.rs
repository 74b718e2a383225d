//! Tenants and their CAs as they are on record: one in one read, or all in a few.

use std::{collections::BTreeMap, sync::Arc};

use signet_core::{
    Error, Store, StoreError, TenantId, Time,
    authorities::Ca,
    authorization::model::AuthorizationModel,
    store::{Body, Query, Segment, Table, Unreadable},
    tenants::Tenant,
    tokens::TokenKeys,
    trust::{KnownModel, TenantTokenKeys},
};

/// In how many parts the table of tenants is read at once, by a node that starts.
pub(crate) const SEGMENTS: u32 = 4;

/// A tenant as its records say.
#[derive(Debug, Default)]
pub(crate) struct TenantRecords {
    /// Its own record; `None`: it has none, or one that cannot be read.
    pub(crate) tenant: Option<Box<Tenant>>,
    /// Its own record cannot be read.
    pub(crate) is_unreadable: bool,
    /// Those of its CAs that can be read: what another one signed is not trusted.
    pub(crate) cas: Vec<Ca>,
    /// Others cannot.
    pub(crate) lacks_cas: bool,
    /// Its authorization model, if it has one.
    pub(crate) model: Option<KnownModel>,
    /// Its keys for tokens that can be read: tokens of others are not taken.
    pub(crate) token_keys: TenantTokenKeys,
    /// Others cannot.
    pub(crate) lacks_token_keys: bool,
}

/// A tenant and its CAs, strongly consistent, in one read.
pub(crate) async fn read_tenant(store: &dyn Store, id: &TenantId, now: Time) -> Result<TenantRecords, Error> {
    let mut part = Part { query: Query::table(Table::Tenants, id.as_str()).limit(1000), ..Part::new(0) };
    part.read_on(store, now).await?;
    Ok(part.found.remove(id).unwrap_or_default())
}

/// A part of the table of tenants, and how far it was read.
#[derive(Debug)]
pub(crate) struct Part {
    /// Goes on after what was found.
    query: Query,
    pub(crate) is_whole: bool,
    pub(crate) found: BTreeMap<TenantId, TenantRecords>,
}

impl Part {
    /// The table as a whole is in [`SEGMENTS`] of them, since one request for each tenant takes long where there are
    /// thousands.
    pub(crate) fn new(number: u32) -> Self {
        let query = Query::segment(Table::Tenants, Segment { number, of: SEGMENTS });
        Self { query, is_whole: false, found: BTreeMap::new() }
    }

    /// Reads to the end.
    pub(crate) async fn read_on(&mut self, store: &dyn Store, now: Time) -> Result<(), StoreError> {
        while !self.is_whole {
            let page = store.query(&self.query, now).await?;
            for record in page.records {
                match record.value {
                    Body::Tenant(tenant) => {
                        let id = tenant.id.clone();
                        self.found.entry(id).or_default().tenant = Some(Box::new(tenant));
                    }
                    Body::Ca(ca) => self.found.entry(ca.tenant.clone()).or_default().cas.push(ca),
                    Body::AuthorizationModel(model) => {
                        let found = self.found.entry(model.tenant.clone()).or_default();
                        found.model = Some(KnownModel::Read(Arc::new(model)));
                    }
                    Body::TokenKeys(keys) => {
                        let found = self.found.entry(keys.tenant.clone()).or_default();
                        found.token_keys.insert(keys.for_use, Arc::new(keys));
                    }
                    _ => {}
                }
            }
            for Unreadable { key, .. } in page.unreadable {
                if let Some(id) = Tenant::id_in(&key) {
                    self.found.entry(id).or_default().is_unreadable = true;
                } else if let Some(id) = Ca::tenant_in(&key) {
                    self.found.entry(id).or_default().lacks_cas = true;
                } else if let Some(id) = AuthorizationModel::tenant_in(&key) {
                    self.found.entry(id).or_default().model = Some(KnownModel::Unreadable);
                } else if let Some(id) = TokenKeys::tenant_in(&key) {
                    self.found.entry(id).or_default().lacks_token_keys = true;
                }
            }
            self.is_whole = page.next.is_none();
            self.query.after = page.next;
        }
        Ok(())
    }

    /// What was found, once and when all of it is there: a tenant's records may be on two pages.
    pub(crate) fn take_whole(&mut self) -> Option<BTreeMap<TenantId, TenantRecords>> {
        self.is_whole.then(|| std::mem::take(&mut self.found))
    }
}
