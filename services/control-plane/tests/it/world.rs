//! An environment in a temporary folder, with as many nodes as a test wants.

use std::{
    future::Future,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;
use signet_client::{Connector, Credentials};
use signet_control_plane::{
    Clock, Config, Running,
    cli::system_clock,
    serve,
    wiring::{self, Wired},
};
use signet_core::{PrincipalType, Time};
use signet_proto::v1::{
    self as pb, certificate_service_client::CertificateServiceClient, principal_service_client::PrincipalServiceClient,
    tenant_service_client::TenantServiceClient,
};
use signet_testbed::{CONFIG, bootstrap};
use signet_x509::KeyAndCsr;
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt as _, process::Command};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

/// The real clock, which a test may move.
#[derive(Clone, Default)]
pub struct TestClock(Arc<AtomicI64>);

impl TestClock {
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::AcqRel);
    }

    /// Steps by so many milliseconds, forward or back.
    pub fn step(&self, millis: i64) {
        self.0.fetch_add(millis, Ordering::AcqRel);
    }

    pub fn clock(&self) -> Clock {
        let (offset, real) = (Arc::clone(&self.0), system_clock());
        Arc::new(move || Time::from_unix_millis(real().unix_millis() + offset.load(Ordering::Acquire)))
    }
}

pub struct Node {
    pub running: Running,
    pub stop: CancellationToken,
}

impl Node {
    pub async fn end(self) {
        self.stop.cancel();
        self.running.ended().await.unwrap();
    }

    pub async fn http(&self, path: &str) -> (u16, String) {
        http(self.running.public_addr, path).await
    }

    /// What a balancer's check with these first bytes is answered.
    pub async fn checked(&self, first: &[u8]) -> (u16, String) {
        http_after(self.running.health_addr.unwrap(), first, "/readyz").await
    }

    pub async fn readiness(&self) -> serde_json::Value {
        serde_json::from_str(&self.http("/readyz").await.1).unwrap()
    }

    pub async fn metrics(&self) -> String {
        http(self.running.metrics_addr, "/metrics").await.1
    }

    pub async fn until_ready(&self) {
        eventually("the node is ready", async || self.http("/readyz").await.0 == 200).await;
    }
}

pub use signet_testbed::PASSPHRASE;

pub struct World {
    pub dir: TempDir,
    pub wired: Wired,
    pub admin: Credentials,
    pub roots: Vec<Vec<u8>>,
    config: String,
}

impl World {
    /// An environment, bootstrapped; no node yet.
    pub async fn new() -> Self {
        Self::with_config("").await
    }

