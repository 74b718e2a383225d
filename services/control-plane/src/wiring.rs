//! Adapters behind ports, as the configuration says. The one place that knows them all.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use secrecy::SecretString;
use signet_app::{App, Call, EnvironmentKeys, RefusalLimits, Settings, authorities, tenants};
use signet_attest::Attestors;
use signet_core::{
    CaId, Entropy, KeyError, KeyLabel, KeyManager, KeyRef, Store, TenantId, TenantScope, Time, authorities::Ca,
    id::IdError, tenants::Tenant,
};
use signet_dynamodb::DynamoStore;
use signet_kms::{KmsKeys, Purpose};
use signet_policy::Prover;
use signet_softkey::{OsEntropy, SoftKeys};
use signet_sqlite::SqliteStore;
use signet_x509::CaProfile;
use thiserror::Error as ThisError;
use zeroize::Zeroizing;

use crate::{
    config::{Aws, Config, Keys, ServerIdentitySource, Storage},
    server_identity::{
        AwsServerIdentity, FileServerIdentity, PublicMaterial, ServerIdentityError, ServerIdentityStore,
    },
};

/// The application and what belongs to it.
#[derive(Clone)]
pub struct Wired {
    /// The operations.
    pub app: Arc<App>,
    /// Where the server's certificate lives.
    pub server_identity: Arc<dyn ServerIdentityStore>,
    /// The key that signs audit seals.
    pub audit_key: KeyRef,
    /// Its public half, a DER SubjectPublicKeyInfo.
    pub audit_key_spki_der: Vec<u8>,
    /// The keys of the environment's CAs; each `None` is made by bootstrap.
    pub environment_keys: EnvironmentKeys,
    /// The operating system's randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Whether the store has no room but for what suspends and revokes.
    pub store_is_full: StoreIsFull,
    /// Whether there is a root's software key: then the environment was made once, and its store has a root.
    pub has_root_key: bool,
}

impl Wired {
    /// Whether the store has a root. An error if it has none although the environment was made before: it is empty, or
    /// another one, and a node on it would refuse everybody and look healthy.
    pub async fn find_root(&self, now: Time) -> Result<bool, WiringError> {
        // A store that is away is no reason not to start.
        let Ok(roots) = authorities::roots(&self.app, now).await else { return Ok(true) };
        if let Some(foreign) = roots.iter().find(|root| !self.is_own(root)) {
            let (root, suffix) = (&foreign.id, self.app.environment().suffix());
            let problem = format!(
                "its {root} belongs to another environment than trust_domain_suffix = {suffix}: point [storage] to the right store, \
                 or correct [environment]"
            );
            return Err(WiringError::Storage { problem });
        }
        if !roots.is_empty() {
            return Ok(true);
        }
        let certified = matches!(self.server_identity.get().await, Ok(Some(_)));
        if !self.has_root_key && !certified {
            return Ok(false);
        }
        let there = if certified { "a server certificate" } else { "the root's key" };
        let problem = format!(
            "the store has no root, but there is {there}: it is empty or not this environment's. Point [storage] to the \
             right one or restore it; if bootstrap was interrupted, run `principal bootstrap` again"
        );
        Err(WiringError::Storage { problem })
    }

    /// An error if a root is published that the store does not know: it is empty or another environment's, and
    /// bootstrap would put a new root in the place of one that others trust or have pinned.
    pub async fn check_published_root(&self, now: Time) -> Result<(), WiringError> {
        let Some(pem) = self.server_identity.get_public(PublicMaterial::Root).await? else { return Ok(()) };
        let published = signet_x509::pem::decode_certificates(&pem).unwrap_or_default();
        let system = TenantScope::system();
        let known = authorities::list_cas(&self.app, &Call::process("check", now), &system).await;
        let known = known.map_err(|error| WiringError::Storage { problem: error.to_string() })?;
        let knows = |der: &Vec<u8>| known.iter().any(|ca| ca.certificate_der == *der || ca.anchor_der == *der);
        if published.iter().any(knows) {
            return Ok(());
        }
        // A log that SQLite leaves beside an empty file would be taken for that of the file which is put back.
        let _ = self.app.store().settle().await;
        let problem = "the root that this environment has published is not in the store: it is empty or another environment's. \
                       Point [storage] to the right one or restore it. To create a new root anyway, which invalidates the published \
                       one, first delete that from the place in [server_identity]";
        Err(WiringError::Storage { problem: problem.into() })
    }

