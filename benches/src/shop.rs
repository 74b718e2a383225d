//! A bootstrapped environment as the embedded default has it: SQLite and encrypted key files, the application on top.

use std::{fmt, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};
use secrecy::SecretString;
use signet_app::{
    App, Bootstrap, Call, CreatePrincipal, CreateTenant, EnvironmentKeys, IssuedLeaf, ServerNames, Settings, bootstrap,
    certificates::issuance, principals, tenants,
};
use signet_core::{
    KeyError, KeyLabel, KeyManager, KeyRef, Lifetime, PrincipalId, PrincipalType, Signer, Store, TenantId, TenantScope,
    store::scope::Housekeeper, tenants::Isolation,
};
use signet_softkey::{OsEntropy, SoftKeys};
use signet_sqlite::SqliteStore;
use signet_x509::{Environment, KeyAndCsr, KeyPair};
use tempfile::TempDir;

use crate::{Result, clock::now};

/// Writers that meet in one commit of the store.
const AT_ONCE: usize = 64;
const TENANT: &str = "acme";

pub(crate) struct Shop {
    pub(crate) app: Arc<App>,
    pub(crate) scope: TenantScope,
    pub(crate) server_key: KeyPair,
    pub(crate) server_chain_der: Vec<Vec<u8>>,
    /// Its own, of which it is the guard.
    folder: Option<TempDir>,
}

impl Shop {
    /// In a folder of its own below `state`; each signature takes `latency` longer.
    pub(crate) async fn open(state: &Path, latency: Duration) -> Result<Self> {
        let folder = TempDir::new_in(state)?;
        let shop = Self::over(sqlite(folder.path())?, folder.path(), latency).await?;
        Ok(Self { folder: Some(folder), ..shop })
    }

    /// With its keys in `folder`.
    pub(crate) async fn over(store: Arc<dyn Store>, folder: &Path, latency: Duration) -> Result<Self> {
        let app = Arc::new(Self::app_over(store, folder, latency)?);
        let server = KeyAndCsr::generate()?;
        let bootstrap = Bootstrap {
            keys: EnvironmentKeys { root: None, system: None, shared: None, server: None },
            server: ServerNames { dns: vec!["localhost".into()], ip: Vec::new() },
            server_csr_der: server.csr_der,
            admin: "admin".parse()?,
            admin_csr_der: KeyAndCsr::generate()?.csr_der,
        };
        let report = bootstrap::bootstrap(&app, &Call::process("bootstrap", now()), &bootstrap).await?;
        let tenant = new_tenant(TENANT)?;
        let scope = Housekeeper::appoint().tenant(&tenant.id);
        tenants::create_tenant(&app, &call("CreateTenant", None)?, &Housekeeper::appoint().environment(), tenant)
            .await?;
        Ok(Self { app, scope, server_key: server.key, server_chain_der: report.server_chain_der, folder: None })
    }

    /// Another node on the same store.
    pub(crate) fn another_node(&self) -> Result<App> {
        let folder = self.folder.as_ref().ok_or("the shop is not its folder's guard")?.path();
        Self::app_over(sqlite(folder)?, folder, Duration::ZERO)
    }

    /// An application over `store`, with its keys in `folder`.
    pub(crate) fn app_over(store: Arc<dyn Store>, folder: &Path, latency: Duration) -> Result<App> {
        let keys: Arc<dyn KeyManager> =
            Arc::new(SoftKeys::open(&folder.join("keys"), SecretString::from("a passphrase"))?);
        let keys = if latency.is_zero() { keys } else { Arc::new(SlowKeys { keys, latency }) };
        let environment = Environment::with_default_arc("bench.example.com".parse()?)?;
        Ok(App::new(store, keys, Arc::new(OsEntropy), environment, Settings::default()))
    }

    /// Makes workers `<prefix>-<number>`, each with a request for its certificate.
    pub(crate) async fn workers(&self, prefix: &str, count: usize) -> Result<Vec<Worker>> {
        let make = |number: usize| async move {
            let input = new_worker(&format!("{prefix}-{number}"))?;
            let id = input.id.clone();
            principals::create_principal(&self.app, &call("CreatePrincipal", None)?, &self.scope, input).await?;
            let KeyAndCsr { key, csr_der } = KeyAndCsr::generate()?;
            Ok(Worker { id, key, csr_der })
        };
        stream::iter(0..count).map(make).buffered(AT_ONCE).try_collect().await
    }

    /// One certificate, as a call with a request id asks for it.
    pub(crate) async fn issue(&self, worker: &Worker) -> Result<IssuedLeaf> {
        let call = call("IssueCertificate", Some(worker.id.as_str()))?;
        Ok(issuance::issue_certificate(&self.app, &call, &self.scope, &worker.id, &worker.csr_der).await?)
    }
}

/// A worker that waits for its certificate.
pub(crate) struct Worker {
    pub(crate) id: PrincipalId,
    pub(crate) key: KeyPair,
    pub(crate) csr_der: Vec<u8>,
}

/// A call of this program.
pub(crate) fn call(operation: &'static str, request_id: Option<&str>) -> Result<Call> {
    let request_id = request_id.map(str::parse).transpose()?;
    Ok(Call { operation, request_id, ..Call::process("bench", now()) })
}

fn sqlite(folder: &Path) -> Result<Arc<dyn Store>> {
    Ok(Arc::new(SqliteStore::open(&folder.join("store"))?))
}

/// A tenant with a CA of its own.
pub(crate) fn new_tenant(id: &str) -> Result<CreateTenant> {
    Ok(CreateTenant {
        id: id.parse()?,
        display_name: String::new(),
        isolation: Isolation::Dedicated,
        lifetimes: Default::default(),
        subjects: Default::default(),
        max_certificates: 0,
        renewal_grace: Lifetime::seconds(0),
        quotas: Default::default(),
        failure_limit: None,
    })
}

/// A worker without roles.
pub(crate) fn new_worker(id: &str) -> Result<CreatePrincipal> {
    Ok(CreatePrincipal {
        id: id.parse()?,
        principal_type: PrincipalType::Worker,
        display_name: String::new(),
        roles: Vec::new(),
        groups: Vec::new(),
    })
}

/// Keys that are as far away as KMS.
struct SlowKeys {
    keys: Arc<dyn KeyManager>,
    latency: Duration,
}

struct SlowSigner {
    signer: Arc<dyn Signer>,
    latency: Duration,
}

impl fmt::Debug for SlowKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SlowKeys")
    }
}

impl fmt::Debug for SlowSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SlowSigner")
    }
}

#[async_trait]
impl KeyManager for SlowKeys {
    async fn create(&self, label: &KeyLabel) -> std::result::Result<KeyRef, KeyError> {
        self.keys.create(label).await
    }
    async fn end(&self, key: &KeyRef, tenant: &TenantId) -> std::result::Result<(), KeyError> {
        self.keys.end(key, tenant).await
    }

    async fn open(&self, key: &KeyRef) -> std::result::Result<Arc<dyn Signer>, KeyError> {
        let signer = self.keys.open(key).await?;
        Ok(Arc::new(SlowSigner { signer, latency: self.latency }))
    }
}

#[async_trait]
impl Signer for SlowSigner {
    fn spki_der(&self) -> &[u8] {
        self.signer.spki_der()
    }
    async fn sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, KeyError> {
        tokio::time::sleep(self.latency).await;
        self.signer.sign(message).await
    }
}
