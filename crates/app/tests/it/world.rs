//! A bootstrapped environment in memory.

use std::sync::Arc;

use signet_app::{
    App, Bootstrap, BootstrapReport, Call, CreatePrincipal, CreateTenant, CreateToken, CreatedToken, Enroll,
    EnvironmentKeys, IssuedLeaf, Proof, ServerNames, Settings, authorities, bootstrap,
    certificates::{self, issuance},
    enrollment::tokens,
    principals, tenants,
};
use signet_core::{
    Actor, CaId, Error, Identity, KeyManager, Lifetime, PrincipalId, PrincipalType, Role, Serial, Store, TenantId,
    TenantScope, Time,
    authorization::{CallerTypes, Permit, Policy, Rule, permit},
    certificates::Certificate,
    enrollment::PrincipalTemplate,
    principals::Principal,
    store::scope::Housekeeper,
    tenants::{Isolation, Tenant, TenantStatus},
    trust::{Anchor, TenantTrust},
};
use signet_testkit::{
    entropy::SeededEntropy,
    faulty::{FaultyKeys, FaultyStore},
    fixtures::NOW,
    memory_store::MemoryStore,
};
use signet_x509::{ChainError, Environment, KeyAndCsr, verify_client};

use crate::{attestor::ScriptedAttestor, keys::MemoryKeys, ledger::Ledger};

pub(crate) struct World {
    pub(crate) app: Arc<App>,
    /// What the application uses, over the ledger.
    pub(crate) store: Arc<FaultyStore>,
    pub(crate) ledger: Arc<Ledger>,
    /// What the application uses, over the keys.
    pub(crate) key_faults: Arc<FaultyKeys>,
    pub(crate) keys: Arc<MemoryKeys>,
    pub(crate) attestor: Arc<ScriptedAttestor>,
}

impl World {
    /// An environment with nothing in it.
    pub(crate) fn empty() -> Self {
        Self::on(Arc::new(MemoryStore::default()))
    }

    /// The same over `store`.
    pub(crate) fn on(store: Arc<dyn Store>) -> Self {
        let ledger = Arc::new(Ledger::new(store));
        let store = FaultyStore::new(Arc::clone(&ledger) as Arc<dyn Store>);
        let keys = Arc::new(MemoryKeys::new(Arc::clone(&ledger)));
        let key_faults = FaultyKeys::new(Arc::clone(&keys) as Arc<dyn KeyManager>);
        let environment = Environment::with_default_arc("test.example.com".parse().unwrap()).unwrap();
        let entropy = Arc::new(SeededEntropy::new(1));
        let attestor = Arc::new(ScriptedAttestor::default());
        let app = App::new(store.clone(), key_faults.clone(), entropy, environment, Settings::default());
        let app = Arc::new(app.with_attestor(attestor.clone()));
        Self { app, store, ledger, key_faults, keys, attestor }
    }

    /// Another process on the same store and keys, with other settings.
    pub(crate) fn node_with(&self, settings: Settings) -> Arc<App> {
        let (environment, entropy) = (self.app.environment().clone(), Arc::new(SeededEntropy::new(2)));
        Arc::new(App::new(self.store.clone(), self.key_faults.clone(), entropy, environment, settings))
    }

    /// Another process on the same store and keys.
    pub(crate) fn other_node(&self) -> Arc<App> {
        self.node_with(Settings::default())
    }

    /// The same after its process has started again, with other random numbers: it has no key open.
    pub(crate) fn restarted(&self, seed: u64) -> Self {
        let (environment, entropy) = (self.app.environment().clone(), Arc::new(SeededEntropy::new(seed)));
        let app = App::new(self.store.clone(), self.key_faults.clone(), entropy, environment, Settings::default());
        let (store, ledger, key_faults) = (self.store.clone(), self.ledger.clone(), self.key_faults.clone());
        let (keys, attestor) = (self.keys.clone(), self.attestor.clone());
        Self { app: Arc::new(app.with_attestor(attestor.clone())), store, ledger, key_faults, keys, attestor }
    }

