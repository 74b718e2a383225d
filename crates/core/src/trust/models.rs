//! Tenants' authorization models as a node knows them.

use std::{collections::HashMap, sync::Arc};

use crate::{TenantId, Time, authorization::model::AuthorizationModel};

/// A tenant's model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KnownModel {
    /// It is this.
    Read(Arc<AuthorizationModel>),
    /// It has one, which cannot be read: nobody but an admin may do anything.
    Unreadable,
}

/// Those that tenants have; most have none.
#[derive(Debug, Default)]
pub(super) struct Models {
    of: HashMap<TenantId, KnownModel>,
    looked_at: Option<Time>,
}

impl Models {
    pub(super) fn get(&self, tenant: &TenantId) -> Option<&KnownModel> {
        self.of.get(tenant)
    }

    /// How many cannot be read.
    pub(super) fn unreadable_len(&self) -> usize {
        self.of.values().filter(|known| matches!(known, KnownModel::Unreadable)).count()
    }

    /// Returns whether it is new.
    pub(super) fn set(&mut self, tenant: &TenantId, model: Option<KnownModel>) -> bool {
        let before = self.of.get(tenant);
        if before == model.as_ref() {
            return false;
        }
        match model {
            Some(model) => self.of.insert(tenant.clone(), model),
            None => self.of.remove(tenant),
        };
        true
    }

    /// Whether a grant may have ended between the last call and `now`; the first call cannot tell.
    pub(super) fn end_grants(&mut self, now: Time) -> bool {
        let Some(before) = self.looked_at.replace(now) else { return true };
        let models = self.of.values().filter_map(|known| match known {
            KnownModel::Read(model) => Some(model),
            KnownModel::Unreadable => None,
        });
        let mut ends = models.flat_map(|model| &model.rules.grants).filter_map(|grant| grant.not_after);
        ends.any(|end| before < end && end <= now)
    }
}
