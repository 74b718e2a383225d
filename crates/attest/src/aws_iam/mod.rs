//! A presigned STS `GetCallerIdentity`: the caller signs a request that only STS can check, and we send it.
//!
//! What is sent is made anew from what was checked, so that nothing unseen reaches the network.

mod answer;
mod identity;
pub(crate) mod region;
mod request;

use std::{collections::BTreeMap, time::Duration};

use signet_core::enrollment::{
    attestation::{AttestationError, Challenge, Facts},
    rule::Source,
};
use url::Url;

use self::request::Presigned;
use crate::{http::Http, options::Checked, refused, shares::Shares};

/// An answer takes half a kilobyte.
const MAX_ANSWER_BYTES: usize = 16 * 1024;

#[derive(Debug)]
pub(crate) struct AwsIam {
    http: Http,
    endpoint: Option<Url>,
    regions: Vec<String>,
    turns: Shares,
    timeout: Duration,
}

impl AwsIam {
    pub(crate) fn new(options: &Checked) -> Self {
        Self {
            // A VPC endpoint gives STS a private address; the host is ours to choose, so that is fine.
            http: Http::new(options.timeout, &[]),
            endpoint: options.sts_endpoint.clone(),
            regions: options.aws_regions.clone(),
            turns: Shares::new(options.aws_regions.len()),
            timeout: options.timeout,
        }
    }

    pub(crate) async fn attest(
        &self,
        url: &str,
        headers: &BTreeMap<String, String>,
        challenge: &Challenge<'_>,
    ) -> Result<Facts, AttestationError> {
        if !challenge.sources.contains(&Source::AwsIam) {
            return Err(refused("AWS_NOT_TRUSTED", "no rule of the tenant accepts AWS"));
        }
        let request = request::check(url, headers, challenge, &self.regions)?;
        let answer = self.send(&request, challenge).await?;
        let identity = answer::read(&answer)?;
        identity.facts(request.partition).ok_or_else(|| unavailable("its answer names no identity of its partition"))
    }

    async fn send(
        &self,
        request: &Presigned,
        challenge: &Challenge<'_>,
    ) -> Result<crate::http::HttpResponse, AttestationError> {
        let host = request.url.host_str().unwrap_or_default();
        let _turn = self.turns.take(host, challenge).ok_or(AttestationError::Busy { what: "STS" })?;
        let mut url = self.endpoint.clone().unwrap_or_else(|| request.url.clone());
        url.set_query(request.url.query());
        let exchange = self.http.get(url, |builder| builder.headers(request.headers.clone()), MAX_ANSWER_BYTES);
        let answer = tokio::time::timeout(self.timeout, exchange).await;
        answer.map_err(|_| unavailable("no answer in time"))?.map_err(unavailable)
    }
}

fn unavailable(cause: impl Into<String>) -> AttestationError {
    AttestationError::Unavailable { what: "STS", cause: cause.into() }
}
