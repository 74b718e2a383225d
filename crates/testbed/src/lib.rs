//! A whole environment in a test's own process: SQLite, key files, one node, a first admin. For tests of what uses a
//! control plane.
#![expect(clippy::unwrap_used, clippy::missing_panics_doc, reason = "tests fail by panicking")]

use std::{fs, path::PathBuf};

use secrecy::SecretString;
use signet_app::{Bootstrap, BootstrapReport, Call, ServerNames, bootstrap as booted};
use signet_client::{Connector, Credentials, Enrollment, Identity, IdentitySettings};
use signet_control_plane::{
    Config, PublicMaterial, Running, ServerCredentials,
    cli::system_clock,
    serve,
    wiring::{self, Wired},
};
use signet_proto::v1::{
    self as pb, enrollment_service_client::EnrollmentServiceClient, tenant_service_client::TenantServiceClient,
};
use signet_x509::{KeyAndCsr, KeyPair, bundle::to_pem};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

/// The passphrase of the key files.
pub const PASSPHRASE: &str = "correct horse battery staple";

/// A node's configuration, in whose folder everything is.
pub const CONFIG: &str = r#"
environment = { name = "test", trust_domain_suffix = "test.example.com" }
storage = { kind = "sqlite", path = "signet.db" }
keys = { kind = "softkey", dir = "keys", passphrase_file = "passphrase" }
server_identity = { kind = "files", dir = "server" }
listen = { grpc = "127.0.0.1:0", public = "127.0.0.1:0", health = "127.0.0.1:0", metrics = "127.0.0.1:0" }
"#;

/// An environment with one node, which ends with it.
#[derive(Debug)]
pub struct Environment {
    /// Where all of it is.
    pub dir: TempDir,
    /// The node.
    pub node: Running,
    /// The environment's first admin.
    pub admin: Credentials,
    /// What to trust the node by, DER.
    pub roots: Vec<Vec<u8>>,
    stop: CancellationToken,
}

impl Environment {
    /// With more lines of configuration.
    pub async fn start(more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("passphrase"), PASSPHRASE).unwrap();
        let config = Config::from_toml(&format!("{CONFIG}{more}\n"), dir.path()).unwrap();
        let wired = wiring::open(&config).await.unwrap();
        let (report, key) = bootstrap(&wired).await;
        let roots = report.admin.root_der;
        fs::write(dir.path().join("root.pem"), to_pem(roots.iter().map(Vec::as_slice))).unwrap();
        let stop = CancellationToken::new();
        let node = serve(config, wired, stop.clone(), system_clock()).await.unwrap();
        let admin = Credentials::new(report.admin.chain_der, roots.clone(), key).unwrap();
        Self { dir, node, admin, roots, stop }
    }

    /// A file of it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Where the node serves.
    pub fn endpoint(&self) -> String {
        format!("https://localhost:{}", self.node.grpc_addr.port())
    }

    /// Ends the node, and what it serves: an outage.
    pub fn stop_node(&self) {
        self.stop.cancel();
    }

    /// To the node, as the environment's admin.
    pub fn admin(&self) -> Channel {
        Connector::new(&self.endpoint(), &self.roots, Some(&self.admin)).unwrap().channel()
    }

    /// A tenant with a CA of its own.
    pub async fn tenant(&self, id: &str) {
        let isolation = pb::Isolation::Dedicated.into();
        let tenant = pb::Tenant { tenant_id: id.into(), isolation, ..Default::default() };
        let request = pb::CreateTenantRequest { tenant: Some(tenant), request_id: signet_client::request_id() };
        TenantServiceClient::new(self.admin()).create_tenant(request).await.unwrap();
    }

    /// A join token for a principal, good for one use.
    pub async fn token(&self, tenant: &str, kind: pb::PrincipalType, id: &str) -> SecretString {
        let request = pb::CreateTokenRequest {
            tenant_id: tenant.into(),
            principal_type: kind.into(),
            principal_id: id.into(),
            request_id: signet_client::request_id(),
            ..Default::default()
        };
        let made = EnrollmentServiceClient::new(self.admin()).create_token(request).await.unwrap();
        SecretString::from(made.into_inner().secret)
    }

    /// A principal with its first certificate.
    pub async fn enrolled(&self, tenant: &str, kind: pb::PrincipalType, id: &str) -> Identity {
        let enrollment = Enrollment::join_token(self.token(tenant, kind, id).await);
        Identity::enroll(IdentitySettings::new(self.endpoint(), self.roots.clone()), &enrollment).await.unwrap()
    }
}

impl Drop for Environment {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Makes an environment, its server's certificate and its first admin, whose key is returned.
pub async fn bootstrap(wired: &Wired) -> (BootstrapReport, KeyPair) {
    let (server, admin) = (KeyAndCsr::generate().unwrap(), KeyAndCsr::generate().unwrap());
    let input = Bootstrap {
        keys: wired.environment_keys.clone(),
        server: ServerNames { dns: vec!["localhost".into()], ip: vec!["127.0.0.1".parse().unwrap()] },
        server_csr_der: server.csr_der,
        admin: "root-admin".parse().unwrap(),
        admin_csr_der: admin.csr_der,
    };
    let report = booted::bootstrap(&wired.app, &Call::process("bootstrap", system_clock()()), &input).await.unwrap();
    let credentials = ServerCredentials {
        chain_pem: to_pem(report.server_chain_der.iter().map(Vec::as_slice)),
        key_pem: SecretString::from(server.key.to_pkcs8_pem().as_str()),
    };
    wired.server_identity.put(&credentials).await.unwrap();
    let root = to_pem(report.admin.root_der.iter().map(Vec::as_slice));
    wired.server_identity.put_public(PublicMaterial::Root, &root).await.unwrap();
    (report, admin.key)
}
