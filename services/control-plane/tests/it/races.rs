//! Invariant 6 between nodes, on both stores: they share nothing but the store, so what decides is its transactions.

use std::{path::Path, sync::Arc};

use secrecy::SecretString;
use signet_app::{
    App, Bootstrap, Call, CreateTenant, CreateToken, Enroll, EnvironmentKeys, Proof, ServerNames, Settings, bootstrap,
    enrollment::{self, tokens},
    tenants,
};
use signet_control_plane::cli::system_clock;
use signet_core::{
    Actor, Error, Identity, KeyManager, Lifetime, PrincipalType, Serial, Store, TenantId,
    authorization::{CallerTypes, Permit, Policy, Rule, permit},
    certificates::CertificateState,
    enrollment::PrincipalTemplate,
    store::scope::Housekeeper,
    tenants::Isolation,
};
use signet_dynamodb::{DynamoStore, Limits};
use signet_kms::{KmsKeys, Purpose};
use signet_softkey::{OsEntropy, SoftKeys};
use signet_sqlite::SqliteStore;
use signet_testkit::{faults::variable, fixtures::unique_tenant};
use signet_x509::{Environment, KeyAndCsr};

const NODES: usize = 8;
const CALLERS: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn invariant_6_of_200_callers_on_8_nodes_one_gets_a_certificate_sqlite() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| -> Box<Path> { dir.path().join(name).into() };
    let keys: Arc<dyn KeyManager> =
        Arc::new(SoftKeys::open(&path("keys"), SecretString::from("correct horse battery staple")).unwrap());
    let store = || -> Arc<dyn Store> { Arc::new(SqliteStore::open(&path("store")).unwrap()) };
    let own = EnvironmentKeys { root: None, system: None, shared: None, server: None };
    one_token_for_200_callers(&keys, own, store).await;
}

/// The keys are those that Terraform made, so that the environment may have been bootstrapped before.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn invariant_6_of_200_callers_on_8_nodes_one_gets_a_certificate_dynamodb() {
    let aws = aws_config::defaults(aws_config::BehaviorVersion::latest())
        .region(aws_config::Region::new("eu-central-1"))
        .test_credentials()
        .endpoint_url(variable("SIGNET_TEST_AWS_ENDPOINT"))
        .load()
        .await;
    let prefix = variable("SIGNET_TEST_AWS_PREFIX");
    let keys: Arc<dyn KeyManager> = Arc::new(KmsKeys::new(&aws, &prefix));
    let store = || -> Arc<dyn Store> { Arc::new(DynamoStore::new(&aws, &prefix, Limits::default())) };
    let of = |purpose: Purpose| Some(purpose.key(&prefix).unwrap());
    let terraform = EnvironmentKeys {
        root: of(Purpose::Root),
        system: of(Purpose::System),
        shared: of(Purpose::Shared),
        server: of(Purpose::Server),
    };
    one_token_for_200_callers(&keys, terraform, store).await;
}

