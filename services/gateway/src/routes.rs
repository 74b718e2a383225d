//! Which request goes where, and what it needs.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use signet_client::{Question, QuestionResource};

use crate::{
    asked::Asked,
    config::{Circumstance, MAX_TEXT, RouteConfig, RouteResource},
    subject::Subject,
    upstream::Upstream,
};

/// In the order of the configuration.
pub(crate) struct Routes(Vec<Arc<Route>>);

/// A route with its upstream.
pub(crate) struct Route {
    pub(crate) config: RouteConfig,
    pub(crate) permission: Arc<str>,
    pub(crate) upstream: Arc<Upstream>,
}

impl Routes {
    /// The configuration was checked: each upstream is there.
    pub(crate) fn new(routes: &[RouteConfig], upstreams: &[Arc<Upstream>]) -> Self {
        let with_upstream = |config: &RouteConfig| {
            let upstream = upstreams.iter().find(|upstream| upstream.config.name == config.upstream)?;
            let (config, upstream) = (config.clone(), Arc::clone(upstream));
            Some(Arc::new(Route { permission: config.permission.as_str().into(), config, upstream }))
        };
        Self(routes.iter().filter_map(with_upstream).collect())
    }

    /// The first that the request meets.
    pub(crate) fn find(&self, asked: &Asked) -> Option<Arc<Route>> {
        self.0.iter().find(|route| route.config.is_met(asked)).cloned()
    }
}

impl RouteConfig {
    fn is_met(&self, asked: &Asked) -> bool {
        self.host.as_ref().is_none_or(|host| *host == asked.host)
            && (self.methods.is_empty() || self.methods.iter().any(|method| method == asked.method.as_str()))
            && self.path.meets(&asked.path)
    }
}

impl Route {
    /// Whether the subject may; `None`: the path has no segment that names the resource.
    pub(crate) fn question(
        &self,
        subject: &Subject,
        (asked, source): (&Asked, IpAddr),
        context: &[Circumstance],
    ) -> Option<Question> {
        let mut question = subject.question(&self.permission);
        if let Some(resource) = &self.config.resource {
            let (kind, id) = match resource {
                RouteResource::Fixed { kind, id } => (kind, id.as_str()),
                RouteResource::Segment { kind, number } => (kind, asked.path.split('/').nth(*number)?),
            };
            if id.is_empty() || id.len() > MAX_TEXT {
                return None;
            }
            let (kind, id) = (kind.clone(), id.to_owned());
            question = question.about(QuestionResource { kind, id, ..QuestionResource::default() });
        }
        let circumstance = |of: &Circumstance| match of {
            Circumstance::Source => ("source".to_owned(), source.to_canonical().to_string()),
            Circumstance::Method => ("method".to_owned(), asked.method.to_string()),
            Circumstance::Host => ("host".to_owned(), asked.host.clone()),
            Circumstance::Path => ("path".to_owned(), asked.path.clone()),
        };
        let context: BTreeMap<String, String> = context.iter().map(circumstance).collect();
        let fits = context.values().all(|text| text.len() <= MAX_TEXT);
        fits.then(|| question.with_context(context))
    }
}
