//! An environment with the tenants `acme` and `globex`, and a broker for both.

use std::{
    fs,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    version::{TLS12, TLS13},
};
use secrecy::ExposeSecret;
use signet_client::Identity;
use signet_proto::v1::{
    self as pb, PrincipalType, authorization_grant::To, authorization_service_client::AuthorizationServiceClient,
    certificate_service_client::CertificateServiceClient, principal_service_client::PrincipalServiceClient,
    tenant_service_client::TenantServiceClient, token_service_client::TokenServiceClient,
};
use signet_testbed::Environment;

use crate::broker::Broker;

/// Within which what is revoked must be gone.
pub(crate) const SOON: Duration = Duration::from_secs(1);

pub(crate) struct World {
    pub(crate) environment: Environment,
    broker: Option<Broker>,
    /// What the broker's certificate is verified by.
    server: Vec<u8>,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with("").await
    }

    /// With more lines of the plugin's configuration, before all others.
    pub(crate) async fn with(more: &str) -> Self {
        Self::without_broker(more).await.started().await
    }

    /// One in which tokens are given, and taken by the broker.
    pub(crate) async fn with_tokens() -> Self {
        let issuer = "tokens = { issuer = \"https://id.example.com\" }";
        Self::made(issuer, "tokens = { audience = \"mqtt\" }").await.started().await
    }

    /// With a broker.
    pub(crate) async fn started(mut self) -> Self {
        self.broker = Some(Broker::start(self.environment.dir.path()).await);
        self.broker().says("following the control plane for tenant acme").await;
        self.broker().says("following the control plane for tenant globex").await;
        self
    }

    pub(crate) async fn without_broker(more: &str) -> Self {
        Self::made("", more).await
    }

    async fn made(node: &str, more: &str) -> Self {
        let environment = Environment::start(node).await;
        let (mut anchors, mut tenants) = (String::new(), String::new());
        for tenant in ["acme", "globex"] {
            environment.tenant(tenant).await;
            grant(&environment, tenant, 0, &["mqtt:publish", "mqtt:subscribe"]).await;
            let token = environment.token(tenant, PrincipalType::Service, "broker-1").await;
            fs::write(environment.path(&format!("{tenant}.token")), token.expose_secret()).unwrap();
            tenants += &format!("[[tenants]]\nstate_dir = \"state/{tenant}\"\njoin_token_file = \"{tenant}.token\"\n");
            // Any principal of the tenant knows its anchors.
            let device = environment.enrolled(tenant, PrincipalType::Device, "first").await;
            anchors += &device.bundle().borrow().anchors_pem;
        }
        fs::write(environment.path("anchors.pem"), anchors).unwrap();
        let endpoint = environment.endpoint();
        let plugin = format!("{more}\n[control_plane]\nendpoint = \"{endpoint}\"\nca_file = \"root.pem\"\n{tenants}");
        fs::write(environment.path("signet.toml"), plugin).unwrap();
        fs::create_dir(environment.path("state")).unwrap();
        let server = server_certificate(&environment);
        Self { environment, broker: None, server }
    }

    pub(crate) fn broker(&self) -> &Broker {
        self.broker.as_ref().unwrap()
    }

    pub(crate) fn broker_mut(&mut self) -> &mut Broker {
        self.broker.as_mut().unwrap()
    }

    pub(crate) fn restart_broker_with(&mut self, broker: Broker) {
        self.broker = Some(broker);
    }

    /// Ends the broker in order.
    pub(crate) async fn stop_broker(&mut self) -> (bool, String) {
        self.broker.take().unwrap().stop().await
    }

    pub(crate) async fn enrolled(&self, tenant: &str, kind: PrincipalType, id: &str) -> Identity {
        self.environment.enrolled(tenant, kind, id).await
    }

    pub(crate) async fn device(&self, id: &str) -> Identity {
        self.enrolled("acme", PrincipalType::Device, id).await
    }

    /// Who may publish and subscribe in the whole tenant.
    pub(crate) async fn service(&self, id: &str) -> Identity {
        self.enrolled("acme", PrincipalType::Service, id).await
    }

    /// As an identity at this moment, or as nobody; sessions are resumed by whoever uses it twice.
    pub(crate) fn tls(&self, identity: Option<&Identity>, twelve: bool) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(self.server.clone())).unwrap();
        let versions = if twelve { [&TLS12] } else { [&TLS13] };
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&versions)
            .unwrap()
            .with_root_certificates(roots);
        let Some(identity) = identity else { return Arc::new(config.with_no_client_auth()) };
        let (chain, key) = identity.with_credentials(|held| (held.chain_pem(), held.key_pem()));
        let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        Arc::new(config.with_client_auth_cert(chain, key).unwrap())
    }

    /// A folder with an identity's files, for other programs.
    pub(crate) fn files(&self, identity: &Identity, name: &str) -> [String; 6] {
        let (chain, key) = identity.with_credentials(|held| (held.chain_pem(), held.key_pem()));
        let path = |end: &str| self.environment.path(&format!("{name}-{end}.pem")).display().to_string();
        fs::write(path("chain"), chain).unwrap();
        fs::write(path("key"), key.as_bytes()).unwrap();
        let server = self.environment.path("server.pem").display().to_string();
        ["--cafile".into(), server, "--cert".into(), path("chain"), "--key".into(), path("key")]
    }

    pub(crate) async fn suspend(&self, id: &str) {
        let (tenant_id, principal_id, request_id) = ("acme".into(), id.into(), signet_client::request_id());
        let request = pb::SuspendPrincipalRequest { tenant_id, principal_id, request_id };
        PrincipalServiceClient::new(self.environment.admin()).suspend_principal(request).await.unwrap();
    }

    pub(crate) async fn activate(&self, id: &str) {
        let (tenant_id, principal_id, request_id) = ("acme".into(), id.into(), signet_client::request_id());
        let request = pb::ActivatePrincipalRequest { tenant_id, principal_id, request_id };
        PrincipalServiceClient::new(self.environment.admin()).activate_principal(request).await.unwrap();
    }

    pub(crate) async fn suspend_tenant(&self, tenant: &str) {
        let request = pb::SuspendTenantRequest { tenant_id: tenant.into(), request_id: signet_client::request_id() };
        TenantServiceClient::new(self.environment.admin()).suspend_tenant(request).await.unwrap();
    }

    /// Revokes the certificate that an identity has now.
    pub(crate) async fn revoke(&self, identity: &Identity) {
        let request = pb::RevokeCertificateRequest {
            tenant_id: "acme".into(),
            issuer_id: "acme.1".into(),
            serial_number: identity.status().borrow().facts.serial_number.clone(),
            reason: pb::RevocationReason::NotStated.into(),
            request_id: signet_client::request_id(),
            ..Default::default()
        };
        CertificateServiceClient::new(self.environment.admin()).revoke_certificate(request).await.unwrap();
    }

    /// Gives the tenant's devices certificates of a minute, the shortest there are.
    pub(crate) async fn shorten_devices(&self) {
        let principal_type = PrincipalType::Device.into();
        let tenant = pb::Tenant {
            tenant_id: "acme".into(),
            lifetimes: vec![pb::LifetimeOverride { principal_type, lifetime_seconds: 60 }],
            ..Default::default()
        };
        let update_mask = Some(prost_types::FieldMask { paths: vec!["lifetimes".to_owned()] });
        let request =
            pb::UpdateTenantRequest { tenant: Some(tenant), update_mask, request_id: signet_client::request_id() };
        TenantServiceClient::new(self.environment.admin()).update_tenant(request).await.unwrap();
    }

    /// Leaves services only what is named.
    pub(crate) async fn grant_only(&self, version: u32, granted: &[&str]) {
        grant(&self.environment, "acme", version, granted).await;
    }

    /// The same, where a policy may take some of it away.
    pub(crate) async fn grant_with(&self, version: u32, granted: &[&str], policies: &str) {
        rules(&self.environment, "acme", version, granted, policies).await;
    }
}

