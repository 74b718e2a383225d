//! A real Envoy serves and refuses with nothing on disk: certificate, key and anchors come from the agent.

use std::{
    fs,
    process::{Child, Stdio},
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
    relying_parties::programs::{envoy_command, envoy_path},
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envoy_follows_a_renewal_and_admits_whom_its_configuration_names() {
    let world = World::new().await;
    world.token(PrincipalType::Service, "web-1").await;
    let envoy = envoy_path().await;
    let rule = format!("{{ uid = \"{}\", executable = \"{envoy}\" }}", nix::unistd::getuid());
    let (agent, mut reports) = world.agent(&sections_with("", &[("web-1", &rule)])).await;
    let first = reports.until("it is well", IdentityReport::is_well).await[0].serial_number.clone();

    let port = free_port();
    let mut command = envoy_command(&world, port).await;
    let log = fs::File::create(world.path("envoy.log")).unwrap();
    let _envoy = Envoy(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap());

    let client = world.enrolled("acme", PrincipalType::Worker, "w-1").await;
    let device = world.enrolled("acme", PrincipalType::Device, "d-1").await;
    until(&world, &client, port, &first).await;
    assert_eq!(curl(&client, &world, port).await, "hello");
    assert_eq!(curl(&device, &world, port).await, "", "not whom the configuration names");

    let second = reports.renew(&agent, "web-1").await.serial_number;
    until(&world, &client, port, &second).await;
    agent.stop().await;
}
