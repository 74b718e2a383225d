//! Real programs verify access tokens, and refuse them on a connection with another certificate, by the recipes.

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt as _,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use axum::{Router, http::HeaderMap, routing::any};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, Uid},
};
use serde_json::{Value, json};
use signet_agent::{Agent, report::IdentityReport};
use signet_client::Identity;
use signet_proto::v1::{
    CreateAccessTokenRequest, CreateJwtSvidRequest, PrincipalType, SuspendPrincipalRequest,
    principal_service_client::PrincipalServiceClient, token_service_client::TokenServiceClient,
};
use tokio::net::TcpListener;

use crate::{
    relying_parties::programs::{envoy_path, recipe, system},
    workload_api::sections_with,
    world::{World, free_port, run},
};

const ISSUER: &str = "tokens = { issuer = \"https://id.example.com\" }";
const HOST: &str = "web-1.service.acme.test.example.com";
const PATIENCE: Duration = Duration::from_secs(20);

/// A tenant and another one, each with the same permissions and worker.
struct Site {
    world: World,
    worker: Identity,
    second: Identity,
    foreign: Identity,
    port: u16,
    server: Option<Child>,
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = kill(Pid::from_raw(i32::try_from(server.id()).unwrap()), Signal::SIGTERM);
            let _ = server.wait();
        }
    }
}

impl Site {
    async fn new() -> Self {
        let world = World::with(ISSUER).await;
        world.tenant("globex").await;
        for tenant in ["acme", "globex"] {
            world.authorize_in(tenant, &["jobs:read", "jobs:submit", "reports:read"], "").await;
        }
        world.token(PrincipalType::Service, "web-1").await;
        let worker = world.enrolled("acme", PrincipalType::Worker, "w-1").await;
        let second = world.enrolled("acme", PrincipalType::Worker, "w-2").await;
        let foreign = world.enrolled("globex", PrincipalType::Worker, "w-1").await;
        Self { world, worker, second, foreign, port: free_port(), server: None }
    }

    /// The recipe, with the keys where they are in this test.
    fn recipe(&self, file: &str) -> String {
        let (dir, node) = (self.world.dir.path().display(), self.world.node.grpc_addr.port());
        recipe(&self.world, file, self.port)
            .replace(&format!("{dir}/server-anchor.pem"), &format!("{dir}/root.pem"))
            .replace(
                &format!("address: signet.example.com, port_value: {}", self.port),
                &format!("address: 127.0.0.1, port_value: {node}"),
            )
            .replace(&format!("signet.example.com:{}", self.port), &format!("localhost:{node}"))
            .replace("signet.example.com", "localhost")
    }