async fn grant(environment: &Environment, tenant: &str, base_version: u32, granted: &[&str]) {
    rules(environment, tenant, base_version, granted, "").await;
}

async fn rules(environment: &Environment, tenant: &str, base_version: u32, granted: &[&str], policies: &str) {
    let grant = pb::AuthorizationGrant {
        to: Some(To::PrincipalType(PrincipalType::Service.into())),
        permissions: granted.iter().chain(&["jobs:submit"]).map(|name| (*name).to_owned()).collect(),
        expire_time: None,
    };
    let known = ["mqtt:publish", "mqtt:subscribe", "jobs:submit"];
    let rules = pb::AuthorizationRules {
        permissions: known.map(|name| (name.to_owned(), String::new())).into_iter().collect(),
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
    AuthorizationServiceClient::new(environment.admin()).set_authorization_model(request).await.unwrap();
}

/// For as long as `lifetime`; 10 seconds are the shortest.
pub(crate) async fn access_token(of: &Identity, audience: &str, scopes: &[&str], lifetime: Duration) -> String {
    let request = pb::CreateAccessTokenRequest {
        audience: audience.into(),
        scopes: scopes.iter().map(|name| (*name).to_owned()).collect(),
        lifetime_seconds: u32::try_from(lifetime.as_secs()).unwrap(),
    };
    let made = TokenServiceClient::new(of.channel().unwrap()).create_access_token(request).await.unwrap();
    made.into_inner().access_token
}

/// One that the test's clients know, whoever the broker's name is; DER.
fn server_certificate(environment: &Environment) -> Vec<u8> {
    let (certificate, key) = (environment.path("server.pem"), environment.path("server-key.pem"));
    let done = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    CertificateDer::from_pem_slice(&fs::read(certificate).unwrap()).unwrap().to_vec()
}

pub(crate) async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(30), "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
