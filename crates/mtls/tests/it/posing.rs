//! Who passes for the control plane before clients that are not ours: curl, Python, libpq and OpenSSL. A client
//! believes a server if it sends something: curl and libpq compare the name only after the handshake.

use std::{fs, path::Path, process::Stdio, sync::Arc};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use signet_core::PrincipalType;
use signet_mtls::provider;
use signet_x509::pem;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
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

/// How each client is told to connect to `localhost` at `port`, trusting `ca` only.
fn clients(ca: &Path, port: u16) -> [(&'static str, Vec<String>); 4] {
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
    ]
}

/// Which clients believe a server that shows this chain, if they trust `anchor` only.
async fn believers(anchor: &[u8], (chain, key): (&[Vec<u8>], &[u8])) -> Vec<&'static str> {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    fs::write(&ca, pem::encode_certificate(anchor)).unwrap();
    let chain = chain.iter().cloned().map(CertificateDer::from).collect();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.to_vec()));
    let config = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(chain, key).unwrap();
    let (acceptor, listener) = (TlsAcceptor::from(Arc::new(config)), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let mut believers = Vec::new();
    for (program, arguments) in clients(&ca, listener.local_addr().unwrap().port()) {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let mut client = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}"));
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
        client.wait().await.unwrap();
    }
    believers
}

#[tokio::test]
async fn nobody_passes_for_the_control_plane_but_itself() {
    const ALL: [&str; 4] = ["curl", "python3", "psql", "openssl"];
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
    assert_eq!(believers(root, (&chain, &key)).await, ALL, "why nobody outside trusts the root");
}
