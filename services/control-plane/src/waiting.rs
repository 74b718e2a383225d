//! How many entries of each tenant wait in a queue that all tenants share.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use signet_core::TenantId;

/// See the module's words.
#[derive(Debug)]
pub(crate) struct Waiting {
    most: usize,
    of: Mutex<HashMap<TenantId, usize>>,
}

impl Waiting {
    /// `most`: of one tenant at once.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, of: Mutex::default() }
    }

    /// Whether the tenant may have one more, which counts until [`Self::leave`].
    pub(crate) fn enter(&self, tenant: &TenantId) -> bool {
        let mut waiting = self.lock();
        let of_tenant = waiting.entry(tenant.clone()).or_insert(0);
        if *of_tenant >= self.most {
            return false;
        }
        *of_tenant = of_tenant.saturating_add(1);
        true
    }

    pub(crate) fn leave(&self, tenant: &TenantId) {
        let mut waiting = self.lock();
        match waiting.get_mut(tenant) {
            Some(of_tenant) if *of_tenant > 1 => *of_tenant -= 1,
            _ => drop(waiting.remove(tenant)),
        }
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// A poisoned lock means that another thread panicked between two operations on the map; it is whole.
    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, usize>> {
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
