//! A control plane in this process, a tenant, and agents of it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Arc,
    time::{Duration, Instant},
};

use prost_types::FieldMask;
use signet_agent::{
    Agent, Config,
    report::{IdentityReport, Report},
};
use signet_client::{Connector, Credentials, Enrollment, Identity, IdentitySettings, JoinToken};
use signet_control_plane::{Config as NodeConfig, Running, cli::system_clock, serve, wiring};
use signet_proto::v1::{
    self as pb, authorization_service_client::AuthorizationServiceClient,
    certificate_service_client::CertificateServiceClient, enrollment_service_client::EnrollmentServiceClient,
    tenant_service_client::TenantServiceClient, token_service_client::TokenServiceClient,
    trust_service_client::TrustServiceClient,
};
use signet_x509::bundle::to_pem;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const NODE: &str = r#"
environment = { name = "test", trust_domain_suffix = "test.example.com" }
storage = { kind = "sqlite", path = "signet.db" }
keys = { kind = "softkey", dir = "keys", passphrase_file = "passphrase" }
server_identity = { kind = "files", dir = "server" }
listen = { grpc = "127.0.0.1:0", public = "127.0.0.1:0", metrics = "127.0.0.1:0" }
"#;

pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) node: Running,
    stop: CancellationToken,
    admin: Credentials,
    roots: Vec<Vec<u8>>,
}

impl World {
    /// An environment with one node and the tenant `acme`.
    pub(crate) async fn new() -> Self {
        Self::with("").await
    }