    fn start(&mut self, mut command: Command) {
        let log = File::create(self.world.path("server.log")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().unwrap_or_else(|error| panic!("see scripts/lib/judges.sh: {command:?}: {error}"));
        self.server = Some(child);
    }

    /// What curl is answered: the status, 0 if there is no connection, and the text.
    async fn visit(&self, who: &Identity, token: Option<&str>, more: &[&str]) -> (u16, String) {
        let name = who.status().borrow().facts.serial_number.clone();
        let [cert, key] = ["pem", "key"].map(|kind| self.world.path(&format!("{name}.{kind}")));
        who.with_credentials(|credentials| {
            fs::write(&cert, credentials.chain_pem()).unwrap();
            fs::write(&key, credentials.key_pem().as_bytes()).unwrap();
        });
        let [cert, key, anchors] = [cert, key, self.world.path("bundle.pem")].map(|path| path.display().to_string());
        let header = token.map(|token| format!("Authorization: Bearer {token}"));
        let (url, at) = (format!("https://{HOST}:{}/page", self.port), format!("{HOST}:{}:127.0.0.1", self.port));
        let mut arguments = vec!["-s", "--max-time", "5", "--cert", &cert, "--key", &key, "--cacert", &anchors];
        arguments.extend(["--resolve", &at, "-w", "\n%{http_code}", &url]);
        arguments.extend(header.iter().flat_map(|header| ["-H", header.as_str()]).chain(more.iter().copied()));
        let output = String::from_utf8(run("curl", &arguments).await.stdout).unwrap();
        let (text, status) = output.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), text.to_owned())
    }

    /// Waits for a status.
    async fn until(&self, who: &Identity, token: &str, expected: u16) {
        let begun = Instant::now();
        loop {
            let found = self.visit(who, Some(token), &[]).await;
            if found.0 == expected {
                return;
            }
            if begun.elapsed() > PATIENCE {
                let log = fs::read_to_string(self.world.path("server.log")).unwrap();
                let last: Vec<_> = log.lines().rev().take(12).collect();
                panic!("{found:?} and not {expected}: {last:#?}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// All that must be refused of what a thief, a client of another service and a forger show.
    async fn refuses_all_others(&self, good: &str) {
        let svid = CreateJwtSvidRequest { audiences: vec!["jobs".into()], lifetime_seconds: 0 };
        let svid = TokenServiceClient::new(self.worker.channel().unwrap()).create_jwt_svid(svid).await.unwrap();
        let others = access_token(&self.second, "jobs", &[], 0).await;
        let parts: Vec<&str> = good.split('.').collect();
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
        let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let mut raised = claims.clone();
        raised["sub"] = json!("spiffe://acme.test.example.com/admin/boss");
        let visits = [
            ("it was given for another service", access_token(&self.worker, "reports", &[], 0).await),
            ("it has no scope for that", access_token(&self.worker, "jobs", &["jobs:submit"], 0).await),
            ("another tenant gave it", access_token(&self.foreign, "jobs", &[], 0).await),
            ("it is another kind of token", svid.into_inner().svid),
            (
                "its signature is another token's",
                format!("{}.{}.{}", parts[0], parts[1], others.split('.').nth(2).unwrap()),
            ),
            ("its claims were changed", format!("{}.{}.{}", parts[0], encoded(&raised), parts[2])),
            ("it has no signature", format!("{}.{}.", encoded(&json!({"alg": "none", "typ": "at+jwt"})), parts[1])),
            ("it is none", "abc".into()),
        ];
        for (what, token) in visits {
            let (status, text) = self.visit(&self.worker, Some(&token), &[]).await;
            assert!(matches!(status, 401 | 403), "{what}: {status} {text}");
        }
        assert_eq!(self.visit(&self.worker, None, &[]).await.0, 401);
        // On a connection of the tenant's, and not its holder's: it is stolen, also once it is known as good.
        assert_eq!(self.visit(&self.worker, Some(good), &[]).await.0, 200);
        let (status, text) = self.visit(&self.second, Some(good), &[]).await;
        assert!(matches!(status, 401 | 403), "stolen: {status} {text}");
        assert_eq!(self.visit(&self.foreign, Some(good), &[]).await.0, 0, "another tenant's certificate");
    }
}

async fn access_token(who: &Identity, audience: &str, scopes: &[&str], lifetime_seconds: u32) -> String {
    let scopes = scopes.iter().map(ToString::to_string).collect();
    let request = CreateAccessTokenRequest { audience: audience.into(), scopes, lifetime_seconds };
    let made = TokenServiceClient::new(who.channel().unwrap()).create_access_token(request).await.unwrap();
    made.into_inner().access_token
}

/// A service that says what it got.
async fn headers(headers: HeaderMap) -> String {
    headers.iter().map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envoy_takes_a_token_on_the_connection_of_its_certificate_alone() {
    let mut site = Site::new().await;
    let rule = format!("{{ uid = \"{}\", executable = \"{}\" }}", nix::unistd::getuid(), envoy_path().await);
    let (agent, _) = site.world.agent(&sections_with("", &[("web-1", &rule)])).await;
    fs::copy(site.world.path("web-1/bundle.pem"), site.world.path("bundle.pem")).unwrap();
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let behind = service.local_addr().unwrap().port().to_string();
    tokio::spawn(async move { axum::serve(service, Router::new().fallback(any(headers))).await });
    let config = site.recipe("envoy-access-tokens.yaml").replace("port_value: 8080", &format!("port_value: {behind}"));
    let mut command = Command::new(envoy_path().await);
    command.args(["--config-yaml", &config, "--concurrency", "1", "--use-dynamic-base-id", "-l", "warning"]);
    site.start(command);

    let (good, short) =
        (access_token(&site.worker, "jobs", &[], 0).await, access_token(&site.worker, "jobs", &[], 10).await);
    site.until(&site.worker, &good, 200).await;
    let (status, seen) = site.visit(&site.worker, Some(&good), &["-H", "X-Token-Sub: forged"]).await;
    assert_eq!(status, 200);
    assert!(seen.contains("x-token-sub: spiffe://acme.test.example.com/worker/w-1\n") && !seen.contains("forged"));
    assert!(!seen.contains("authorization"), "the token is not for the service: {seen}");
    // In HTTP/2 Envoy resets the stream.
    assert_eq!(site.visit(&site.worker, Some(&good), &["--http1.1", "-H", "X_Token_Sub: forged"]).await.0, 400);
    assert_eq!(site.visit(&site.worker, Some(&good), &["-X", "POST"]).await.0, 200);
    assert_eq!(site.visit(&site.worker, Some(&good), &["-X", "DELETE"]).await.0, 403);
    site.refuses_all_others(&good).await;
    site.until(&site.worker, &short, 401).await;
    agent.stop().await;
}

/// An agent with the files of the recipe, and Apache.
async fn apache(site: &mut Site, more: &[&str]) -> Agent {
    let (dir, user) = (site.world.dir.path().display().to_string(), "www-data");
    let (mut key, mut run_as) = (String::new(), String::new());
    if Uid::effective().is_root() {
        key = format!(", key = {{ mode = \"0640\", group = \"{user}\" }}");
        run_as = format!("User {user}\nGroup {user}\n");
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o711)).unwrap();
    }
    let identity = format!(
        "[[identity]]\nname = \"web\"\nenroll = {{ join_token_file = \"web-1.token\" }}\n\
         pem = {{ directory = \"web\", crl = true{key} }}\n"
    );
    let (agent, mut reports) = site.world.agent(&identity).await;
    reports.until("it is well", IdentityReport::is_well).await;
    fs::copy(site.world.path("web/bundle.pem"), site.world.path("bundle.pem")).unwrap();
    fs::create_dir(site.world.path("www")).unwrap();
    fs::write(site.world.path("www/page"), "hello").unwrap();
    fs::write(site.world.path("site.conf"), site.recipe("apache-access-tokens.conf")).unwrap();
    let modules = ["mpm_event", "authn_core", "authz_core", "authz_user", "ssl", "socache_shmcb", "auth_openidc"];
    let modules =
        modules.map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n")).concat();
    let text = format!(
        "ServerName {HOST}\nServerRoot {dir}\nDefaultRuntimeDir {dir}\nPidFile {dir}/apache.pid\n{run_as}\
         ErrorLog {dir}/server.log\n{modules}DocumentRoot {dir}/www\nInclude {dir}/site.conf\n"
    );
    fs::write(site.world.path("apache.conf"), text).unwrap();
    let mut command = Command::new(system("apache2"));
    command.args(["-D", "FOREGROUND", "-f", &format!("{dir}/apache.conf")]).args(more);
    site.start(command);
    agent
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apache_takes_a_token_on_the_connection_of_its_certificate_alone() {
    let mut site = Site::new().await;
    let agent = apache(&mut site, &[]).await;
    let (good, short) =
        (access_token(&site.worker, "jobs", &[], 0).await, access_token(&site.worker, "jobs", &[], 10).await);
    site.until(&site.worker, &good, 200).await;
    assert_eq!(site.visit(&site.worker, Some(&good), &[]).await, (200, "hello".into()));
    site.refuses_all_others(&good).await;
    site.until(&site.worker, &short, 401).await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apache_that_asks_about_each_token_refuses_the_suspended() {
    let mut site = Site::new().await;
    let agent = apache(&mut site, &["-D", "introspect"]).await;
    let good = access_token(&site.worker, "jobs", &[], 0).await;
    site.until(&site.worker, &good, 200).await;
    site.refuses_all_others(&good).await;
    let (tenant_id, principal_id) = ("acme".into(), "w-1".into());
    let suspend = SuspendPrincipalRequest { tenant_id, principal_id, request_id: signet_client::request_id() };
    PrincipalServiceClient::new(site.world.admin()).suspend_principal(suspend).await.unwrap();
    let begun = Instant::now();
    site.until(&site.worker, &good, 401).await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    agent.stop().await;
}
