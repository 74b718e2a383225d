//! What speaks for an identity that has no certificate, or one that is good for nothing any more.

use std::{fs, os::unix::fs::MetadataExt, path::Path, sync::Arc, time::Duration};

use aws_config::{BehaviorVersion, Region};
use signet_client::{
    Anew, AwsIam, Binding, ClientError, CredentialsError, Enrollment, IdentitySettings, JoinToken, OidcToken,
    ProofError, ProofSource, X509, environment_of,
};
use signet_core::{PrincipalId, TenantId};
use tokio::time::sleep;
use zeroize::Zeroizing;

use crate::config::{EnrollConfig, ProofConfig};

/// How soon a replaced file is seen.
const LOOK: Duration = Duration::from_secs(1);

/// As the configuration says, read anew each time.
pub(crate) fn enrollment(config: &EnrollConfig, control_plane: &IdentitySettings) -> Enrollment {
    let (this, control_plane) = (config.clone(), control_plane.clone());
    let proof = Anew(move || {
        let (config, control_plane) = (this.clone(), control_plane.clone());
        async move { source(&config, &control_plane).await }
    });
    let (tenant_id, principal_id) =
        (config.tenant.as_ref().map(TenantId::to_string), config.principal.as_ref().map(PrincipalId::to_string));
    Enrollment { proof: Arc::new(proof), tenant_id, principal_id }
}

async fn source(config: &EnrollConfig, control_plane: &IdentitySettings) -> Result<Arc<dyn ProofSource>, ClientError> {
    let clock = || Arc::clone(&control_plane.clock);
    Ok(match &config.proof {
        ProofConfig::JoinToken(path) => Arc::new(JoinToken::read(path)?),
        ProofConfig::Oidc(path) => Arc::new(OidcToken::File(path.clone())),
        ProofConfig::AwsIam { region } => {
            let loaded = aws_config::defaults(BehaviorVersion::latest()).region(Region::new(region.clone())).load();
            let credentials = loaded
                .await
                .credentials_provider()
                .ok_or_else(|| none("AWS", "this machine has no AWS credentials: assign it a role"))?;
            Arc::new(AwsIam::new(credentials, region.clone(), binding(config, control_plane)?, clock()))
        }
        ProofConfig::X509 { cert_file, key_file } => {
            let (chain, key) = (read(cert_file)?, read(key_file)?);
            Arc::new(X509::from_pem(&chain, &key, binding(config, control_plane)?, clock())?)
        }
    })
}

fn binding(config: &EnrollConfig, control_plane: &IdentitySettings) -> Result<Binding, ClientError> {
    let server_id = control_plane.roots_der.first().and_then(|root| environment_of(root));
    let (Some(server_id), Some(tenant)) = (server_id, config.tenant.clone()) else {
        return Err(none("bound", "the root has no trust domain, or the tenant is missing"));
    };
    Ok(Binding { server_id, tenant })
}

/// A proof's files as they were seen last: device, inode, time and size of each, of what links lead to.
#[derive(PartialEq, Eq)]
pub(crate) struct Seen(Vec<Option<[i128; 5]>>);

impl Seen {
    pub(crate) fn now(proof: &ProofConfig) -> Self {
        let of = |meta: fs::Metadata| {
            let (time, nanos) = (meta.mtime(), meta.mtime_nsec());
            [meta.dev().into(), meta.ino().into(), time.into(), nanos.into(), meta.size().into()]
        };
        Self(proof.files().into_iter().map(|path| fs::metadata(path).ok().map(of)).collect())
    }

    /// Ends when one of them is another.
    pub(crate) async fn change(&self, proof: &ProofConfig) {
        while *self == Self::now(proof) {
            sleep(LOOK).await;
        }
    }
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
