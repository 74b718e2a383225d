//! How much a principal, and all of them together, may ask for (GCRA).

use std::sync::Arc;

use governor::{
    DefaultDirectRateLimiter, DefaultKeyedRateLimiter, NotUntil, Quota, RateLimiter,
    clock::{Clock as _, DefaultClock, QuantaInstant},
};

use crate::config::{LimitsConfig, RateConfig};

/// See the module's words.
pub(crate) struct Limits {
    config: LimitsConfig,
    principal: Option<DefaultKeyedRateLimiter<Arc<str>>>,
    tenant: Option<DefaultDirectRateLimiter>,
}

/// Whose limit is reached, and how long it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reached {
    pub(crate) whose: &'static str,
    pub(crate) seconds: u64,
}

fn quota(rate: RateConfig) -> Quota {
    Quota::per_second(rate.per_second).allow_burst(rate.burst)
}

impl Limits {
    pub(crate) fn new(config: &LimitsConfig) -> Self {
        let principal = config.principal.map(|rate| RateLimiter::keyed(quota(rate)));
        let tenant = config.tenant.map(|rate| RateLimiter::direct(quota(rate)));
        Self { config: config.clone(), principal, tenant }
    }

    /// Whether another configuration makes the same limits, which then go on.
    pub(crate) fn are(&self, config: &LimitsConfig) -> bool {
        self.config == *config
    }

    /// Counts a request of the principal; its own limit first, so that what it refuses takes nothing from the others.
    pub(crate) fn count(&self, spiffe_id: &Arc<str>) -> Result<(), Reached> {
        let seconds = |until: NotUntil<QuantaInstant>| {
            until.wait_time_from(DefaultClock::default().now()).as_secs().saturating_add(1)
        };
        if let Some(Err(until)) = self.principal.as_ref().map(|limiter| limiter.check_key(spiffe_id)) {
            return Err(Reached { whose: "you ask too often", seconds: seconds(until) });
        }
        match self.tenant.as_ref().map(DefaultDirectRateLimiter::check) {
            Some(Err(until)) => Err(Reached { whose: "all ask too often", seconds: seconds(until) }),
            _ => Ok(()),
        }
    }

    /// Forgets who has not asked for a while. Call it on a timer.
    pub(crate) fn forget_idle(&self) {
        if let Some(limiter) = &self.principal {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(burst: u32) -> Option<RateConfig> {
        Some(RateConfig { per_second: 1.try_into().unwrap(), burst: burst.try_into().unwrap() })
    }

    #[test]
    fn each_principal_has_its_own_limit_and_all_have_one() {
        let limits = Limits::new(&LimitsConfig { principal: rate(2), tenant: rate(3) });
        let (ann, bob): (Arc<str>, Arc<str>) = ("ann".into(), "bob".into());
        assert!(limits.count(&ann).is_ok() && limits.count(&ann).is_ok());
        assert_eq!(limits.count(&ann).unwrap_err().whose, "you ask too often");
        assert!(limits.count(&bob).is_ok());
        assert_eq!(limits.count(&bob).unwrap_err().whose, "all ask too often");
    }

    #[test]
    fn one_principal_does_not_use_up_what_all_get_by_default() {
        let limits = Limits::new(&LimitsConfig::default());
        let (ann, bob): (Arc<str>, Arc<str>) = ("ann".into(), "bob".into());
        let refused = (0..10_000).filter(|_| limits.count(&ann).is_err()).count();
        assert!(refused > 5000 && limits.count(&bob).is_ok(), "{refused}");
    }
}
