//! Asking others: one request, no redirect, no second try, a limit on time and size.

mod guard;

use std::{
    error::Error,
    sync::{Arc, OnceLock},
    time::Duration,
};

use reqwest::{Certificate, Client, RequestBuilder, StatusCode, redirect, retry};
use url::{Host, Url};

/// An answer in full.
pub(crate) struct HttpResponse {
    pub(crate) status: StatusCode,
    pub(crate) body: Vec<u8>,
}

/// A client that is made when it is first needed: a node whose tenants use join tokens only needs no CA certificates,
/// and a Lambda starts sooner.
#[derive(Debug)]
pub(crate) struct Http {
    timeout: Duration,
    roots: Vec<Certificate>,
    public_only: bool,
    client: OnceLock<Result<Client, String>>,
}

impl Http {
    /// For hosts that are known to be what they should be.
    pub(crate) fn new(timeout: Duration, roots: &[Certificate]) -> Self {
        Self { timeout, roots: roots.to_vec(), public_only: false, client: OnceLock::new() }
    }

    /// For hosts that tenants' admins name: HTTPS and public addresses only.
    pub(crate) fn public_only(timeout: Duration, roots: &[Certificate]) -> Self {
        Self { public_only: true, ..Self::new(timeout, roots) }
    }

    fn client(&self) -> Result<&Client, String> {
        self.client.get_or_init(|| self.build()).as_ref().map_err(Clone::clone)
    }

    fn build(&self) -> Result<Client, String> {
        let builder = Client::builder()
            .user_agent("signet")
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .timeout(self.timeout)
            .tls_certs_merge(self.roots.iter().cloned());
        let builder = match self.public_only {
            // A proxy would resolve the name itself, unguarded.
            true => builder.https_only(true).no_proxy().dns_resolver(Arc::new(guard::PublicOnly)),
            false => builder,
        };
        builder
            .build()
            .map_err(|error| format!("cannot create a TLS client; are CA certificates installed? {}", told(&error)))
    }

    /// A GET of `url` with what `with` adds, read up to `limit` bytes. An error is text for logs, without the URL,
    /// which may be a secret.
    pub(crate) async fn get(
        &self,
        url: Url,
        with: impl FnOnce(RequestBuilder) -> RequestBuilder,
        limit: usize,
    ) -> Result<HttpResponse, String> {
        // An address in the URL is not resolved, so the resolver's guard does not see it.
        let private = match url.host() {
            Some(Host::Ipv4(ip)) => !guard::is_public(ip.into()),
            Some(Host::Ipv6(ip)) => !guard::is_public(ip.into()),
            _ => false,
        };
        if self.public_only && private {
            return Err("its address is not public".into());
        }
        let mut response = with(self.client()?.get(url)).send().await.map_err(|error| told(&error.without_url()))?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| told(&error.without_url()))? {
            body.extend_from_slice(&chunk);
            if body.len() > limit {
                return Err(format!("its answer is larger than {limit} bytes"));
            }
        }
        Ok(HttpResponse { status: response.status(), body })
    }
}

/// The error with its causes, which reqwest keeps apart.
fn told(error: &(dyn Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |&error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
