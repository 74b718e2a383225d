//! Calls of anybody, on a whole environment in memory: refused as the caller's fault, with nothing left behind.

use std::{net::IpAddr, sync::Arc};

use axum::{Router, body::Body};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use http::{Request, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use signet_app::{
    App, Bootstrap, Call, CreatePrincipal, CreateTenant, EnvironmentKeys, Listing, PageRequest, ServerNames, Settings,
    bootstrap, principals, tenants,
};
use signet_core::{
    Error, Lifetime, PrincipalType, TenantScope,
    principals::Principal,
    store::{Table, scope::Housekeeper},
    tenants::Isolation,
};
use signet_enroll_http::{ENROLL, EnrollmentApi, Origin, RENEW, router};
use signet_testkit::{entropy::SeededEntropy, fixtures::NOW, memory_store::MemoryStore};
use signet_x509::{KeyAndCsr, pem};
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt;

use crate::{certificates::environment, keys::Keys};

thread_local! {
    static WORLD: World = World::new();
}

struct World {
    runtime: Runtime,
    app: Arc<App>,
    store: Arc<MemoryStore>,
    router: Router,
    /// What there is before each call.
    before: MemoryStore,
    csr_pem: String,
}

impl World {
    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let store = Arc::new(MemoryStore::default());
        let entropy = Arc::new(SeededEntropy::new(1));
        let app = App::new(store.clone(), Arc::new(Keys::default()), entropy, environment(), Settings::default());
        let app = Arc::new(app);
        runtime.block_on(found(&app));
        let enrollment = EnrollmentApi::new(Arc::clone(&app), || NOW);
        let csr_pem = pem::encode(pem::CERTIFICATE_REQUEST, &KeyAndCsr::generate().unwrap().csr_der);
        let before = store.copy();
        Self { runtime, app, router: router(Arc::new(enrollment)), store, before, csr_pem }
    }

    fn post(&self, path: &str, body: Vec<u8>) {
        let mut request = Request::post(path).header(header::CONTENT_TYPE, "application/json").body(Body::from(body));
        let source: IpAddr = "192.0.2.1".parse().unwrap();
        let origin = Origin { source, correlation_id: "fuzz".into() };
        request.as_mut().unwrap().extensions_mut().insert(origin);
        let (status, body) = self.runtime.block_on(async {
            let (parts, body) = self.router.clone().oneshot(request.unwrap()).await.unwrap().into_parts();
            (parts.status, body.collect().await.unwrap().to_bytes())
        });
        assert!(status.is_client_error(), "{status}: {}", String::from_utf8_lossy(&body));
        let problem: Value = serde_json::from_slice(&body).expect("a problem is JSON");
        assert_eq!(problem["status"], status.as_u16());
        assert!(problem["detail"].is_string() || problem["title"].is_string(), "{problem}");
        // Each refusal is audited, which would fill the memory.
        assert!(self.store.is_as(&self.before, Table::Audit), "a refusal has left something");
        self.store.restore(&self.before);
    }
}

/// A tenant with three principals.
async fn found(app: &Arc<App>) {
    let call = Call::process("bootstrap", NOW);
    let input = Bootstrap {
        keys: EnvironmentKeys { root: None, system: None, shared: None, server: None },
        server: ServerNames { dns: vec!["localhost".into()], ip: Vec::new() },
        server_csr_der: KeyAndCsr::generate().unwrap().csr_der,
        admin: "root".parse().unwrap(),
        admin_csr_der: KeyAndCsr::generate().unwrap().csr_der,
    };
    bootstrap::bootstrap(app, &call, &input).await.unwrap();
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
    tenants::create_tenant(app, &call, &Housekeeper::appoint().environment(), tenant).await.unwrap();
    for number in 1..=3 {
        let id = format!("worker-{number}").parse().unwrap();
        let input = CreatePrincipal {
            id,
            principal_type: PrincipalType::Worker,
            display_name: String::new(),
            roles: Vec::new(),
            groups: Vec::new(),
        };
        principals::create_principal(app, &call, &acme(), input).await.unwrap();
    }
}

fn acme() -> TenantScope {
    Housekeeper::appoint().tenant(&"acme".parse().unwrap())
}

/// The body of an enrollment. No proof holds in this environment.
pub fn enroll(data: &[u8]) {
    WORLD.with(|world| world.post(ENROLL, data.to_vec()));
}

/// The body of an out-of-band renewal. This environment has issued nobody's certificate.
pub fn renew(data: &[u8]) {
    WORLD.with(|world| world.post(RENEW, data.to_vec()));
}

/// A join token, in an enrollment that is otherwise good. There is no token.
pub fn join_token(data: &[u8]) {
    WORLD.with(|world| {
        let token = String::from_utf8_lossy(data);
        let body = json!({
            "request_id": "fuzz-1", "principal_id": "worker-9", "csr_pem": world.csr_pem,
            "proof": { "join_token": token },
        });
        world.post(ENROLL, body.to_string().into_bytes());
    });
}

/// A page token: first the page's size; then, if that is odd, what is in the token, else its text. Refused by name, or
/// a page of the tenant's own principals, after which the next one is found.
pub fn page_token(data: &[u8]) {
    let Some((size, rest)) = data.split_first() else { return };
    let text = if size % 2 == 1 { BASE64_URL_SAFE_NO_PAD.encode(rest) } else { String::from_utf8_lossy(rest).into() };
    WORLD.with(|world| {
        let list = |token: String| -> Result<Listing<Principal>, Error> {
            let (page, call) = (PageRequest { size: u32::from(*size), token }, Call::process("ListPrincipals", NOW));
            world.runtime.block_on(principals::list_principals(&world.app, &call, &acme(), &page))
        };
        let mut token = text;
        for _ in 0..=4 {
            match list(token) {
                Err(error) => {
                    assert!(matches!(error, Error::Invalid { field, .. } if field == "page_token"), "{error:?}");
                    return;
                }
                Ok(page) => {
                    assert!(page.items.iter().all(|item| item.tenant.as_str() == "acme"));
                    assert!(*size == 0 || page.items.len() <= usize::from(*size));
                    if page.next_page_token.is_empty() {
                        return;
                    }
                    token = page.next_page_token;
                }
            }
        }
        panic!("three principals and no last page");
    });
}
