//! What the operator decides.

use std::time::Duration;

use thiserror::Error;
use url::Url;

use crate::aws_iam::region;

/// See the fields.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where STS is instead of at AWS, e.g. `http://127.0.0.1:4566`. For emulators only: whoever answers there is
    /// believed. The evidence must name a real STS host all the same.
    pub sts_endpoint: Option<String>,
    /// Regions whose STS is asked; empty: all that were known when this was written. A caller chooses among them, so
    /// the fewer the better: one that does not answer costs half of the turns.
    pub aws_regions: Vec<String>,
    /// Issuers that may have a private address, or be reached over `http://`, exactly as tokens name them. Rules are
    /// made by tenants' admins; without this list they cannot make the control plane call into its own network. Only
    /// these are reached through a proxy that the environment names (`HTTPS_PROXY`).
    pub private_issuers: Vec<String>,
    /// Further CAs (PEM) that issuers' TLS certificates may come from, beside the system's.
    pub issuer_ca_pem: Option<String>,
    /// For one proof, all calls together.
    pub timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sts_endpoint: None,
            aws_regions: Vec::new(),
            private_issuers: Vec::new(),
            issuer_ca_pem: None,
            timeout: Duration::from_secs(4),
        }
    }
}

/// What is wrong with the options. `Display` names the key below `[enrollment]` and says what to write there.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{key}: {problem}")]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct OptionsError {
    pub key: &'static str,
    /// What to write there instead.
    pub problem: String,
}

/// Options that can be used.
pub(crate) struct Checked {
    pub(crate) sts_endpoint: Option<Url>,
    pub(crate) aws_regions: Vec<String>,
    pub(crate) private_issuers: Vec<String>,
    pub(crate) issuer_roots: Vec<reqwest::Certificate>,
    pub(crate) timeout: Duration,
}

impl Options {
    /// Whether they can be used.
    pub fn validate(&self) -> Result<(), OptionsError> {
        self.clone().check().map(drop)
    }

    pub(crate) fn check(self) -> Result<Checked, OptionsError> {
        let bad = |key, problem: &str| OptionsError { key, problem: problem.to_owned() };
        let sts_endpoint = match &self.sts_endpoint {
            None => None,
            Some(text) => {
                let url = base(text).filter(|url| url.path() == "/");
                Some(url.ok_or_else(|| bad("sts_endpoint", "must be http://HOST:PORT of an emulator"))?)
            }
        };
        if self.aws_regions.iter().any(|name| region::partition(name).is_none()) {
            return Err(bad("aws_regions", "must be names of regions, e.g. eu-central-1"));
        }
        if self.private_issuers.iter().any(|issuer| base(issuer).is_none()) {
            return Err(bad(
                "private_issuers",
                "must be URLs as tokens have them in `iss`, e.g. http://127.0.0.1:5556",
            ));
        }
        let roots = self.issuer_ca_pem.as_ref().map(|pem| reqwest::Certificate::from_pem_bundle(pem.as_bytes()));
        let issuer_roots =
            roots.unwrap_or(Ok(Vec::new())).map_err(|_| bad("issuer_ca_file", "must hold certificates in PEM"))?;
        if self.issuer_ca_pem.is_some() && issuer_roots.is_empty() {
            return Err(bad("issuer_ca_file", "holds no certificate in PEM"));
        }
        let Self { aws_regions, private_issuers, timeout, .. } = self;
        Ok(Checked { sts_endpoint, aws_regions, private_issuers, issuer_roots, timeout })
    }
}

/// A URL with a host and nothing after its path.
pub(crate) fn base(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let plain =
        url.query().is_none() && url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
    (matches!(url.scheme(), "http" | "https") && url.host().is_some() && plain).then_some(url)
}