    /// A bootstrapped environment with the tenant `acme`.
    pub(crate) async fn new() -> Self {
        let world = Self::empty();
        world.bootstrap().await.unwrap();
        world.tenant("acme").await;
        world
    }

    pub(crate) async fn bootstrap(&self) -> Result<BootstrapReport, Error> {
        bootstrap::bootstrap(&self.app, &Call::process("bootstrap", NOW), &bootstrap_input()).await
    }

    pub(crate) async fn tenant(&self, id: &str) -> Tenant {
        tenants::create_tenant(&self.app, &call("CreateTenant"), &environment(), new_tenant(id)).await.unwrap()
    }

    pub(crate) async fn principal(&self, id: &str) -> Principal {
        let input = new_principal(id, PrincipalType::Worker, &[]);
        principals::create_principal(&self.app, &call("CreatePrincipal"), &acme(), input).await.unwrap()
    }

    pub(crate) async fn issue(&self, id: &str) -> IssuedLeaf {
        let csr = csr();
        issuance::issue_certificate(&self.app, &call("IssueCertificate"), &acme(), &pid(id), &csr).await.unwrap()
    }

    pub(crate) async fn token(&self, input: CreateToken) -> CreatedToken {
        tokens::create_token(&self.app, &call("CreateToken"), &admin(), &acme(), input).await.unwrap()
    }

    pub(crate) async fn record(&self, issuer: &CaId, serial: &Serial) -> Certificate {
        certificates::get_certificate(&self.app, &call("GetCertificate"), &acme(), issuer, serial).await.unwrap()
    }

    pub(crate) async fn get_principal(&self, id: &str) -> Principal {
        principals::get_principal(&self.app, &call("GetPrincipal"), &acme(), &pid(id)).await.unwrap()
    }

    /// Whom the chain check takes the holder of a leaf for, with what `tenant` trusts at `now`.
    pub(crate) async fn authenticate(&self, tenant: &str, leaf_der: &[u8], now: Time) -> Result<Identity, ChainError> {
        let bundle =
            authorities::trust_bundle(&self.app, &at(call("GetTrustBundle"), now), &scope(tenant)).await.unwrap();
        let anchors = bundle.anchors.iter().map(Anchor::from).collect();
        let trust = TenantTrust { status: TenantStatus::Active, anchors };
        let trust_of = |id: &TenantId| (id.as_str() == tenant).then(|| trust.clone());
        verify_client(leaf_der, self.app.environment(), trust_of, now)
    }

    /// The outcomes of the events of `operation`, in order.
    pub(crate) fn outcomes(&self, operation: &str) -> Vec<String> {
        let payloads = self.ledger.events().into_iter().map(|event| event.payload);
        let parsed = payloads.map(|payload| serde_json::from_str::<serde_json::Value>(&payload).unwrap());
        let of_operation = parsed.filter(|payload| payload["operation"] == operation);
        of_operation.map(|payload| payload["outcome"].as_str().unwrap().to_owned()).collect()
    }
}

pub(crate) fn bootstrap_input() -> Bootstrap {
    Bootstrap {
        keys: EnvironmentKeys { root: None, system: None, shared: None, server: None },
        server: ServerNames { dns: vec!["localhost".into()], ip: vec!["127.0.0.1".parse().unwrap()] },
        server_csr_der: csr(),
        admin: pid("root"),
        admin_csr_der: csr(),
    }
}

/// A call of `operation` by the operator, without a request id.
pub(crate) fn call(operation: &'static str) -> Call {
    let identity = identity("system", "root", PrincipalType::Admin, &[]);
    Call { operation, now: NOW, actor: Actor::from(&identity), request_id: None, source: None, correlation_id: None }
}

pub(crate) fn call_with_id(operation: &'static str, request_id: &str) -> Call {
    Call { request_id: Some(request_id.parse().unwrap()), ..call(operation) }
}

pub(crate) fn anonymous(request_id: &str) -> Call {
    Call { actor: Actor::Anonymous, ..call_with_id("Enroll", request_id) }
}

pub(crate) fn at(call: Call, now: Time) -> Call {
    Call { now, ..call }
}

