//! What all connections share, and what a reload replaces.

use std::sync::Arc;

use arc_swap::ArcSwap;
use signet_client::Authorizer;
use signet_core::{Clock, Entropy, Time, spiffe::TrustDomainSuffix};

use crate::{
    audit::Audit,
    config::{Circumstance, Config, TokenConfig},
    keys::Keys,
    limits::Limits,
    metrics::Metrics,
    routes::Routes,
    tokens::Verifier,
    upstream::Upstream,
};

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) authorizer: Authorizer,
    /// The gateway's own SPIFFE id.
    pub(crate) own_id: Arc<str>,
    pub(crate) suffix: TrustDomainSuffix,
    pub(crate) keys: Keys,
    pub(crate) verifier: Verifier,
    pub(crate) clock: Clock,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) audit: Audit,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) live: ArcSwap<Live>,
}

/// What a reload replaces; requests under way go on with the one that they began with.
pub(crate) struct Live {
    pub(crate) routes: Routes,
    pub(crate) upstreams: Vec<Arc<Upstream>>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) removed_headers: Arc<[String]>,
    pub(crate) context: Vec<Circumstance>,
    pub(crate) token: Option<TokenConfig>,
}

impl Live {
    /// As the configuration says; upstreams and limits that did not change go on.
    pub(crate) fn new(config: &Config, before: Option<&Self>) -> Self {
        let known = |name: &str| before?.upstreams.iter().find(|one| one.config.name == name);
        let upstreams: Vec<Arc<Upstream>> = config
            .upstreams
            .iter()
            .map(|wanted| match known(&wanted.name).filter(|one| one.config == *wanted) {
                Some(same) => Arc::clone(same),
                None => Arc::new(Upstream::new(wanted.clone())),
            })
            .collect();
        let limits = before.map(|before| &before.limits).filter(|limits| limits.are(&config.limits));
        Self {
            routes: Routes::new(&config.routes, &upstreams),
            upstreams,
            limits: limits.map_or_else(|| Arc::new(Limits::new(&config.limits)), Arc::clone),
            removed_headers: config.removed_headers.as_slice().into(),
            context: config.context.clone(),
            token: config.token.clone(),
        }
    }
}

impl Shared {
    pub(crate) fn now(&self) -> Time {
        (self.clock)()
    }

    /// `iss` and `aud` of access tokens.
    pub(crate) fn names<'a>(&'a self, token: &'a TokenConfig) -> (&'a str, &'a str) {
        (&self.own_id, token.audience.as_deref().unwrap_or(&self.own_id))
    }

    /// The claims of a good token.
    pub(crate) fn verify(
        &self,
        token: &TokenConfig,
        text: &str,
        source: &crate::tokens::TokenSource,
    ) -> Result<Arc<crate::tokens::AccessClaims>, crate::tokens::TokenRefusal> {
        self.verifier.verify(&self.keys, self.names(token), text, (self.now(), source))
    }
}
