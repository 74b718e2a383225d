//! A bootstrapped environment in a temporary folder, with the router in front.

use std::{net::IpAddr, sync::Arc};

use axum::{Router, body::Body};
use http::{Request, StatusCode, header};
use http_body_util::BodyExt;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use signet_app::{
    App, Bootstrap, Call, CreateTenant, CreateToken, EnvironmentKeys, ServerNames, Settings, audit::events, bootstrap,
    enrollment::tokens, tenants,
};
use signet_core::{
    Identity, Lifetime, PrincipalType, Serial,
    authorization::{CallerTypes, Permit, Policy, Rule, permit},
    enrollment::PrincipalTemplate,
    store::scope::Housekeeper,
    tenants::Isolation,
};
use signet_enroll_http::{EnrollmentApi, Origin, router};
use signet_softkey::SoftKeys;
use signet_sqlite::SqliteStore;
use signet_testkit::{entropy::SeededEntropy, fixtures::NOW};
use signet_x509::{Environment, KeyAndCsr, pem};
use tempfile::TempDir;
use tower::ServiceExt;

pub struct World {
    pub app: Arc<App>,
    pub router: Router,
    _folder: TempDir,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: http::HeaderMap,
    pub body: Value,
}

impl World {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(&folder.path().join("store")).unwrap());
        let keys =
            Arc::new(SoftKeys::open(&folder.path().join("keys"), "correct horse battery staple".into()).unwrap());
        let environment = Environment::with_default_arc("test.example.com".parse().unwrap()).unwrap();
        let app = Arc::new(App::new(store, keys, Arc::new(SeededEntropy::new(1)), environment, Settings::default()));
        let call = Call::process("bootstrap", NOW);
        let input = Bootstrap {
            keys: EnvironmentKeys { root: None, system: None, shared: None, server: None },
            server: ServerNames { dns: vec!["localhost".into()], ip: Vec::new() },
            server_csr_der: KeyAndCsr::generate().unwrap().csr_der,
            admin: "root".parse().unwrap(),
            admin_csr_der: KeyAndCsr::generate().unwrap().csr_der,
        };
        bootstrap::bootstrap(&app, &call, &input).await.unwrap();
        let tenant = CreateTenant {
            id: "acme".parse().unwrap(),
            display_name: String::new(),
            isolation: Isolation::Shared,
            lifetimes: Default::default(),
            subjects: Default::default(),
            max_certificates: 0,
            renewal_grace: Lifetime::hours(1),
            quotas: Default::default(),
            failure_limit: None,
        };
        tenants::create_tenant(&app, &call, &Housekeeper::appoint().environment(), tenant).await.unwrap();
        let enrollment = EnrollmentApi::new(Arc::clone(&app), || NOW);
        Self { app, router: router(Arc::new(enrollment)), _folder: folder }
    }

    /// A single-use token of `acme` for a new worker that chooses its id.
    pub async fn token(&self) -> String {
        let template = PrincipalTemplate { principal_type: PrincipalType::Worker, id: None, roles: Vec::new() };
        let (ttl, source_networks) = (Lifetime::hours(1), Vec::new());
        let input = CreateToken { template, ttl, uses: 1, id_pattern: None, source_networks };
        let scope = Housekeeper::appoint().tenant(&"acme".parse().unwrap());
        let call = Call::process("CreateToken", NOW);
        let made = tokens::create_token(&self.app, &call, &admin(), &scope, input).await.unwrap();
        made.secret.expose_secret().to_owned()
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(&self.router, "192.0.2.1", request(path, "application/json", body.to_string())).await
    }

    pub async fn send(&self, router: &Router, source: &str, mut request: Request<Body>) -> Answer {
        let source: IpAddr = source.parse().unwrap();
        request.extensions_mut().insert(Origin { source, correlation_id: "corr-1".into() });
        let answer = router.clone().oneshot(request).await.unwrap();
        let (parts, body) = answer.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// The payloads of the audit events with this outcome.
    pub async fn audited(&self, tenant: &str, outcome: &str) -> Vec<Value> {
        let scope = Housekeeper::appoint().tenant(&tenant.parse().unwrap());
        let window = signet_app::AuditWindow::new(None, Some(NOW.plus(Lifetime::hours(1))), NOW).unwrap();
        let call = Call::process("ListAuditEvents", NOW);
        let page = events::list_audit_events(&self.app, &call, &scope, &window, &Default::default()).await.unwrap();
        let events = page.events.iter().map(|event| serde_json::from_str::<Value>(&event.payload).unwrap());
        events.filter(|payload| payload["outcome"] == outcome).collect()
    }
}

impl Answer {
    pub fn header(&self, name: http::HeaderName) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }
}

pub fn request(path: &str, kind: &str, body: String) -> Request<Body> {
    Request::post(path).header(header::CONTENT_TYPE, kind).body(Body::from(body)).unwrap()
}

pub fn csr_pem(csr_der: &[u8]) -> String {
    pem::encode(pem::CERTIFICATE_REQUEST, csr_der)
}

pub fn enrollment(request_id: &str, token: &str, csr_der: &[u8]) -> Value {
    json!({
        "request_id": request_id, "principal_id": "crawler-1", "csr_pem": csr_pem(csr_der), "proof": { "join_token": token }
    })
}

fn admin() -> Permit {
    let identity = Identity {
        tenant: "system".parse().unwrap(),
        principal: "root".parse().unwrap(),
        principal_type: PrincipalType::Admin,
        roles: Vec::new().into(),
        issuer: "system.1".parse().unwrap(),
        serial: Serial::new(NOW, [0; 10]),
        not_before: NOW,
        not_after: NOW.plus(Lifetime::hours(12)),
        spki_sha256: [0; 32],
        certificate_sha256: [0; 32],
    };
    let policy = Policy::new();
    let grants = policy.grants(&identity.tenant, identity.principal_type, &identity.roles);
    let rule = Rule {
        operation: "test".into(),
        permission: policy.permission("tokens.create").unwrap(),
        callers: PrincipalType::ALL.into_iter().fold(Default::default(), CallerTypes::with),
    };
    permit(&Arc::new(identity), &grants, &rule).unwrap()
}