    /// The same with more lines of configuration.
    pub async fn with_config(more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("passphrase"), PASSPHRASE).unwrap();
        let config = format!("{CONFIG}\n{more}");
        let wired = wiring::open(&Config::from_toml(&config, dir.path()).unwrap()).await.unwrap();
        let (report, key) = bootstrap(&wired).await;
        let roots = report.admin.root_der.clone();
        let admin = Credentials::new(report.admin.chain_der, roots.clone(), key).unwrap();
        Self { dir, wired, admin, roots, config }
    }

    pub fn config(&self) -> Config {
        Config::from_toml(&self.config, self.dir.path()).unwrap()
    }

    /// A node on the environment.
    pub async fn node(&self) -> Node {
        self.node_of(self.wired.clone(), TestClock::default()).await
    }

    /// A node with a store connection and opened keys of its own, as on another host.
    pub async fn node_apart(&self) -> Node {
        let wired = wiring::open(&self.config()).await.unwrap();
        self.node_of(wired, TestClock::default()).await
    }

    pub async fn node_of(&self, wired: Wired, clock: TestClock) -> Node {
        let stop = CancellationToken::new();
        let running = serve(self.config(), wired, stop.clone(), clock.clock()).await.unwrap();
        let node = Node { running, stop };
        node.until_ready().await;
        node
    }

    pub fn connector(&self, node: &Node, credentials: Option<&Credentials>) -> Connector {
        let endpoint = format!("https://localhost:{}", node.running.grpc_addr.port());
        Connector::new(&endpoint, &self.roots, credentials).unwrap()
    }

    pub fn channel(&self, node: &Node, credentials: &Credentials) -> Channel {
        self.connector(node, Some(credentials)).channel()
    }

    pub fn admin(&self, node: &Node) -> Channel {
        self.channel(node, &self.admin)
    }

    /// Makes a tenant.
    pub async fn tenant(&self, node: &Node, id: &str, isolation: pb::Isolation) {
        self.create(node, pb::Tenant { tenant_id: id.into(), isolation: isolation.into(), ..Default::default() }).await;
    }

    /// Makes a tenant whose principals are suspended by themselves after so many failures; 0: never.
    pub async fn tenant_with_limit(&self, node: &Node, id: &str, isolation: pb::Isolation, failures: u32) {
        let failure_limit = Some(pb::FailureLimit { failures, window_seconds: 300 });
        let tenant =
            pb::Tenant { tenant_id: id.into(), isolation: isolation.into(), failure_limit, ..Default::default() };
        self.create(node, tenant).await;
    }

    async fn create(&self, node: &Node, tenant: pb::Tenant) {
        let id = tenant.tenant_id.clone();
        let request = pb::CreateTenantRequest { tenant: Some(tenant), request_id: signet_client::request_id() };
        TenantServiceClient::new(self.admin(node)).create_tenant(request).await.unwrap();
        assert_eq!(node.http(&format!("/v1/tenants/{id}/bundle.pem")).await.0, 200, "the node knows the tenant");
    }

    /// Makes a principal and its first certificate.
    pub async fn principal(
        &self,
        node: &Node,
        tenant: &str,
        id: &str,
        principal_type: PrincipalType,
        roles: &[&str],
    ) -> Credentials {
        let principal = pb::Principal {
            tenant_id: tenant.into(),
            principal_id: id.into(),
            principal_type: wire_type(principal_type),
            roles: roles.iter().map(ToString::to_string).collect(),
            ..Default::default()
        };
        let request =
            pb::CreatePrincipalRequest { principal: Some(principal), request_id: signet_client::request_id() };
        PrincipalServiceClient::new(self.admin(node)).create_principal(request).await.unwrap();
        self.issue(node, tenant, id).await
    }

    /// Another certificate for a principal.
    pub async fn issue(&self, node: &Node, tenant: &str, id: &str) -> Credentials {
        let KeyAndCsr { key, csr_der } = KeyAndCsr::generate().unwrap();
        let request = pb::IssueCertificateRequest {
            tenant_id: tenant.into(),
            principal_id: id.into(),
            csr_der,
            request_id: signet_client::request_id(),
        };
        let issued = CertificateServiceClient::new(self.admin(node)).issue_certificate(request).await.unwrap();
        let issued = issued.into_inner();
        Credentials::new(issued.chain_der, issued.root_der, key).unwrap()
    }

    /// The payloads of a tenant's audit events, oldest first.
    pub async fn audit(&self, node: &Node, tenant: &str) -> Vec<serde_json::Value> {
        let mut client = pb::audit_service_client::AuditServiceClient::new(self.admin(node));
        let request = pb::ListAuditEventsRequest { tenant_id: tenant.into(), page_size: 1000, ..Default::default() };
        let events = client.list_audit_events(request).await.unwrap().into_inner().events;
        let read = |event: &pb::AuditEvent| {
            let sealed: serde_json::Value = serde_json::from_str(&event.payload_json).unwrap();
            assert_eq!(as_sealed(event.entry.as_ref().expect("an entry")), sealed, "the entry says what the text says");
            sealed
        };
        events.iter().map(read).collect()
    }
}

/// What curl got.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: serde_json::Value,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(of, _)| of == name).map(|(_, value)| value.as_str())
    }

    pub fn reason(&self) -> &str {
        self.body["reason"].as_str().unwrap_or_default()
    }
}

