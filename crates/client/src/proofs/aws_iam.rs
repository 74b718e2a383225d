//! A presigned STS `GetCallerIdentity`: Signet sends it, and learns from AWS who signed it.

use std::{
    fmt,
    time::{Duration, UNIX_EPOCH},
};

use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, SharedCredentialsProvider},
};
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign},
    sign::v4,
};
use futures::future::BoxFuture;
use http::Request;
use signet_core::Time;
use signet_proto::v1::{AwsIamProof, enroll_request::Proof};
use signet_x509::KeyPair;

use super::{Binding, ProofError, key_sha256};
use crate::{enrollment::ProofSource, error::ClientError};
use signet_core::Clock;

/// How long the request is good for. It is sent within seconds.
const EXPIRES: Duration = Duration::from_secs(60);

/// Proves who we are to AWS. The credentials sign here and are not sent.
pub struct AwsIam {
    credentials: SharedCredentialsProvider,
    region: String,
    binding: Binding,
    clock: Clock,
}

impl AwsIam {
    /// With these credentials (a [`Credentials`] or a whole provider chain), for STS of `region`, e.g. `eu-central-1`.
    pub fn new(
        credentials: impl ProvideCredentials + 'static,
        region: impl Into<String>,
        binding: Binding,
        clock: Clock,
    ) -> Self {
        Self { credentials: SharedCredentialsProvider::new(credentials), region: region.into(), binding, clock }
    }

    fn presign(&self, credentials: Credentials, key: &KeyPair, now: Time) -> Result<AwsIamProof, String> {
        let bound = [
            ("x-signet-key-sha256", key_sha256(key)),
            ("x-signet-server-id", self.binding.server_id.clone()),
            ("x-signet-tenant", self.binding.tenant.to_string()),
        ];
        let url = format!("https://{}/?Action=GetCallerIdentity&Version=2011-06-15", self.host());
        let mut request = Request::get(&url).body(()).map_err(|_| format!("{} is not a region", self.region))?;
        let headers = bound.iter().map(|(name, value)| (*name, value.as_str()));
        let signable = SignableRequest::new("GET", &url, headers, SignableBody::Bytes(&[]));
        let identity = credentials.into();
        let mut settings = SigningSettings::default();
        settings.signature_location = SignatureLocation::QueryParams;
        settings.expires_in = Some(EXPIRES);
        let since = Duration::from_millis(now.unix_millis().try_into().unwrap_or_default());
        let parameters = v4::SigningParams::builder().identity(&identity).region(&self.region).name("sts");
        let parameters = parameters.time(UNIX_EPOCH + since).settings(settings).build();
        let parameters = parameters.map_err(|error| error.to_string())?.into();
        let signed = sign(signable.map_err(|error| error.to_string())?, &parameters);
        let (instructions, _) = signed.map_err(|error| error.to_string())?.into_parts();
        instructions.apply_to_request_http1x(&mut request);
        let headers = bound.map(|(name, value)| (name.to_owned(), value)).into();
        Ok(AwsIamProof { url: request.uri().to_string(), headers })
    }

    /// The region's own STS: only its host says which region was signed for.
    fn host(&self) -> String {
        let suffix = match self.region.split('-').next() {
            Some("cn") => "amazonaws.com.cn",
            Some("eusc") => "amazonaws.eu",
            _ => "amazonaws.com",
        };
        format!("sts.{}.{suffix}", self.region)
    }
}

impl ProofSource for AwsIam {
    fn proof<'a>(&'a self, key: &'a KeyPair) -> BoxFuture<'a, Result<Proof, ClientError>> {
        Box::pin(async move {
            let failed = |problem, transient| ProofError { proof: "AWS IAM", problem, transient };
            let credentials = self.credentials.provide_credentials().await;
            let credentials = credentials.map_err(|error| failed(told(&error), true))?;
            let proof = self.presign(credentials, key, (self.clock)()).map_err(|problem| failed(problem, false))?;
            Ok(Proof::AwsIam(proof))
        })
    }

    fn repeats(&self) -> bool {
        true
    }
}

/// The chain of providers says what was wrong only in its error's sources.
fn told(error: &(dyn std::error::Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |&error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

impl fmt::Debug for AwsIam {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsIam").field("region", &self.region).field("binding", &self.binding).finish_non_exhaustive()
    }
}
