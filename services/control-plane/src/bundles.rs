//! Trust bundles out of memory: a tenant's anchors as the feed keeps them, and what to trust the control plane by.

use std::sync::Arc;

use arc_swap::ArcSwap;
use signet_app::{App, authorities};
use signet_core::{
    Error, TenantId, Time,
    tokens::{TokenKeys, TokenUse},
    trust::{Anchor, Trust},
};

/// What verifiers of one tenant need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bundle {
    pub(crate) tenant: TenantId,
    pub(crate) anchors: Arc<[Anchor]>,
    /// Of SVIDs.
    pub(crate) token_keys: Vec<Arc<TokenKeys>>,
    pub(crate) server_trust_der: Arc<Vec<Vec<u8>>>,
    /// The anchors are the shared CA's.
    pub(crate) shared: bool,
}

/// See the module's words.
pub(crate) struct Bundles {
    trust: Arc<Trust>,
    server_trust_der: ArcSwap<Vec<Vec<u8>>>,
}

impl Bundles {
    pub(crate) fn new(trust: Arc<Trust>) -> Self {
        Self { trust, server_trust_der: ArcSwap::from_pointee(Vec::new()) }
    }

    /// Reads again what clients trust; it changes once in a year.
    pub(crate) async fn refresh(&self, app: &App, now: Time) -> Result<(), Error> {
        self.server_trust_der.store(Arc::new(authorities::server_trust(app, now).await?));
        Ok(())
    }

    /// [`authorities::server_trust`]; empty until it was read, or before bootstrap.
    pub(crate) fn server_trust_der(&self) -> Arc<Vec<Vec<u8>>> {
        self.server_trust_der.load_full()
    }

    /// The tenant's bundle; `None`: there is no such tenant.
    pub(crate) fn of(&self, tenant: &TenantId) -> Option<Bundle> {
        let anchors = self.trust.tenant(tenant)?.anchors;
        let shared = self.trust.shares_ca(tenant);
        let svids = [TokenUse::JwtSvid, TokenUse::WitSvid];
        let token_keys = svids.into_iter().filter_map(|of| self.trust.token_keys(tenant, of)).collect();
        Some(Bundle { tenant: tenant.clone(), anchors, token_keys, server_trust_der: self.server_trust_der(), shared })
    }
}
