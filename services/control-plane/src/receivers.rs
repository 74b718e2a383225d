//! Receivers of security events that have nothing to hear, as far as this node has looked: to be told so again costs no
//! read.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use signet_core::{Lifetime, PrincipalId, TenantId, Time, trust::Trust};

/// Most that are remembered. When there are more, all are forgotten: they are looked up again.
const MOST: usize = 16_384;
/// How long nobody looks into the store: the record of a receiver says how far it has read, and is kept by being
/// written.
const LONGEST: Lifetime = Lifetime::hours(1);

/// See the module's words. Each with what of the trust was seen, and when.
#[derive(Debug, Default)]
pub(crate) struct IdleReceivers(Mutex<HashMap<(TenantId, PrincipalId), (u64, Time)>>);

impl IdleReceivers {
    /// There was nothing for the receiver in what was `seen` ([`Trust::has_security_events`]).
    pub(crate) fn note(&self, tenant: &TenantId, receiver: &PrincipalId, seen: u64, now: Time) {
        let mut all = self.lock();
        if all.len() >= MOST {
            all.clear();
        }
        all.insert((tenant.clone(), receiver.clone()), (seen, now));
    }

    /// `Some`: there is nothing for it, in what was seen.
    pub(crate) fn get(&self, trust: &Trust, tenant: &TenantId, receiver: &PrincipalId, now: Time) -> Option<u64> {
        let (seen, at) = *self.lock().get(&(tenant.clone(), receiver.clone()))?;
        let is_recent = at <= now && now < at.plus(LONGEST);
        (is_recent && !trust.has_security_events(seen, tenant)).then_some(seen)
    }

    /// A poisoned lock means that another thread panicked between two complete assignments; the map is whole.
    fn lock(&self) -> MutexGuard<'_, HashMap<(TenantId, PrincipalId), (u64, Time)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
