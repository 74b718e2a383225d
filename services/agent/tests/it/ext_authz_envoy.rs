//! A real Envoy asks the agent about each request, with the recipe, before a plain HTTP service and a gRPC service.

use std::{
    fs,
    path::PathBuf,
    pin::Pin,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Router, http::HeaderMap, routing::any};
use futures::{Stream, StreamExt};
use signet_agent::{
    Agent, Config,
    report::IdentityReport,
    workload_api::wire::sds::{
        DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
        secret_discovery_service_client::SecretDiscoveryServiceClient,
        secret_discovery_service_server::{SecretDiscoveryService, SecretDiscoveryServiceServer},
    },
};
use signet_client::{Identity, PeerPolicy};
use signet_core::PrincipalType as Type;
use signet_proto::v1::PrincipalType;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::{Code, Status, Streaming};

use crate::{
    binary::Process,
    relying_parties::programs::{RECIPES, envoy_path, recipe},
    workload_api::sections_with,
    world::{World, free_port, run},
};

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A gRPC service whose stream answers each message.
struct Echo;

#[tonic::async_trait]
impl SecretDiscoveryService for Echo {
    type DeltaSecretsStream = Answers<DeltaDiscoveryResponse>;
    type StreamSecretsStream = Answers<DiscoveryResponse>;

    async fn delta_secrets(
        &self,
        _: tonic::Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<tonic::Response<Self::DeltaSecretsStream>, Status> {
        Err(Status::unimplemented(""))
    }

    /// The first answer has the headers that say who calls.
    async fn stream_secrets(
        &self,
        request: tonic::Request<Streaming<DiscoveryRequest>>,
    ) -> Result<tonic::Response<Self::StreamSecretsStream>, Status> {
        let caller = request.metadata().get("x-signet-spiffe-id").map(|id| id.to_str().unwrap().to_owned());
        let answers = request.into_inner().map(move |message| {
            let nonce = caller.clone().unwrap_or_default();
            message.map(|message| DiscoveryResponse { version_info: message.version_info, nonce, ..Default::default() })
        });
        Ok(tonic::Response::new(Box::pin(answers)))
    }

    async fn fetch_secrets(
        &self,
        _: tonic::Request<DiscoveryRequest>,
    ) -> Result<tonic::Response<DiscoveryResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

/// Answers with the request's headers, each in a line.
async fn headers(headers: HeaderMap) -> String {
    headers.iter().map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap())).collect()
}

/// The two services behind Envoy: their ports.
async fn upstreams() -> (u16, u16) {
    let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let grpc = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ports = (http.local_addr().unwrap().port(), grpc.local_addr().unwrap().port());
    tokio::spawn(async move { axum::serve(http, Router::new().fallback(any(headers))).await });
    let incoming = futures::stream::unfold(grpc, |grpc| async {
        let connection = grpc.accept().await.map(|(connection, _)| connection);
        Some((connection, grpc))
    });
    let served = tonic::transport::Server::builder().add_service(SecretDiscoveryServiceServer::new(Echo));
    tokio::spawn(served.serve_with_incoming(incoming));
    ports
}

