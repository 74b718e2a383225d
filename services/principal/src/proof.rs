//! What may speak for a caller on the command line.

use std::{env, fs, path::PathBuf, sync::Arc};

use aws_config::{BehaviorVersion, Region};
use clap::{Args, ValueHint};
use secrecy::SecretString;
use signet_client::{AwsIam, Binding, JoinToken, OidcToken, ProofSource, X509, environment_of, system_clock};
use zeroize::{Zeroize as _, Zeroizing};

use crate::{failure::Failure, run::Run, values};

/// The environment variable that may hold a join token.
const TOKEN_VARIABLE: &str = "SIGNET_TOKEN";

/// What speaks for the caller: a join token unless another is named.
#[derive(Debug, Args)]
#[command(
    next_help_heading = "Proof",
    group = clap::ArgGroup::new("proof").args(["token_file", "aws_iam", "oidc_token_file", "github_actions", "x509_cert"])
)]
pub(crate) struct ProofArgs {
    /// File with the join token; - for standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    token_file: Option<PathBuf>,
    /// This machine's AWS credentials: a role on EC2, ECS, EKS or Lambda, or a profile
    #[arg(long, requires = "tenant")]
    aws_iam: bool,
    /// Region of the STS endpoint; default: from the environment or the profile
    #[arg(long, value_name = "REGION", requires = "aws_iam")]
    aws_region: Option<String>,
    /// File with a JWT of an OIDC issuer, e.g. a projected service account token of Kubernetes
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "tenant")]
    oidc_token_file: Option<PathBuf>,
    /// The identity of this GitHub Actions job; it needs `permissions: id-token: write`
    #[arg(long, requires_all = ["tenant", "oidc_audience"])]
    github_actions: bool,
    /// Audience to request from GitHub, as in the rule
    #[arg(long, value_name = "TEXT", requires = "github_actions")]
    oidc_audience: Option<String>,
    /// File with a certificate of a registered CA, PEM, followed by intermediates
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires_all = ["tenant", "x509_key"])]
    x509_cert: Option<PathBuf>,
    /// File with its key, PEM
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "x509_cert")]
    x509_key: Option<PathBuf>,
}

impl ProofArgs {
    /// What makes the proof. `trusted`, what verifies the server, says which environment it is for.
    pub(crate) async fn source(&self, run: &Run, trusted: &[Vec<u8>]) -> Result<Arc<dyn ProofSource>, Failure> {
        if self.aws_iam {
            return self.aws(binding(run, trusted)?).await;
        }
        if let (Some(certificate), Some(key)) = (&self.x509_cert, &self.x509_key) {
            let read = |path: &PathBuf| fs::read_to_string(path).map_err(|error| Failure::file(path, &error));
            let (certificate, key) = (read(certificate)?, read(key).map(Zeroizing::new)?);
            let proof = X509::from_pem(&certificate, &key, binding(run, trusted)?, system_clock());
            return Ok(Arc::new(proof.map_err(signet_client::ClientError::from)?));
        }
        if let Some(file) = &self.oidc_token_file {
            return Ok(Arc::new(OidcToken::File(file.clone())));
        }
        if let (true, Some(audience)) = (self.github_actions, self.oidc_audience.clone()) {
            return Ok(Arc::new(OidcToken::GitHubActions { audience }));
        }
        Ok(Arc::new(JoinToken(self.join_token()?)))
    }

    async fn aws(&self, binding: Binding) -> Result<Arc<dyn ProofSource>, Failure> {
        let mut loader = aws_config::defaults(BehaviorVersion::latest());
        if let Some(region) = &self.aws_region {
            loader = loader.region(Region::new(region.clone()));
        }
        let config = loader.load().await;
        let region = config.region().map(ToString::to_string);
        let region =
            region.ok_or_else(|| Failure::usage("no AWS region").hint("give --aws-region, e.g. eu-central-1"))?;
        let credentials = config.credentials_provider().ok_or_else(|| Failure::usage("no AWS credentials"))?;
        Ok(Arc::new(AwsIam::new(credentials, region, binding, system_clock())))
    }

    fn join_token(&self) -> Result<SecretString, Failure> {
        let mut bytes = match (&self.token_file, env::var(TOKEN_VARIABLE)) {
            (Some(path), _) => values::read_input(path)?,
            (None, Ok(text)) if !text.trim().is_empty() => text.into_bytes(),
            (None, _) => {
                let hint = format!("give --token-file FILE, --token-file - or {TOKEN_VARIABLE}, or another proof");
                return Err(Failure::usage("no join token").hint(hint));
            }
        };
        let text = std::str::from_utf8(&bytes).map(|text| text.trim_start_matches('\u{feff}').trim());
        let token = match text {
            Ok("") => Err("it is empty"),
            Ok(text) if is_join_token(text) => Ok(SecretString::from(text)),
            Ok(_) => Err("it must be only `sgt_` and 43 letters, digits, - or _: no quotes, no name, no second line"),
            Err(_) => Err("it is not text in UTF-8"),
        };
        bytes.zeroize();
        let place = self.token_file.as_ref().map_or(TOKEN_VARIABLE.into(), |path| path.display().to_string());
        token.map_err(|why| Failure::usage(format!("{place} has no valid join token: {why}")))
    }
}

/// The shape of what `token create` gives: known before anything is sent.
fn is_join_token(text: &str) -> bool {
    let secret = text.strip_prefix("sgt_").unwrap_or_default();
    secret.len() == 43 && secret.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// What a proof must name besides the key.
fn binding(run: &Run, trusted: &[Vec<u8>]) -> Result<Binding, Failure> {
    let foreign = || Failure::usage("the server anchor has no trust domain; is it one of Signet?");
    let server_id = trusted.first().and_then(|der| environment_of(der)).ok_or_else(foreign)?;
    // clap demands it.
    let tenant = run.global.tenant.clone().ok_or_else(|| Failure::usage("no tenant").hint("give --tenant"))?;
    Ok(Binding { server_id, tenant })
}
