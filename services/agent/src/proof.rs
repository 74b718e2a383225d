//! What speaks for an identity that has no certificate yet.

use std::{fs, path::Path, sync::Arc};

use aws_config::{BehaviorVersion, Region};
use signet_client::{
    AwsIam, Binding, ClientError, CredentialsError, Enrollment, JoinToken, OidcToken, ProofError, ProofSource,
    Settings, X509, environment_of,
};
use zeroize::Zeroizing;

use crate::config::{EnrollConfig, ProofConfig};

/// As the configuration says; files are read now, or each time where their owner replaces them.
pub(crate) async fn enrollment(config: &EnrollConfig, settings: &Settings) -> Result<Enrollment, ClientError> {
    let proof: Arc<dyn ProofSource> = match &config.proof {
        ProofConfig::JoinToken(path) => Arc::new(JoinToken::read(path)?),
        ProofConfig::Oidc(path) => Arc::new(OidcToken::File(path.clone())),
        ProofConfig::AwsIam { region } => {
            let binding = binding(config, settings)?;
            let loaded = aws_config::defaults(BehaviorVersion::latest()).region(Region::new(region.clone())).load();
            let credentials = loaded
                .await
                .credentials_provider()
                .ok_or_else(|| none("AWS", "this machine has no AWS credentials: give it a role"))?;
            Arc::new(AwsIam::new(credentials, region.clone(), binding, Arc::clone(&settings.clock)))
        }
        ProofConfig::X509 { cert_file, key_file } => {
            let (chain, key) = (read(cert_file)?, read(key_file)?);
            Arc::new(X509::from_pem(&chain, &key, binding(config, settings)?, Arc::clone(&settings.clock))?)
        }
    };
    Ok(Enrollment { proof, tenant_id: config.tenant.clone(), principal_id: config.principal.clone() })
}

fn binding(config: &EnrollConfig, settings: &Settings) -> Result<Binding, ClientError> {
    let server_id = settings.roots_der.first().and_then(|root| environment_of(root));
    let tenant = config.tenant.as_ref().and_then(|tenant| tenant.parse().ok());
    let (Some(server_id), Some(tenant)) = (server_id, tenant) else {
        return Err(none("bound", "the root names no environment, or the tenant is missing"));
    };
    Ok(Binding { server_id, tenant })
}

fn none(proof: &'static str, problem: &str) -> ClientError {
    ProofError { proof, problem: problem.into(), transient: false }.into()
}

fn read(path: &Path) -> Result<Zeroizing<String>, CredentialsError> {
    let failed = |error: std::io::Error| CredentialsError::File {
        action: "read",
        path: path.display().to_string(),
        reason: error.to_string(),
    };
    fs::read_to_string(path).map(Zeroizing::new).map_err(failed)
}