    /// What to tell the operator of tenants whose CA may name the control plane, one line each.
    pub async fn tenants_around_servers(&self, now: Time) -> Result<Vec<String>, signet_core::Error> {
        let found = tenants::around_own_hosts(&self.app, now).await?;
        let told = found.into_iter().map(|(id, host)| {
            let domain = self.app.environment().suffix().trust_domain(&id);
            format!(
                "tenant {id} has the trust domain {domain}, and {host} is a name of the control plane, which the \
                 tenant's CA can pose as: move the tenant to another id, or the control plane to another name"
            )
        });
        Ok(told.collect())
    }

    fn is_own(&self, root: &Ca) -> bool {
        CaProfile::new(self.app.environment(), root.kind, &root.tenant, root.generation)
            .is_named_in(&root.certificate_der)
    }
}

/// Asks a store whether it is full. Does not wait.
pub type StoreIsFull = Arc<dyn Fn() -> bool + Send + Sync>;

impl fmt::Debug for Wired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wired").field("app", &self.app).field("audit_key", &self.audit_key).finish_non_exhaustive()
    }
}

/// What could not be opened, and what to do.
#[derive(Debug, ThisError)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub enum WiringError {
    /// The store.
    #[error("[storage]: {problem}")]
    Storage {
        /// What is wrong and what to do.
        problem: String,
    },
    /// A backup of the store.
    #[error("the backup {} {problem}", file.display())]
    Backup {
        /// As it was named.
        file: PathBuf,
        /// What is wrong and what to do.
        problem: String,
    },
    #[error("[keys]: {problem}")]
    Keys {
        /// What is wrong and what to do.
        problem: String,
    },
    /// The server's certificate.
    #[error("[server_identity]: {0}")]
    ServerIdentity(#[from] ServerIdentityError),
    /// The checks of enrollment proofs.
    #[error("[enrollment]: {problem}")]
    Enrollment {
        /// What is wrong and what to do.
        problem: String,
    },
}

impl From<KeyError> for WiringError {
    fn from(error: KeyError) -> Self {
        Self::Keys { problem: error.to_string() }
    }
}

/// The application, for a process that is no node.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The operations.
    pub app: Arc<App>,
    /// Where the server's certificate lives.
    pub server_identity: Arc<dyn ServerIdentityStore>,
    /// How AWS is reached, if the configuration names anything there.
    pub aws: Option<SdkConfig>,
}

/// Opens store, keys and server identity, and checks that they can be used.
pub async fn open(config: &Config) -> Result<Wired, WiringError> {
    let aws = aws(config).await;
    let (store, store_is_full) = open_store(config, aws.as_ref(), Check::Now).await?;
    if let Keys::Softkey { dir, .. } = &config.keys {
        // Before a mistyped folder is made.
        if !dir.exists() && has_environment(&*store).await? {
            return Err(lacks_audit_key(dir));
        }
    }
    let (keys, environment_keys) = open_keys(config, aws.as_ref())?;
    let audit_key = match &config.keys {
        Keys::Softkey { dir, .. } => software_audit_key(&*keys, &*store, dir).await?,
        Keys::Kms { prefix, .. } => kms_key(prefix, Purpose::Audit)?,
    };
    let has_root_key = match &config.keys {
        Keys::Softkey { .. } => match "soft:root.1".parse() {
            Ok(root) => keys.open(&root).await.is_ok(),
            Err(_) => false,
        },
        // Terraform makes them before there is anything.
        Keys::Kms { .. } => false,
    };
    let audit_key_spki_der = keys.open(&audit_key).await?.spki_der().to_vec();
    let entropy: Arc<dyn Entropy> = Arc::new(OsEntropy);
    let app = application(config, store, keys, Arc::clone(&entropy), None)?;
    let server_identity = open_server_identity(config, aws.as_ref())?;
    Ok(Wired {
        app,
        server_identity,
        audit_key,
        audit_key_spki_der,
        environment_keys,
        entropy,
        store_is_full,
        has_root_key,
    })
}

/// Opens the same for a Lambda: nothing is asked before the first call needs it, and the audit key not at all.
/// `operators_at`: where operators get their certificates, if this one may not sign for them.
pub async fn open_lazily(config: &Config, operators_at: Option<String>) -> Result<Opened, WiringError> {
    let aws = aws(config).await;
    let (store, _) = open_store(config, aws.as_ref(), Check::AtFirstUse).await?;
    let (keys, _) = open_keys(config, aws.as_ref())?;
    let app = application(config, store, keys, Arc::new(OsEntropy), operators_at)?;
    let server_identity = open_server_identity(config, aws.as_ref())?;
    Ok(Opened { app, server_identity, aws })
}