async fn one_token_for_200_callers(
    keys: &Arc<dyn KeyManager>,
    environment_keys: EnvironmentKeys,
    store: impl Fn() -> Arc<dyn Store>,
) {
    let node = || {
        let environment = Environment::with_default_arc("test.example.com".parse().unwrap()).unwrap();
        Arc::new(App::new(store(), Arc::clone(keys), Arc::new(OsEntropy), environment, Settings::default()))
    };
    let nodes: Vec<Arc<App>> = (0..NODES).map(|_| node()).collect();
    let tenant = unique_tenant();
    let secret = prepare(&nodes[0], environment_keys, &tenant).await;
    let enroll = |number: usize| {
        let (node, secret) = (Arc::clone(&nodes[number % NODES]), secret.clone());
        async move {
            let principal = Some(format!("worker-{number}").parse().unwrap());
            let csr_der = KeyAndCsr::generate().unwrap().csr_der;
            let request_id = Some(format!("request-{number}").parse().unwrap());
            let call = Call { operation: "Enroll", actor: Actor::Anonymous, request_id, ..now() };
            enrollment::enroll(&node, &call, Enroll { proof: Proof::JoinToken(secret), principal, csr_der }).await
        }
    };
    let callers = (0..CALLERS).map(|number| tokio::spawn(enroll(number)));
    let answers: Vec<_> = futures::future::join_all(callers).await.into_iter().map(Result::unwrap).collect();
    let mut winners = Vec::new();
    for (number, answer) in answers.into_iter().enumerate() {
        // A node that met others in the store too often says so, and its caller asks again.
        let answer = if matches!(answer, Err(Error::Conflict(_))) { enroll(number).await } else { answer };
        match answer {
            Ok(leaf) => winners.push(leaf),
            Err(loser) => assert_eq!(loser, Error::ProofRefused { reason: "TOKEN_USED_UP" }),
        }
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(winners[0].certificate.state, CertificateState::Issued);
    let scope = Housekeeper::appoint().tenant(&tenant);
    let listed = signet_app::principals::list_principals(&nodes[1], &now(), &scope, &Default::default()).await.unwrap();
    let with_certificate = listed.items.iter().filter(|principal| !principal.certificates.is_empty());
    assert_eq!((listed.items.len(), with_certificate.count()), (1, 1), "a loser left something behind");
}

/// Bootstraps the environment if nobody has, and makes a tenant with a single-use token.
async fn prepare(app: &App, keys: EnvironmentKeys, tenant: &TenantId) -> SecretString {
    let csr = || KeyAndCsr::generate().unwrap().csr_der;
    let input = Bootstrap {
        keys,
        server: ServerNames { dns: vec!["localhost".into()], ip: Vec::new() },
        server_csr_der: csr(),
        // One of its own: an environment that outlives several runs would give one admin too many certificates.
        admin: format!("admin-for-{tenant}").parse().unwrap(),
        admin_csr_der: csr(),
    };
    bootstrap::bootstrap(app, &now(), &input).await.unwrap();
    let input = CreateTenant {
        id: tenant.clone(),
        display_name: String::new(),
        isolation: Isolation::Shared,
        lifetimes: Default::default(),
        subjects: Default::default(),
        max_certificates: 0,
        renewal_grace: Lifetime::seconds(0),
        quotas: Default::default(),
        failure_limit: None,
    };
    tenants::create_tenant(app, &now(), &Housekeeper::appoint().environment(), input).await.unwrap();
    let template = PrincipalTemplate { principal_type: PrincipalType::Worker, id: None, roles: Vec::new() };
    let (ttl, source_networks) = (Lifetime::hours(1), Vec::new());
    let input = CreateToken { template, ttl, uses: 1, id_pattern: None, source_networks };
    let scope = Housekeeper::appoint().tenant(tenant);
    tokens::create_token(app, &now(), &admin(), &scope, input).await.unwrap().secret
}

fn now() -> Call {
    Call::process("test", system_clock()())
}

fn admin() -> Permit {
    let now = system_clock()();
    let identity = Identity {
        tenant: TenantId::system(),
        principal: "root-admin".parse().unwrap(),
        principal_type: PrincipalType::Admin,
        roles: Arc::new([]),
        issuer: "system.1".parse().unwrap(),
        serial: Serial::new(now, [0; 10]),
        not_before: now,
        not_after: now.plus(Lifetime::hours(1)),
        spki_sha256: [0; 32],
        certificate_sha256: [0; 32],
    };
    let policy = Policy::new();
    let grants = policy.grants(&identity.tenant, identity.principal_type, &identity.roles);
    let callers = CallerTypes::default().with(PrincipalType::Admin);
    let rule = Rule { operation: "test".into(), permission: policy.permission("tokens.create").unwrap(), callers };
    permit(&Arc::new(identity), &grants, &rule).unwrap()
}