pub(crate) fn acme() -> TenantScope {
    Housekeeper::appoint().tenant(&"acme".parse().unwrap())
}

pub(crate) fn environment() -> signet_core::store::scope::EnvironmentScope {
    Housekeeper::appoint().environment()
}

pub(crate) fn tid(id: &str) -> TenantId {
    id.parse().unwrap()
}

pub(crate) fn pid(id: &str) -> PrincipalId {
    id.parse().unwrap()
}

pub(crate) fn roles(names: &[&str]) -> Vec<Role> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

/// A request for a new key, DER.
pub(crate) fn csr() -> Vec<u8> {
    KeyAndCsr::generate().unwrap().csr_der
}

pub(crate) fn identity(tenant: &str, id: &str, principal_type: PrincipalType, names: &[&str]) -> Identity {
    Identity {
        tenant: tid(tenant),
        principal: pid(id),
        principal_type,
        roles: roles(names).into(),
        issuer: format!("{tenant}.1").parse().unwrap(),
        serial: Serial::new(NOW, [0; 10]),
        not_before: NOW,
        not_after: NOW.plus(Lifetime::hours(12)),
        spki_sha256: [0; 32],
        certificate_sha256: [0; 32],
    }
}

/// The right that the caller `identity` has to the operation of `permission`.
pub(crate) fn permit_of(identity: Identity, permission: &str) -> Permit {
    let policy = Policy::new();
    let grants = policy.grants(&identity.tenant, identity.principal_type, &identity.roles);
    let rule = Rule {
        operation: "test".into(),
        permission: policy.permission(permission).unwrap(),
        callers: PrincipalType::ALL.into_iter().fold(Default::default(), CallerTypes::with),
    };
    permit(&Arc::new(identity), &grants, &rule).unwrap()
}

/// The operator's.
pub(crate) fn admin() -> Permit {
    permit_of(identity("system", "root", PrincipalType::Admin, &[]), "tokens.create")
}

/// A user's of `acme` with the role operator.
pub(crate) fn operator() -> Permit {
    permit_of(identity("acme", "olga", PrincipalType::User, &["operator"]), "tokens.create")
}

/// The holder's of a certificate, to renew it.
pub(crate) fn renewal_of(leaf: &IssuedLeaf) -> Permit {
    let record = &leaf.certificate;
    let mut identity = identity(record.tenant.as_str(), record.principal.as_str(), record.principal_type, &[]);
    (identity.issuer, identity.serial) = (record.issuer.clone(), record.serial);
    hex::decode_to_slice(&record.spki_sha256, &mut identity.spki_sha256).unwrap();
    permit_of(identity, "certificates.renew")
}

pub(crate) fn new_tenant(id: &str) -> CreateTenant {
    CreateTenant {
        id: tid(id),
        display_name: String::new(),
        isolation: Isolation::Dedicated,
        lifetimes: Default::default(),
        subjects: Default::default(),
        max_certificates: 0,
        renewal_grace: Lifetime::default(),
        quotas: Default::default(),
        failure_limit: None,
    }
}

pub(crate) fn new_principal(id: &str, principal_type: PrincipalType, names: &[&str]) -> CreatePrincipal {
    let (display_name, groups) = (String::new(), Vec::new());
    CreatePrincipal { id: pid(id), principal_type, display_name, roles: roles(names), groups }
}

/// A single-use token for a new worker that chooses its id.
pub(crate) fn new_token() -> CreateToken {
    let template = PrincipalTemplate { principal_type: PrincipalType::Worker, id: None, roles: Vec::new() };
    let (ttl, source_networks) = (Lifetime::seconds(0), Vec::new());
    CreateToken { template, ttl, uses: 0, id_pattern: None, source_networks }
}

pub(crate) fn enrollment(token: &CreatedToken, principal: &str, csr_der: &[u8]) -> Enroll {
    let proof = Proof::JoinToken(token.secret.clone());
    Enroll { proof, principal: Some(pid(principal)), csr_der: csr_der.to_vec() }
}

pub(crate) fn scope(tenant: &str) -> TenantScope {
    Housekeeper::appoint().tenant(&tid(tenant))
}