fn application(
    config: &Config,
    store: Arc<dyn Store>,
    keys: Arc<dyn KeyManager>,
    entropy: Arc<dyn Entropy>,
    operators_at: Option<String>,
) -> Result<Arc<App>, WiringError> {
    let settings = Settings {
        operators_at,
        prover: config.authorization.solver.clone().map(Prover::new),
        require_proof: config.authorization.require_proof,
        own_hosts: config.server.dns.iter().chain(&config.enrollment.api_domain).cloned().collect(),
        audit_retention: config.audit.retention,
        seal_delay: config.audit.seal_delay,
        deletion_grace: config.tenants.deletion_grace,
        private_issuers: config.enrollment.private_issuers.clone(),
        refusals: RefusalLimits { recorded: config.limits.audited_refusals_per_minute, ..RefusalLimits::default() },
        ..Settings::default()
    };
    let app = App::new(store, keys, entropy, config.environment.certificates(), settings);
    Ok(Arc::new(app.with_attestor(Arc::new(attestors(config)?))))
}

fn attestors(config: &Config) -> Result<Attestors, WiringError> {
    let wrong = |problem: String| WiringError::Enrollment { problem };
    let mut options = config.enrollment.options();
    let read = |file: &PathBuf| {
        std::fs::read_to_string(file).map_err(|error| wrong(format!("issuer_ca_file {}: {error}", file.display())))
    };
    options.issuer_ca_pem = config.enrollment.issuer_ca_file.as_ref().map(read).transpose()?;
    // An emulator of AWS has its own STS.
    options.sts_endpoint = options.sts_endpoint.or_else(|| config.aws.endpoint_url.clone());
    if options.aws_regions.is_empty() {
        options.aws_regions.extend(own_region(config));
    }
    Attestors::new(options).map_err(|error| wrong(error.to_string()))
}

/// The region that this node is in: configured, or as ECS and Lambda tell (`AWS_REGION`). `None` outside of AWS.
fn own_region(config: &Config) -> Option<String> {
    config.aws.region.clone().or_else(|| std::env::var("AWS_REGION").ok()).filter(|region| !region.is_empty())
}

/// When the store must answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Check {
    Now,
    AtFirstUse,
}

fn needs_aws(config: &Config) -> bool {
    matches!(config.storage, Storage::Dynamodb { .. })
        || matches!(config.keys, Keys::Kms { .. })
        || matches!(config.server_identity, ServerIdentitySource::Aws { .. })
}

/// The AWS configuration, if the configuration names anything there: credentials as the usual chain finds them.
async fn aws(config: &Config) -> Option<SdkConfig> {
    if needs_aws(config) { Some(sdk_config(&config.aws).await) } else { None }
}

pub(crate) async fn sdk_config(aws: &Aws) -> SdkConfig {
    let mut loader = aws_config::defaults(BehaviorVersion::latest());
    if let Some(region) = &aws.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(url) = &aws.endpoint_url {
        loader = loader.endpoint_url(url);
    }
    loader.load().await
}

async fn open_store(
    config: &Config,
    aws: Option<&SdkConfig>,
    check: Check,
) -> Result<(Arc<dyn Store>, StoreIsFull), WiringError> {
    match (&config.storage, aws) {
        (Storage::Sqlite { path }, _) => {
            let store = SqliteStore::open(path).map_err(|error| WiringError::Storage { problem: error.to_string() })?;
            let store = Arc::new(store);
            let asked = Arc::clone(&store);
            Ok((store, Arc::new(move || asked.is_full())))
        }
        (Storage::Dynamodb { prefix }, Some(aws)) => {
            let store = DynamoStore::new(aws, prefix, signet_dynamodb::Limits::default());
            if check == Check::Now {
                store.check().await.map_err(|error| WiringError::Storage { problem: error.to_string() })?;
            }
            Ok((Arc::new(store), Arc::new(|| false)))
        }
        (Storage::Dynamodb { .. }, None) => Err(WiringError::Storage { problem: "needs AWS".into() }),
    }
}