impl World {
    /// Left alone if it is so already: somebody may be reading it.
    pub fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        if std::fs::read(&path).is_ok_and(|there| there == content.as_bytes()) {
            return path;
        }
        std::fs::write(&path, content).unwrap();
        path
    }

    /// curl at the mTLS port with these arguments and this body; over HTTP/1.1 if they do not say otherwise.
    pub async fn curl(
        &self,
        node: &Node,
        who: Option<&Credentials>,
        path: &str,
        more: &[&str],
        body: Option<&str>,
    ) -> Answer {
        let output = self.run_curl(node, who, path, more, body).await;
        assert!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        let body = if body.is_empty() { serde_json::Value::Null } else { serde_json::from_str(body).unwrap() };
        Answer { status, headers, body }
    }

    /// The same where the connection may be cut.
    pub async fn run_curl(
        &self,
        node: &Node,
        who: Option<&Credentials>,
        path: &str,
        more: &[&str],
        body: Option<&str>,
    ) -> std::process::Output {
        let roots = signet_x509::bundle::to_pem(self.roots.iter().map(Vec::as_slice));
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--http1.1", "--max-time", "20", "-D", "-", "--cacert"]).arg(self.file("roots.pem", &roots));
        if let Some(who) = who {
            let name = &who.facts().serial_number;
            curl.arg("--cert").arg(self.file(&format!("{name}.pem"), &who.chain_pem()));
            curl.arg("--key").arg(self.file(&format!("{name}.key"), &who.key_pem()));
        }
        if body.is_some() {
            curl.args(["--data-binary", "@-"]);
        }
        curl.args(more).arg(format!("https://localhost:{}{path}", node.running.grpc_addr.port()));
        curl.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        curl.stderr(std::process::Stdio::piped()).kill_on_drop(true);
        let mut running = curl.spawn().unwrap();
        let mut stdin = running.stdin.take().unwrap();
        // Who is refused early does not read all of it.
        let _ = stdin.write_all(body.unwrap_or_default().as_bytes()).await;
        drop(stdin);
        running.wait_with_output().await.unwrap()
    }
}

/// An event's entry in the form of its text.
fn as_sealed(entry: &pb::AuditEntry) -> serde_json::Value {
    use pb::audit_actor::Actor;
    let actor = match entry.actor.clone().unwrap().actor.unwrap() {
        Actor::Anonymous(_) => json!({ "kind": "anonymous" }),
        Actor::Process(process) => json!({ "kind": "process", "name": process.name }),
        Actor::Principal(of) => json!({
            "kind": "principal", "tenant": of.tenant_id, "principal": of.principal_id, "serial": of.serial_number,
            "principal_type": of.principal_type().as_str_name().trim_start_matches("PRINCIPAL_TYPE_").to_lowercase(),
        }),
    };
    let mut text = json!({ "operation": entry.operation, "actor": actor, "outcome": entry.outcome });
    let told = [
        ("request_id", &entry.request_id),
        ("source", &entry.source_address),
        ("correlation_id", &entry.correlation_id),
    ];
    for (name, value) in told.iter().filter(|(_, value)| !value.is_empty()) {
        text[*name] = json!(value);
    }
    if let Some(of) = &entry.resource {
        text["resource"] = json!({ "kind": of.kind, "id": of.id });
    }
    if !entry.details.is_empty() {
        text["details"] = json!(entry.details);
    }
    text
}

pub fn wire_type(principal_type: PrincipalType) -> i32 {
    PrincipalType::ALL.iter().position(|t| *t == principal_type).unwrap() as i32 + 1
}

/// Asks until it is so; half a minute at most. Returns how long it took.
pub async fn eventually<F: Future<Output = bool>>(what: &str, is_so: impl Fn() -> F) -> Duration {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(30) {
        if is_so().await {
            return started.elapsed();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("not within half a minute: {what}");
}

/// The reason in `google.rpc.ErrorInfo`.
pub fn reason(status: &tonic::Status) -> String {
    use tonic_types::StatusExt;
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

/// GET over plain HTTP: status and body.
pub async fn http(address: std::net::SocketAddr, path: &str) -> (u16, String) {
    http_after(address, &[], path).await
}

/// The same after other bytes.
pub async fn http_after(address: std::net::SocketAddr, first: &[u8], path: &str) -> (u16, String) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let Ok(mut stream) = tokio::net::TcpStream::connect(address).await else { return (0, String::new()) };
    stream.write_all(first).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    // A reset is as good as an end.
    let _ = stream.read_to_string(&mut answer).await;
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    (status, body)
}
