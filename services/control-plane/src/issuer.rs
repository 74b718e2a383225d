//! Who makes a tenant's tokens, as these say, and how long they are good.

use signet_core::{
    Error, Lifetime, TenantId, Time,
    tokens::{self, TokenUse},
};

use crate::Config;

/// See the module's words.
#[derive(Clone, Debug)]
pub(crate) struct TokenIssuer {
    /// Where tenants' issuers begin, e.g. `https://id.example.com`; `None`: nobody has said.
    base: Option<String>,
    /// Where the control plane is, with its scheme; `None`: nobody has said.
    endpoint: Option<String>,
    lifetime: Lifetime,
}

impl TokenIssuer {
    pub(crate) fn configured(config: &Config) -> Self {
        let endpoint = config.probe.as_ref().map(|probe| &*probe.endpoint);
        Self::new(config.tokens.issuer.as_deref(), endpoint, config.tokens.lifetime)
    }

    /// Where tenants' issuers begin.
    pub(crate) fn base(&self) -> Option<&str> {
        self.base.as_deref()
    }

    /// `base`: what the environment sets; `endpoint`: `host:port` of the control plane, which stands in for it.
    fn new(base: Option<&str>, endpoint: Option<&str>, lifetime: Lifetime) -> Self {
        let at = |endpoint: &str| format!("https://{}", endpoint.strip_suffix(":443").unwrap_or(endpoint));
        let endpoint = endpoint.map(at);
        let base = base.map(|base| base.trim_end_matches('/').to_owned()).or_else(|| endpoint.clone());
        Self { base, endpoint, lifetime }
    }

    /// Of access tokens. Nothing else of a tenant's is called so.
    pub(crate) fn of(&self, tenant: &TenantId) -> Result<String, Error> {
        let message = "the environment has no address for tokens to name: set tokens.issuer or probe.endpoint";
        let base = self.base.as_ref().ok_or_else(|| Error::precondition("NO_TOKEN_ISSUER", message))?;
        Ok(format!("{base}/t/{tenant}"))
    }

    /// Where clients with a certificate find `path`.
    pub(crate) fn endpoint(&self, path: &str) -> Result<String, Error> {
        let message = "nobody has said where clients connect: set probe.endpoint";
        let at = self.endpoint.as_ref().or(self.base.as_ref());
        Ok(format!("{}{path}", at.ok_or_else(|| Error::precondition("NO_TOKEN_ISSUER", message))?))
    }

    /// Of JWT-SVIDs and WIT-SVIDs, which have keys of their own.
    pub(crate) fn of_svids(&self, tenant: &TenantId) -> Result<String, Error> {
        Ok(format!("{}/svid", self.of(tenant)?))
    }

    /// Of broker tokens, which have keys of their own.
    pub(crate) fn of_broker_tokens(&self, tenant: &TenantId) -> Result<String, Error> {
        Ok(format!("{}/broker", self.of(tenant)?))
    }

    /// The end of a token that a certificate's holder asks for; `seconds`: 0 if it does not say.
    pub(crate) fn expiry(&self, for_use: TokenUse, seconds: u32, not_after: Time, now: Time) -> Result<Time, Error> {
        let allowed = tokens::SHORTEST_LIFETIME.as_seconds()..=for_use.longest_lifetime().as_seconds();
        let wanted = match seconds {
            0 if for_use == TokenUse::BrokerToken => tokens::DEFAULT_BROKER_LIFETIME,
            0 => self.lifetime,
            seconds if allowed.contains(&seconds) => Lifetime::seconds(seconds),
            _ => {
                let message = format!("must be {} to {} seconds, or 0", allowed.start(), allowed.end());
                return Err(Error::invalid("lifetime_seconds", "OUT_OF_RANGE", message));
            }
        };
        tokens::expiry(for_use, wanted, not_after, now)
            .ok_or(Error::Unauthenticated(signet_core::trust::Refusal::Expired))
    }
}
