//! SPIFFE names (SPIFFE-ID standard, section 2): one trust domain per tenant, one path form.

use std::{fmt, str::FromStr};

use crate::{PrincipalId, PrincipalType, TenantId, id::IdError};

/// The environment's trust-domain suffix, e.g. `prod.example.com`: lower-case DNS labels, at most 190 bytes, so
/// that `<tenant>.<suffix>` stays below the 255 bytes of a trust domain (SPIFFE-ID section 2.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TrustDomainSuffix(Box<str>);

impl TrustDomainSuffix {
    /// The suffix as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The trust domain of `tenant`.
    pub fn trust_domain(&self, tenant: &TenantId) -> String {
        format!("{tenant}.{}", self.0)
    }

    /// The tenant whose trust domain `domain` is, if it is one of this environment.
    pub fn tenant_of(&self, domain: &str) -> Option<TenantId> {
        domain.strip_suffix(&*self.0)?.strip_suffix('.')?.parse().ok()
    }

    /// The tenant, be there one or not, whose trust domain the host name is or is below.
    pub fn tenant_around(&self, host: &str) -> Option<TenantId> {
        host.strip_suffix(&*self.0)?.strip_suffix('.')?.rsplit('.').next()?.parse().ok()
    }
}

impl FromStr for TrustDomainSuffix {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let rule = "must be lower-case DNS labels joined by dots, at most 190 bytes";
        let fits = !text.is_empty() && text.len() <= 190;
        if fits && text.split('.').all(|label| label.parse::<TenantId>().is_ok()) {
            return Ok(Self(text.into()));
        }
        Err(IdError { what: "trust domain suffix", rule })
    }
}

impl fmt::Display for TrustDomainSuffix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A principal's SPIFFE ID: `spiffe://<trust domain>/<type>/<principal id>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SpiffeId {
    /// The tenant, as the trust domain names it.
    pub tenant: TenantId,
    /// First path segment.
    pub principal_type: PrincipalType,
    /// Second path segment.
    pub principal: PrincipalId,
}

impl SpiffeId {
    /// Reads an ID of this environment; `None` for every other URI.
    pub fn parse(uri: &str, suffix: &TrustDomainSuffix) -> Option<Self> {
        let (domain, path) = uri.strip_prefix("spiffe://")?.split_once('/')?;
        let (kind, principal) = path.split_once('/')?;
        Some(Self {
            tenant: suffix.tenant_of(domain)?,
            principal_type: kind.parse().ok()?,
            principal: principal.parse().ok()?,
        })
    }

    /// `spiffe://<trust domain of the tenant>/<type>/<principal id>`.
    pub fn uri(&self, suffix: &TrustDomainSuffix) -> String {
        format!("spiffe://{}/{}/{}", suffix.trust_domain(&self.tenant), self.principal_type, self.principal)
    }
}
