//! What is followed.

use std::sync::Arc;

use signet_core::{
    Lifetime, Uptime,
    trust::{DEFAULT_STALENESS_LIMIT, WhenStale},
};

/// What is followed, and what counts in an outage.
#[derive(Clone)]
pub struct RefusalSettings {
    /// Permissions of the tenant's services, at most 50, of which [`Refusals::granted`] tells.
    pub permissions: Vec<String>,
    /// How long what was said counts while nothing is heard.
    pub staleness_limit: Lifetime,
    /// What happens after that.
    pub when_stale: WhenStale,
    /// The machine's uptime, which measures the silence.
    pub uptime: Arc<dyn Fn() -> Uptime + Send + Sync>,
}

impl RefusalSettings {
    /// With a node's own limit, after which everybody is refused.
    pub fn new(permissions: Vec<String>, uptime: impl Fn() -> Uptime + Send + Sync + 'static) -> Self {
        let (staleness_limit, when_stale) = (DEFAULT_STALENESS_LIMIT, WhenStale::Refuse);
        Self { permissions, staleness_limit, when_stale, uptime: Arc::new(uptime) }
    }
}
