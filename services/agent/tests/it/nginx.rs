//! nginx serves on across rotations, with no failed request, and shows the new certificate. Its clients are the SDK's.

use std::{
    fs,
    process::{Child, Command},
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::pki_types::ServerName;
use signet_client::{Identity, PeerPolicy};
use signet_core::PrincipalType as Type;
use signet_proto::v1::PrincipalType;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::{
    relying_parties::programs::{recipe, system},
    world::{World, eventually, exists, free_port, run},
};

const ROTATIONS: usize = 3;

struct Nginx {
    child: Child,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master ends its workers at SIGTERM.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

/// With the recipe of services/agent/relying-parties.
fn configuration(world: &World, port: u16) -> String {
    let (dir, recipe) = (world.dir.path().display(), recipe(world, "nginx.conf", port));
    format!(
        "user root;\ndaemon off;\nworker_processes 2;\npid {dir}/nginx.pid;\nerror_log {dir}/nginx.log info;\nevents {{}}\n\
         http {{\naccess_log off;\nserver {{\n{recipe}location / {{ return 200 \"hello $ssl_client_s_dn\\n\"; }}\n}}\n}}\n"
    )
}

/// One request on a connection of its own; the server's serial number.
async fn request(client: &Identity, port: u16) -> Result<String, String> {
    let policy = PeerPolicy::principal(Type::Service, "web-1".parse().unwrap());
    let config = Arc::new(client.client_config(policy).unwrap());
    let tcp = TcpStream::connect(("127.0.0.1", port)).await.map_err(|error| format!("connect: {error}"))?;
    let name = ServerName::try_from("any.example").unwrap();
    let tls = TlsConnector::from(config).connect(name, tcp).await;
    let mut tls = tls.map_err(|error| format!("handshake: {error}"))?;
    let serial = client.peer(tls.get_ref().1.peer_certificates()).unwrap().serial.to_string();
    let ask = b"GET / HTTP/1.1\r\nhost: any\r\nconnection: close\r\n\r\n";
    tls.write_all(ask).await.map_err(|error| format!("write: {error}"))?;
    let mut answer = String::new();
    let read = timeout(Duration::from_secs(5), tls.read_to_string(&mut answer)).await;
    read.map_err(|_| "no answer".to_owned())?.map_err(|error| format!("read: {error}"))?;
    if answer.starts_with("HTTP/1.1 200") && answer.contains("CN=w-1") { Ok(serial) } else { Err(answer) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_rotates_without_a_failed_request() {
    let world = World::new().await;
    let token = world.token(PrincipalType::Service, "web-1").await;
    let port = free_port();
    fs::write(world.path("nginx.conf"), configuration(&world, port)).unwrap();
    // Before nginx runs there is nothing to reload.
    let hook = format!(
        "exec = {{ command = [\"/bin/sh\", \"-c\", \"[ ! -s {0}/nginx.pid ] || {1} -c {0}/nginx.conf -s reload\"] }}",
        world.dir.path().display(),
        system("nginx")
    );
    let identities = format!(
        "[[identity]]\nname = \"web\"\nenroll = {{ join_token_file = \"{}\" }}\npem = {{ directory = \"web\", crl = true }}\n{hook}\n",
        token.display()
    );
    let (agent, mut reports) = world.agent(&identities).await;
    // Nothing is told before the lists are there.
    reports.until("it is told", signet_agent::report::IdentityReport::is_well).await;
    let conf = world.path("nginx.conf").display().to_string();
    let tested = run(&system("nginx"), &["-t", "-c", &conf]).await;
    assert!(tested.status.success(), "{}", String::from_utf8_lossy(&tested.stderr));
    let _nginx = Nginx { child: Command::new(system("nginx")).args(["-c", &conf]).spawn().unwrap() };
    eventually("nginx is up", || {
        exists(&world.path("nginx.pid")) && std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    })
    .await;

    let client = world.enrolled("acme", PrincipalType::Worker, "w-1").await;
    let (stop, load) = (tokio_util::sync::CancellationToken::new(), client.clone());
    let ended = stop.clone();
    let load = tokio::spawn(async move {
        let (mut count, mut failed) = (0, Vec::new());
        while !ended.is_cancelled() {
            count += 1;
            failed.extend(request(&load, port).await.err());
        }
        (count, failed)
    });
    for _ in 0..ROTATIONS {
        let serial = reports.renew(&agent, "web").await.serial_number;
        let deadline = Instant::now() + Duration::from_secs(10);
        while request(&client, port).await.as_ref() != Ok(&serial) {
            assert!(Instant::now() < deadline, "nginx does not show {serial}");
        }
    }
    stop.cancel();
    let (count, failed) = load.await.unwrap();
    assert!(failed.is_empty(), "{} of {count} failed: {:?}", failed.len(), failed.first());
    assert!(count > 20, "only {count} requests");
    agent.stop().await;
}
