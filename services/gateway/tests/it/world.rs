//! An environment with the tenant `acme`, and a gateway of it.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

use secrecy::ExposeSecret;
use serde_json::Value;
use signet_client::Identity;
use signet_gateway::{Config, Gateway};
use signet_proto::v1::{
    self as pb, PrincipalType, authorization_grant::To, authorization_service_client::AuthorizationServiceClient,
    certificate_service_client::CertificateServiceClient, principal_service_client::PrincipalServiceClient,
    tenant_service_client::TenantServiceClient,
};
use signet_testbed::Environment;

use crate::client::Client;

/// What workers may do.
const GRANTED: [&str; 3] = ["jobs:submit", "jobs:watch", "mqtt:connect"];
/// What nobody may.
const DENIED: &str = "jobs:delete";

pub(crate) struct World {
    pub(crate) environment: Environment,
    pub(crate) gateway: Option<Gateway>,
}

impl World {
    /// A gateway with these upstreams, routes and so on.
    pub(crate) async fn new(rest: &str) -> Self {
        Self::with("", rest).await
    }

    /// The same, with more lines in `[listen]`.
    pub(crate) async fn with(listen: &str, rest: &str) -> Self {
        let environment = Environment::start("").await;
        environment.tenant("acme").await;
        authorize(&environment, 0, &GRANTED).await;
        let token = environment.token("acme", PrincipalType::Service, "gateway-1").await;
        fs::write(environment.path("gateway.token"), token.expose_secret()).unwrap();
        let mut world = Self { environment, gateway: None };
        let config = world.config(listen, rest);
        world.gateway = Some(Gateway::start(config).await.unwrap());
        world
    }

    pub(crate) fn config(&self, listen: &str, rest: &str) -> Config {
        Config::from_toml(&self.text(listen, rest), self.environment.dir.path()).unwrap()
    }

    pub(crate) fn text(&self, listen: &str, rest: &str) -> String {
        let endpoint = self.environment.endpoint();
        format!(
            "state_dir = \"gateway\"\nprivate = \"127.0.0.1:0\"\n\
             [control_plane]\nendpoint = \"{endpoint}\"\nca_file = \"root.pem\"\n\
             [identity]\njoin_token_file = \"gateway.token\"\n\
             [listen]\nhttps = \"127.0.0.1:0\"\n{listen}\n\
             [audit]\nfile = \"audit.jsonl\"\n{rest}"
        )
    }

    pub(crate) fn gateway(&self) -> &Gateway {
        self.gateway.as_ref().unwrap()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.gateway().https()
    }

    /// A worker, who may do what [`GRANTED`] says.
    pub(crate) async fn worker(&self, id: &str) -> Client {
        Client::new(self.environment.enrolled("acme", PrincipalType::Worker, id).await, self.address())
    }

    pub(crate) async fn other_tenant(&self, id: &str) -> Identity {
        self.environment.tenant("globex").await;
        self.environment.enrolled("globex", PrincipalType::Worker, id).await
    }

    /// Suspends a principal.
    pub(crate) async fn suspend(&self, id: &str) {
        let request = pb::SuspendPrincipalRequest {
            tenant_id: "acme".into(),
            principal_id: id.into(),
            request_id: signet_client::request_id(),
        };
        PrincipalServiceClient::new(self.environment.admin()).suspend_principal(request).await.unwrap();
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

    /// Leaves workers only what is named.
    pub(crate) async fn grant_only(&self, granted: &[&str]) {
        authorize(&self.environment, 1, granted).await;
    }

    /// Gives the tenant's workers certificates of a minute, the shortest there are.
    pub(crate) async fn shorten_workers(&self) {
        let worker = PrincipalType::Worker.into();
        let tenant = pb::Tenant {
            tenant_id: "acme".into(),
            lifetimes: vec![pb::LifetimeOverride { principal_type: worker, lifetime_seconds: 60 }],
            ..Default::default()
        };
        let update_mask = Some(prost_types::FieldMask { paths: vec!["lifetimes".to_owned()] });
        let request =
            pb::UpdateTenantRequest { tenant: Some(tenant), update_mask, request_id: signet_client::request_id() };
        TenantServiceClient::new(self.environment.admin()).update_tenant(request).await.unwrap();
    }

    fn audit_file(&self) -> PathBuf {
        self.environment.path("audit.jsonl")
    }

    /// The audit log so far.
    pub(crate) fn events(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.audit_file()).unwrap_or_default();
        let whole = text.rsplit_once('\n').map(|(whole, _)| whole.to_owned()).unwrap_or_default();
        whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Waits for an event.
    pub(crate) async fn event(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            if let Some(found) = self.events().into_iter().find(|event| is_it(event)) {
                return found;
            }
            assert!(begun.elapsed() < Duration::from_secs(10), "no event: {what}: {:#?}", self.events());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The text of the private listener.
    pub(crate) async fn private(&self, path: &str) -> (u16, String) {
        crate::client::plain(self.gateway().private().unwrap(), path).await
    }

    /// Waits until the private listener says so.
    pub(crate) async fn until_private(&self, path: &str, is_so: impl Fn(u16, &str) -> bool) {
        let begun = Instant::now();
        loop {
            let (status, text) = self.private(path).await;
            if is_so(status, &text) {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "not in time: {path}: {status} {text}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Gives workers these permissions of the tenant's services.
async fn authorize(environment: &Environment, base_version: u32, granted: &[&str]) {
    let names = |names: &[&str]| -> Vec<String> { names.iter().map(|name| (*name).to_owned()).collect() };
    let grant = pb::AuthorizationGrant {
        to: Some(To::PrincipalType(PrincipalType::Worker.into())),
        permissions: names(granted),
        expire_time: None,
    };
    let known = GRANTED.iter().copied().chain([DENIED]);
    let rules = pb::AuthorizationRules {
        permissions: known.map(|name| (name.to_owned(), String::new())).collect(),
        grants: vec![grant],
        ..Default::default()
    };
    let request = pb::SetAuthorizationModelRequest {
        tenant_id: "acme".into(),
        rules: Some(rules),
        base_version,
        request_id: signet_client::request_id(),
        ..Default::default()
    };
    AuthorizationServiceClient::new(environment.admin()).set_authorization_model(request).await.unwrap();
}