fn open_keys(config: &Config, aws: Option<&SdkConfig>) -> Result<(Arc<dyn KeyManager>, EnvironmentKeys), WiringError> {
    match (&config.keys, aws) {
        (Keys::Softkey { dir, passphrase_file }, _) => {
            let passphrase = read(passphrase_file, "passphrase_file")?;
            let passphrase = SecretString::from(passphrase.trim_end_matches(['\r', '\n']));
            let none = EnvironmentKeys { root: None, system: None, shared: None, server: None };
            Ok((Arc::new(SoftKeys::open(dir, passphrase)?), none))
        }
        (Keys::Kms { prefix, .. }, Some(aws)) => {
            let made_by_terraform = EnvironmentKeys {
                root: Some(kms_key(prefix, Purpose::Root)?),
                system: Some(kms_key(prefix, Purpose::System)?),
                shared: Some(kms_key(prefix, Purpose::Shared)?),
                server: Some(kms_key(prefix, Purpose::Server)?),
            };
            Ok((Arc::new(kms_keys_at(&config.keys, aws)?), made_by_terraform))
        }
        (Keys::Kms { .. }, None) => Err(WiringError::Keys { problem: "needs AWS".into() }),
    }
}

/// The configured keys in KMS, for who makes them. Asks nobody anything.
pub async fn kms_keys(config: &Config) -> Result<KmsKeys, WiringError> {
    kms_keys_at(&config.keys, &sdk_config(&config.aws).await)
}

fn kms_keys_at(keys: &Keys, aws: &SdkConfig) -> Result<KmsKeys, WiringError> {
    let Keys::Kms { prefix, tenant_key_policy, tenant_key_policy_file, maker } = keys else {
        return Err(WiringError::Keys { problem: "are not in KMS: set kind = \"kms\"".into() });
    };
    let kms = KmsKeys::new(aws, prefix);
    Ok(match (maker, tenant_key_policy, tenant_key_policy_file) {
        (Some(maker), ..) => kms.made_by(aws, maker),
        (None, Some(policy), _) => kms.tenant_key_policy(policy),
        (None, None, Some(file)) => kms.tenant_key_policy(read(file, "tenant_key_policy_file")?.as_str()),
        (None, None, None) => kms,
    })
}

/// The text of the file that the key `name` names.
fn read(file: &Path, name: &str) -> Result<Zeroizing<String>, WiringError> {
    let text = std::fs::read_to_string(file).map(Zeroizing::new);
    text.map_err(|error| WiringError::Keys { problem: format!("{name} {}: {error}", file.display()) })
}

fn open_server_identity(config: &Config, aws: Option<&SdkConfig>) -> Result<Arc<dyn ServerIdentityStore>, WiringError> {
    match (&config.server_identity, aws) {
        (ServerIdentitySource::Files { dir }, _) => Ok(Arc::new(FileServerIdentity::open(dir)?)),
        (ServerIdentitySource::Aws { prefix }, Some(aws)) => Ok(Arc::new(AwsServerIdentity::new(aws, prefix))),
        (ServerIdentitySource::Aws { prefix }, None) => {
            Err(ServerIdentityError::Unavailable { place: prefix.clone(), problem: "needs AWS".into() }.into())
        }
    }
}

/// A key that Terraform made.
fn kms_key(prefix: &str, purpose: Purpose) -> Result<KeyRef, WiringError> {
    purpose.key(prefix).map_err(|error| WiringError::Keys { problem: error.to_string() })
}

/// The key that signs audit seals; made where there is no environment yet. One that was made for an environment that
/// has another would sign what nobody can verify.
async fn software_audit_key(keys: &dyn KeyManager, store: &dyn Store, dir: &Path) -> Result<KeyRef, WiringError> {
    let label = audit_label()?;
    let problem = |problem: String| WiringError::Keys { problem };
    let key: KeyRef = format!("soft:{}", label.ca).parse().map_err(|error: IdError| problem(error.to_string()))?;
    match keys.open(&key).await {
        Ok(_) => return Ok(key),
        Err(KeyError::NotFound(_)) => {}
        Err(error) => return Err(error.into()),
    }
    if has_environment(store).await? { Err(lacks_audit_key(dir)) } else { Ok(keys.create(&label).await?) }
}

async fn has_environment(store: &dyn Store) -> Result<bool, WiringError> {
    // What never expires is there at any time.
    let system = store.get(&Tenant::key_of(&TenantId::system()), Time::from_unix_millis(0)).await;
    Ok(system.map_err(|error| WiringError::Storage { problem: error.to_string() })?.is_some())
}

fn lacks_audit_key(dir: &Path) -> WiringError {
    let problem = format!(
        "{} has no audit key, but the store has an environment: point [keys] to that environment's folder, or \
         restore it (runbook RestoreStore)",
        dir.display()
    );
    WiringError::Keys { problem }
}

/// Not a CA, but named as one: the software key that signs audit seals.
fn audit_label() -> Result<KeyLabel, WiringError> {
    let ca = CaId::new("audit", 1).map_err(|error| WiringError::Keys { problem: error.to_string() })?;
    Ok(KeyLabel { tenant: TenantId::system(), ca })
}
