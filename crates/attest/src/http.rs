//! Asking others: one request, no redirect, no second try, a limit on time and size.

mod guard;

use std::{error::Error, sync::Arc, time::Duration};

use reqwest::{Certificate, Client, ClientBuilder, RequestBuilder, StatusCode, redirect, retry};
use url::{Host, Url};

/// An answer in full.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Vec<u8>,
}

/// A client, or why there is none: a machine without CA certificates can still redeem join tokens.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    client: Result<Client, String>,
    public_only: bool,
}

impl Http {
    /// For hosts that are known to be what they should be.
    pub(crate) fn new(timeout: Duration, roots: &[Certificate]) -> Self {
        Self::build(builder(timeout, roots), false)
    }

    /// For hosts that tenants' admins name: HTTPS and public addresses only.
    pub(crate) fn public_only(timeout: Duration, roots: &[Certificate]) -> Self {
        Self::build(builder(timeout, roots).https_only(true).dns_resolver(Arc::new(guard::PublicOnly)), true)
    }

    fn build(builder: ClientBuilder, public_only: bool) -> Self {
        let client = builder.build().map_err(|error| told(&error));
        if let Err(cause) = &client {
            tracing::warn!(%cause, "proofs that need STS or an OIDC issuer cannot be checked; are CA certificates installed?");
        }
        Self { client, public_only }
    }

    /// A GET of `url` with what `with` adds, read up to `limit` bytes. An error is text for logs, without the URL, which may
    /// be a secret.
    pub(crate) async fn get(
        &self,
        url: Url,
        with: impl FnOnce(RequestBuilder) -> RequestBuilder,
        limit: usize,
    ) -> Result<Answer, String> {
        // An address in the URL is not resolved, so the resolver's guard does not see it.
        let private = match url.host() {
            Some(Host::Ipv4(ip)) => !guard::is_public(ip.into()),
            Some(Host::Ipv6(ip)) => !guard::is_public(ip.into()),
            _ => false,
        };
        if self.public_only && private {
            return Err("its address is not public".into());
        }
        let client = self.client.as_ref().map_err(Clone::clone)?;
        let mut response = with(client.get(url)).send().await.map_err(|error| told(&error.without_url()))?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| told(&error.without_url()))? {
            body.extend_from_slice(&chunk);
            if body.len() > limit {
                return Err(format!("its answer is larger than {limit} bytes"));
            }
        }
        Ok(Answer { status: response.status(), body })
    }
}

fn builder(timeout: Duration, roots: &[Certificate]) -> ClientBuilder {
    Client::builder()
        .user_agent("signet")
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .timeout(timeout)
        .tls_certs_merge(roots.iter().cloned())
}

/// The error with its causes, which reqwest keeps apart.
fn told(error: &(dyn Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |&error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