    /// The same, with more lines in the node's configuration.
    pub(crate) async fn with(more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("passphrase"), "correct horse battery staple").unwrap();
        let config = NodeConfig::from_toml(&format!("{NODE}{more}\n"), dir.path()).unwrap();
        let wired = wiring::open(&config).await.unwrap();
        let (report, key) = signet_testbed::bootstrap(&wired).await;
        let roots = report.admin.root_der;
        let admin = Credentials::new(report.admin.chain_der, roots.clone(), key).unwrap();
        fs::write(dir.path().join("root.pem"), to_pem(roots.iter().map(Vec::as_slice))).unwrap();
        let stop = CancellationToken::new();
        let node = serve(config, wired, stop.clone(), system_clock()).await.unwrap();
        let world = Self { dir, node, stop, admin, roots };
        world.tenant("acme").await;
        world
    }

    pub(crate) async fn tenant(&self, id: &str) {
        let tenant =
            pb::Tenant { tenant_id: id.into(), isolation: pb::Isolation::Dedicated.into(), ..Default::default() };
        let request = pb::CreateTenantRequest { tenant: Some(tenant), request_id: signet_client::request_id() };
        TenantServiceClient::new(self.admin()).create_tenant(request).await.unwrap();
    }

    /// Makes the tenant's next key for JWT-SVIDs; `now`: in the place of all others.
    pub(crate) async fn rotate_svid_keys(&self, now: bool) {
        let request = pb::RotateTokenKeysRequest {
            tenant_id: "acme".into(),
            r#use: pb::TokenUse::JwtSvid.into(),
            now,
            request_id: signet_client::request_id(),
            ..Default::default()
        };
        TokenServiceClient::new(self.admin()).rotate_token_keys(request).await.unwrap();
    }

    /// Gives the workers of `acme` permissions of its services, which it has no others of.
    pub(crate) async fn authorize(&self, permissions: &[&str], policies: &str) {
        self.authorize_in("acme", permissions, policies).await;
    }

    /// The same in another tenant.
    pub(crate) async fn authorize_in(&self, tenant: &str, permissions: &[&str], policies: &str) {
        let names = || permissions.iter().map(|name| (*name).to_owned());
        let to = pb::authorization_grant::To::PrincipalType(pb::PrincipalType::Worker.into());
        let grant = pb::AuthorizationGrant { to: Some(to), permissions: names().collect(), expire_time: None };
        let mut client = AuthorizationServiceClient::new(self.admin());
        let model = pb::GetAuthorizationModelRequest { tenant_id: tenant.into(), version: 0 };
        let base_version = client.get_authorization_model(model).await.unwrap().into_inner().version;
        let rules = pb::AuthorizationRules {
            permissions: names().map(|name| (name, String::new())).collect(),
            grants: vec![grant],
            policies: policies.into(),
            ..Default::default()
        };
        let request = pb::SetAuthorizationModelRequest {
            tenant_id: tenant.into(),
            rules: Some(rules),
            base_version,
            request_id: signet_client::request_id(),
            ..Default::default()
        };
        client.set_authorization_model(request).await.unwrap();
    }

    /// Ends the node.
    pub(crate) fn stop_node(&self) {
        self.stop.cancel();
    }

    /// Gives the tenant's workers certificates of a minute, and as long to renew them after that.
    pub(crate) async fn shorten(&self) {
        let worker = pb::PrincipalType::Worker.into();
        let tenant = pb::Tenant {
            tenant_id: "acme".into(),
            lifetimes: vec![pb::LifetimeOverride { principal_type: worker, lifetime_seconds: 60 }],
            renewal_grace_seconds: 60,
            ..Default::default()
        };
        let paths = ["lifetimes", "renewal_grace_seconds"].map(str::to_owned).to_vec();
        let update_mask = Some(FieldMask { paths });
        let request =
            pb::UpdateTenantRequest { tenant: Some(tenant), update_mask, request_id: signet_client::request_id() };
        TenantServiceClient::new(self.admin()).update_tenant(request).await.unwrap();
    }

    pub(crate) fn roots(&self) -> Vec<Vec<u8>> {
        self.roots.clone()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("https://localhost:{}", self.node.grpc_addr.port())
    }

    pub(crate) fn admin(&self) -> tonic::transport::Channel {
        Connector::new(&self.endpoint(), &self.roots, Some(&self.admin)).unwrap().channel()
    }

    /// A file with a join token for `id` of `acme`, good for one use.
    pub(crate) async fn token(&self, kind: pb::PrincipalType, id: &str) -> PathBuf {
        self.token_of("acme", kind, id, &format!("{id}.token")).await
    }

    pub(crate) async fn token_of(&self, tenant: &str, kind: pb::PrincipalType, id: &str, file: &str) -> PathBuf {
        let request = pb::CreateTokenRequest {
            tenant_id: tenant.into(),
            principal_type: kind.into(),
            principal_id: id.into(),
            request_id: signet_client::request_id(),
            ..Default::default()
        };
        let made = EnrollmentServiceClient::new(self.admin()).create_token(request).await.unwrap().into_inner();
        let path = self.path(file);
        fs::write(&path, format!("{}\n", made.secret)).unwrap();
        path
    }

    /// A rule of the tenant `acme`; the other fields say whom it believes.
    pub(crate) async fn rule(&self, rule: pb::EnrollmentRule) {
        let rule = pb::EnrollmentRule { tenant_id: "acme".into(), rule_id: "rule".into(), ..rule };
        let request = pb::CreateEnrollmentRuleRequest { rule: Some(rule), request_id: signet_client::request_id() };
        EnrollmentServiceClient::new(self.admin()).create_enrollment_rule(request).await.unwrap();
    }

    /// Revokes a certificate of `acme`.
    pub(crate) async fn revoke(&self, certificate: &IdentityReport) {
        self.revoke_serial(certificate.serial_number.clone()).await;
    }

    /// A principal with its first certificate.
    pub(crate) async fn enrolled(&self, tenant: &str, kind: pb::PrincipalType, id: &str) -> Identity {
        let file = format!("{tenant}-{id}.token");
        let token = JoinToken::read(&self.token_of(tenant, kind, id, &file).await).unwrap();
        let enrollment = Enrollment { proof: Arc::new(token), tenant_id: None, principal_id: None };
        Identity::enroll(IdentitySettings::new(self.endpoint(), self.roots()), &enrollment).await.unwrap()
    }

    /// Revokes the certificate that a principal of `acme` has now.
    pub(crate) async fn revoke_leaf(&self, identity: &Identity) {
        let serial_number = identity.status().borrow().facts.serial_number.clone();
        self.revoke_serial(serial_number).await;
    }

    async fn revoke_serial(&self, serial_number: String) {
        let request = pb::RevokeCertificateRequest {
            tenant_id: "acme".into(),
            issuer_id: "acme.1".into(),
            serial_number,
            reason: pb::RevocationReason::NotStated.into(),
            request_id: signet_client::request_id(),
            or_unrecorded: false,
        };
        CertificateServiceClient::new(self.admin()).revoke_certificate(request).await.unwrap();
    }

    /// Makes and publishes the tenant's next CA.
    pub(crate) async fn prepare_ca(&self) {
        self.rotate_ca(pb::RotationAction::Prepare).await;
    }

    /// Lets it sign at once, whoever knows it.
    pub(crate) async fn activate_ca(&self) {
        self.rotate_ca(pb::RotationAction::Activate).await;
    }

    /// Ends the trust in the CA before.
    pub(crate) async fn retire_ca(&self) {
        self.rotate_ca(pb::RotationAction::Retire).await;
    }

    async fn rotate_ca(&self, action: pb::RotationAction) {
        let request = pb::RotateCertificateAuthorityRequest {
            tenant_id: "acme".into(),
            kind: pb::CaKind::Tenant.into(),
            action: action.into(),
            request_id: signet_client::request_id(),
            force: action == pb::RotationAction::Activate,
        };
        TrustServiceClient::new(self.admin()).rotate_certificate_authority(request).await.unwrap();
    }

    /// An agent's configuration: `identities` is TOML. Its state is in the folder `state`.
    pub(crate) fn configure(&self, identities: &str) -> PathBuf {
        let path = self.path("agent.toml");
        let endpoint = self.endpoint();
        let text = format!(
            "state_dir = \"state\"\n[control_plane]\nendpoint = \"{endpoint}\"\nca_file = \"root.pem\"\n{identities}"
        );
        fs::write(&path, text).unwrap();
        path
    }

    /// An agent that runs in this process, with every identity published.
    pub(crate) async fn agent(&self, identities: &str) -> (Agent, Reports) {
        let agent = Agent::start(Config::load(&self.configure(identities)).unwrap()).await.unwrap();
        let mut reports = Reports::of(&agent);
        reports.until("all are published", |one| one.published && !one.spiffe_id.is_empty()).await;
        (agent, reports)
    }
}