struct Envoy {
    child: Child,
    port: u16,
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Envoy {
    /// With the recipe, changed by `change`.
    async fn start(world: &World, change: impl Fn(String) -> String) -> Self {
        let ((http, grpc), port) = (upstreams().await, free_port());
        let config = recipe(world, "envoy-ext-authz.yaml", port);
        let config = change(config).replace("8080", &http.to_string()).replace("50051", &grpc.to_string());
        let mut command = Command::new(envoy_path().await);
        command.args(["--config-yaml", &config, "--concurrency", "1", "--use-dynamic-base-id", "-l", "warning"]);
        let log = fs::File::create(world.path("envoy.log")).unwrap();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        Self { child, port }
    }

    fn policy() -> PeerPolicy {
        PeerPolicy::principal(Type::Service, "web-1".parse().unwrap())
    }

    /// A connection, as soon as there is one.
    async fn visit(&self, world: &World, client: &Identity) -> Visit {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            match self.connect(client).await {
                Ok(connection) => return connection,
                Err(error) => {
                    let log = || fs::read_to_string(world.path("envoy.log")).unwrap();
                    assert!(Instant::now() < deadline, "Envoy lets nobody in: {error}: {}", log());
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    async fn connect(&self, client: &Identity) -> Result<Visit, String> {
        let connector = TlsConnector::from(Arc::new(client.client_config(Self::policy()).unwrap()));
        let tcp = TcpStream::connect(("127.0.0.1", self.port)).await.map_err(|error| error.to_string())?;
        let tls = connector.connect("any.example".try_into().unwrap(), tcp).await.map_err(|error| error.to_string())?;
        let mut visit = Visit(BufReader::new(tls));
        // TLS 1.3: whether the server takes it shows only in what comes next.
        visit.ask("GET /", &[]).await.map(|_| visit)
    }

    fn endpoint(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }
}

/// A connection over HTTP/1.1 that stays open.
struct Visit(BufReader<TlsStream<TcpStream>>);

impl Visit {
    /// Status and body.
    async fn ask(&mut self, line: &str, headers: &[&str]) -> Result<(u16, String), String> {
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let request = format!("{line} HTTP/1.1\r\nhost: api.example.com\r\ncontent-length: 0\r\n{headers}\r\n");
        self.0.write_all(request.as_bytes()).await.map_err(|error| error.to_string())?;
        let (mut status, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            let read = self.0.read_line(&mut line).await.map_err(|error| error.to_string())?;
            match line.trim_end() {
                _ if read == 0 => return Err("closed".into()),
                "" => break,
                line if status == 0 => status = line.split(' ').nth(1).unwrap().parse().unwrap(),
                line => {
                    length = line.strip_prefix("content-length: ").map_or(length, |length| length.parse().unwrap());
                }
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await.map_err(|error| error.to_string())?;
        Ok((status, String::from_utf8(body).unwrap()))
    }

    async fn get(&mut self, path: &str) -> (u16, String) {
        self.ask(&format!("GET {path}"), &[]).await.unwrap()
    }

    /// The status, and the reason that the body gives.
    async fn denied(&mut self, line: &str) -> (u16, String) {
        let (status, body) = self.ask(line, &[]).await.unwrap_or_else(|error| panic!("{line}: {error}"));
        let body: serde_json::Value = serde_json::from_str(&body).unwrap_or_else(|_| panic!("{status}: {body}"));
        (status, body["reason"].as_str().unwrap().to_owned())
    }
}

/// The configuration of an agent with the recipe's rules, for Envoy alone.
async fn configuration(world: &World) -> PathBuf {
    world.authorize(&["jobs:read", "jobs:submit"], "").await;
    world.token(PrincipalType::Service, "web-1").await;
    let rule = format!("{{ uid = \"{}\", executable = \"{}\" }}", nix::unistd::getuid(), envoy_path().await);
    let rules = fs::read_to_string(format!("{RECIPES}/envoy-ext-authz.toml")).unwrap();
    let rules = rules.replace("jobs.v1.Jobs", "envoy.service.secret.v3.SecretDiscoveryService");
    world.configure(&(sections_with("", &[("web-1", &rule)]) + &rules))
}

async fn agent(world: &World) -> Agent {
    Agent::start(Config::load(&configuration(world).await).unwrap()).await.unwrap()
}

fn named(id: &str) -> String {
    format!("spiffe://acme.test.example.com/worker/{id}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envoy_lets_through_what_the_agent_permits() {
    let world = World::new().await;
    let agent = Process::start(&configuration(&world).await, &[]);
    agent.until("it is well", IdentityReport::is_well).await;
    let envoy = Envoy::start(&world, |config| config).await;
    let worker = world.enrolled("acme", PrincipalType::Worker, "w-1").await;
    let device = world.enrolled("acme", PrincipalType::Device, "d-1").await;
    let mut visit = envoy.visit(&world, &worker).await;

    // Whatever the client says of itself is not what the service sees.
    let spoofed = [
        "x-signet-spiffe-id: spiffe://acme.test.example.com/admin/boss",
        "X-Signet-Spiffe-Id: spiffe://acme.test.example.com/admin/root",
        "X_Signet_Spiffe_Id: spiffe://acme.test.example.com/admin/boss",
        "x-signet_tenant: globex",
        "x-signet-tenant: globex",
        "X-Signet-Principal-Type: admin",
        "x_signet-principal_id: boss",
        "x-http-method-override: DELETE",
        "x-original-url: /admin/",
        // What is named here, some proxies take out.
        "connection: keep-alive, x-signet-tenant",
    ];
    let (status, seen) = visit.ask("GET /jobs/7?all", &spoofed).await.unwrap();
    let ours: Vec<_> = seen.lines().filter(|line| line.replace('_', "-").contains("signet-")).collect();
    let expected = [
        format!("x-signet-spiffe-id: {}", named("w-1")),
        "x-signet-tenant: acme".into(),
        "x-signet-principal-type: worker".into(),
        "x-signet-principal-id: w-1".into(),
    ];
    assert_eq!((status, ours), (200, expected.iter().map(String::as_str).collect()), "{seen}");
    assert!(!seen.contains("override") && !seen.contains("original-url"), "{seen}");

    assert_eq!(visit.ask("POST /queues/default", &[]).await.unwrap().0, 200);
    for (line, status, reason) in [
        ("POST /jobs/7", 403, "NO_AUTHORIZATION_RULE"),
        ("GET /", 403, "NO_AUTHORIZATION_RULE"),
        ("GET /admin/users", 403, "UNKNOWN_PERMISSION"),
        ("GET /jobs/%2e%2e/admin/", 400, "REQUEST_NOT_NORMAL"),
        ("GET /jobs/..%2fadmin", 400, "REQUEST_NOT_NORMAL"),
        ("GET /jobs//7", 400, "REQUEST_NOT_NORMAL"),
        ("GET /jobs/..;/admin", 400, "REQUEST_NOT_NORMAL"),
        ("GET /jobs/%5cadmin", 400, "REQUEST_NOT_NORMAL"),
        ("GET //jobs/7", 400, "REQUEST_NOT_NORMAL"),
    ] {
        // Envoy closes the connection after 400.
        let mut visit = envoy.visit(&world, &worker).await;
        assert_eq!(visit.denied(line).await, (status, reason.to_owned()), "{line}");
    }
    let denied = envoy.visit(&world, &device).await.denied("GET /jobs/7").await;
    assert_eq!(denied, (403, "PERMISSION_MISSING".into()));

    // On the connection that is open.
    world.revoke_leaf(&worker).await;
    let revoked = Instant::now();
    while visit.get("/jobs/7").await.0 == 200 {
        assert!(revoked.elapsed() < Duration::from_secs(1), "the revoked goes on");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(visit.denied("GET /jobs/7").await, (403, "CERTIFICATE_REVOKED".into()));

    // Without the agent, nobody gets in.
    let other = world.enrolled("acme", PrincipalType::Worker, "w-2").await;
    let mut visit = envoy.visit(&world, &other).await;
    assert_eq!(visit.get("/jobs/7").await.0, 200);
    drop(agent);
    assert_eq!(visit.get("/jobs/7").await.0, 503);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_through_envoy_goes_both_ways() {
    let world = World::new().await;
    let agent = agent(&world).await;
    let envoy = Envoy::start(&world, |config| config).await;
    let worker = world.enrolled("acme", PrincipalType::Worker, "w-1").await;
    let device = world.enrolled("acme", PrincipalType::Device, "d-1").await;
    envoy.visit(&world, &worker).await;

    let client = |identity: &Identity| {
        SecretDiscoveryServiceClient::new(identity.channel_to(&envoy.endpoint(), Envoy::policy()).unwrap())
    };
    let (requests, mut queue) = tokio::sync::mpsc::unbounded_channel();
    let stream = futures::stream::poll_fn(move |cx| queue.poll_recv(cx));
    let say = |word: &str| requests.send(DiscoveryRequest { version_info: word.into(), ..Default::default() }).unwrap();
    say("one");
    let mut answers = client(&worker).stream_secrets(stream).await.unwrap().into_inner();
    for next in ["two", "three", ""] {
        let answer = tokio::time::timeout(Duration::from_secs(10), answers.message()).await.unwrap().unwrap().unwrap();
        assert_eq!(answer.nonce, named("w-1"));
        let expected = ["one", "two", "three"][["two", "three", ""].iter().position(|word| *word == next).unwrap()];
        assert_eq!(answer.version_info, expected);
        say(next);
    }

    // What Envoy makes of a denial for a gRPC client.
    let denied = client(&device).stream_secrets(futures::stream::empty()).await.unwrap_err();
    assert!(denied.code() == Code::PermissionDenied && denied.message().contains("PERMISSION_MISSING"), "{denied:?}");
    let denied = client(&worker).fetch_secrets(DiscoveryRequest::default()).await.unwrap_err();
    assert_eq!(denied.code(), Code::Unimplemented, "the service itself");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_shows_envoy_no_certificate_is_asked_for_one() {
    let world = World::new().await;
    let agent = agent(&world).await;
    let not_required =
        |config: String| config.replace("require_client_certificate: true", "require_client_certificate: false");
    let envoy = Envoy::start(&world, not_required).await;
    let worker = world.enrolled("acme", PrincipalType::Worker, "w-1").await;
    envoy.visit(&world, &worker).await;
    let url = format!("{}/jobs/7", envoy.endpoint());
    let found = run("curl", &["-sk", "--max-time", "5", "-w", "\n%{http_code} %{content_type}", &url]).await;
    let found = String::from_utf8(found.stdout).unwrap();
    assert!(found.ends_with("\n401 application/problem+json") && found.contains("CERTIFICATE_REQUIRED"), "{found}");
    agent.stop().await;
}
