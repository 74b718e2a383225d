//! What clones share with the follower.

use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use signet_core::TenantId;

use super::{known::Known, settings::RefusalSettings};

/// See the module's words.
pub(super) struct Inner {
    pub(super) settings: RefusalSettings,
    pub(super) known: ArcSwap<Known>,
    epoch: AtomicU64,
}

impl Inner {
    pub(super) fn new(tenant: TenantId, settings: RefusalSettings) -> Self {
        let known = ArcSwap::from_pointee(Known::nothing(tenant, &settings));
        Self { settings, known, epoch: AtomicU64::new(1) }
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Something changed that may turn a yes into a no.
    pub(super) fn changed(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }
}
