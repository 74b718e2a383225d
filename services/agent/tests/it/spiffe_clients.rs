//! Unmodified SPIFFE libraries of others take their identities from the agent.

use std::{
    env,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
};

use rustls::pki_types::ServerName;
use signet_agent::report::IdentityReport;
use signet_proto::v1::PrincipalType;
use spiffe::{X509Source, X509Svid, x509_source::SvidPicker};
use spiffe_rustls::{authorizer, mtls_client, mtls_server};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::{
    workload_api::{sections, us},
    world::World,
};

/// A command of scripts/judges.
pub(crate) fn judge(name: &str) -> PathBuf {
    let folder = env::var_os("SIGNET_JUDGES")
        .unwrap_or_else(|| panic!("SIGNET_JUDGES is not set: export SIGNET_JUDGES=$(scripts/judges)"));
    PathBuf::from(folder).join(name)
}

/// What the agent says, by the PyPI package `spiffe`; then each serial number that its stream brings.
const PYTHON: &str = "import sys, threading
from spiffe import WorkloadApiClient
client = WorkloadApiClient(sys.argv[1])
svid = client.fetch_x509_svid()
bundle = client.fetch_x509_bundles().get_bundle_for_trust_domain(svid.spiffe_id.trust_domain)
print(svid.spiffe_id, len(svid.cert_chain), len(bundle.x509_authorities), flush=True)
def update(context):
    print(format(context.default_svid.leaf.serial_number, '032x'), flush=True)
client.stream_x509_contexts(update, lambda error: print(error, flush=True))
threading.Event().wait()";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pythons_spiffe_reads_it_and_follows_a_renewal() {
    let world = World::new().await;
    world.token(PrincipalType::Worker, "w-1").await;
    // By the program's file, too.
    let python = std::fs::canonicalize(judge("python")).unwrap();
    let rule = format!("{{ uid = \"{}\", executable = \"{}\" }}", nix::unistd::getuid(), python.display());
    let (agent, mut reports) = world.agent(&sections(&[("w-1", &rule)])).await;
    let first = reports.until("it is well", IdentityReport::is_well).await[0].clone();
    let mut command = Command::new(judge("python"));
    command.args(["-c", PYTHON]).arg(format!("unix://{}", world.path("workload.sock").display()));
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut line = move || lines.next().unwrap_or_else(|| panic!("it has ended")).unwrap();
    let read = tokio::task::spawn_blocking(move || ((line(), line()), line)).await.unwrap();
    let ((told, serial), line) = read;
    assert_eq!(told, "spiffe://acme.test.example.com/worker/w-1 2 1");
    assert_eq!(serial, first.serial_number);
    let renewed = reports.renew(&agent, "w-1").await.serial_number;
    assert_eq!(tokio::task::spawn_blocking(line).await.unwrap(), renewed);
    child.kill().unwrap();
    child.wait().unwrap();
    agent.stop().await;
}

struct ByHint(&'static str);

impl SvidPicker for ByHint {
    fn pick_svid(&self, svids: &[Arc<X509Svid>]) -> Option<usize> {
        svids.iter().position(|svid| svid.hint() == Some(self.0))
    }
}

async fn source(world: &World, hint: &'static str) -> X509Source {
    let endpoint = format!("unix://{}", world.path("workload.sock").display());
    X509Source::builder().endpoint(endpoint).picker(ByHint(hint)).build().await.unwrap()
}

/// Whether a client that wants the server to be `expected` gets an answer.
async fn meet(server: &X509Source, client: &X509Source, expected: &str) -> Result<String, String> {
    let accepts = mtls_server(server.clone()).authorize(authorizer::any()).build().unwrap();
    let connects = mtls_client(client.clone()).authorize(authorizer::exact([expected]).unwrap()).build().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        if let Ok(mut tls) = TlsAcceptor::from(Arc::new(accepts)).accept(tcp).await {
            tls.write_all(b"hello").await.unwrap();
            let _ = tls.shutdown().await;
        }
    });
    let tcp = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("any.example").unwrap();
    let tls = TlsConnector::from(Arc::new(connects)).connect(name, tcp).await;
    let mut text = String::new();
    let mut tls = tls.map_err(|error| error.to_string())?;
    tls.read_to_string(&mut text).await.map_err(|error| error.to_string())?;
    serving.await.unwrap();
    Ok(text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rusts_spiffe_serves_and_calls_with_it() {
    let world = World::new().await;
    world.token(PrincipalType::Service, "web-1").await;
    world.token(PrincipalType::Worker, "w-1").await;
    let us = us();
    let (agent, _) = world.agent(&sections(&[("web-1", &us), ("w-1", &us)])).await;
    let (web, worker) = (source(&world, "web-1").await, source(&world, "w-1").await);
    let id = |path: &str| format!("spiffe://acme.test.example.com/{path}");
    assert_eq!(meet(&web, &worker, &id("service/web-1")).await.as_deref(), Ok("hello"));
    // X509-SVID section 4.4: either may be the server.
    assert_eq!(meet(&worker, &web, &id("worker/w-1")).await.as_deref(), Ok("hello"));
    assert!(meet(&worker, &web, &id("service/web-1")).await.is_err(), "somebody else");
    web.shutdown().await;
    worker.shutdown().await;
    agent.stop().await;
}
