//! Trust bundles out of memory: a tenant's anchors as the feed keeps them, and the environment's roots.

use std::sync::Arc;

use arc_swap::ArcSwap;
use signet_app::{App, authorities};
use signet_core::{
    Error, TenantId, Time,
    authorities::Ca,
    trust::{Anchor, Trust},
};

/// What verifiers of one tenant need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bundle {
    pub(crate) tenant: TenantId,
    pub(crate) anchors: Arc<[Anchor]>,
    pub(crate) roots: Arc<Vec<Ca>>,
}

/// See the module's words.
pub(crate) struct Bundles {
    trust: Arc<Trust>,
    roots: ArcSwap<Vec<Ca>>,
}

impl Bundles {
    pub(crate) fn new(trust: Arc<Trust>) -> Self {
        Self { trust, roots: ArcSwap::from_pointee(Vec::new()) }
    }

    /// Reads the roots again; they change once in years.
    pub(crate) async fn refresh(&self, app: &App, now: Time) -> Result<(), Error> {
        self.roots.store(Arc::new(authorities::roots(app, now).await?));
        Ok(())
    }

    pub(crate) fn roots(&self) -> Arc<Vec<Ca>> {
        self.roots.load_full()
    }

    /// The tenant's bundle; `None`: there is no such tenant.
    pub(crate) fn of(&self, tenant: &TenantId) -> Option<Bundle> {
        let anchors = self.trust.tenant(tenant)?.anchors;
        Some(Bundle { tenant: tenant.clone(), anchors, roots: self.roots() })
    }
}