pub(crate) struct Reports(watch::Receiver<Report>);

impl Reports {
    pub(crate) fn of(agent: &Agent) -> Self {
        Self(agent.report())
    }

    /// Waits until all identities are so, at most 20 s.
    pub(crate) async fn until(&mut self, what: &str, is_so: impl Fn(&IdentityReport) -> bool) -> Vec<IdentityReport> {
        let found = self.0.wait_for(|report| !report.identities.is_empty() && report.identities.iter().all(&is_so));
        let found = tokio::time::timeout(Duration::from_secs(20), found).await;
        if let Ok(Ok(report)) = found {
            return report.identities.clone();
        }
        drop(found);
        panic!("not in time: {what}: {:?}", self.0.borrow())
    }

    /// Renews the only identity and waits until its programs know.
    pub(crate) async fn renew(&mut self, agent: &Agent, name: &str) -> IdentityReport {
        let before = self.0.borrow().identities[0].serial_number.clone();
        assert!(agent.renew(name));
        let told = |one: &IdentityReport| one.handover.as_ref().is_none_or(|handover| handover.done);
        let renewed = |one: &IdentityReport| one.serial_number != before && one.published && told(one);
        self.until("it is renewed and handed over", renewed).await[0].clone()
    }
}

/// Asks until it is so; ten seconds at most.
pub(crate) async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(10), "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Runs a judge, off the runtime's threads.
pub(crate) async fn run(program: &str, arguments: &[&str]) -> Output {
    let (name, mut command) = (program.to_owned(), Command::new(program));
    command.args(arguments);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
    output.unwrap_or_else(|error| panic!("{name} is not installed (see scripts/lib/judges.sh): {error}"))
}

/// Serial number of the certificate that new connections get.
pub(crate) async fn shown_serial(port: u16, options: &[&str]) -> String {
    let options = options.join(" ");
    let line = format!(
        "openssl s_client {options} -connect 127.0.0.1:{port} </dev/null 2>/dev/null | openssl x509 -noout -serial"
    );
    String::from_utf8(run("sh", &["-c", &line]).await.stdout).unwrap()
}

/// A free port of 127.0.0.1.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub(crate) fn exists(path: &Path) -> bool {
    fs::exists(path).unwrap()
}
