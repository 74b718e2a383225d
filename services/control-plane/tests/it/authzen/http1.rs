//! HTTP/1.1 on the mTLS port.

use std::{sync::Arc, time::Duration};

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, pem::PemObject as _};
use signet_proto::v1::{self as pb, principal_service_client::PrincipalServiceClient};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{EVALUATION, METADATA, Pdp};

const SOON: Duration = Duration::from_secs(5);

/// The worker's connection, which names no protocol.
async fn connection(pdp: &Pdp) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    pdp.world.roots.iter().for_each(|root| roots.add(CertificateDer::from(root.as_slice())).unwrap());
    let chain = pdp.worker.chain_der().iter().map(|der| CertificateDer::from(der.clone())).collect();
    let key = PrivatePkcs8KeyDer::from_pem_slice(pdp.worker.key_pem().as_bytes()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key.into())
        .unwrap();
    let tcp = TcpStream::connect(pdp.node.running.grpc_addr).await.unwrap();
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), tcp).await.unwrap()
}

async fn is_answered(tls: &mut TlsStream<TcpStream>) {
    tls.write_all(format!("GET {METADATA} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        answer.push(timeout(SOON, tls.read_u8()).await.unwrap().unwrap());
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
}

/// Reads to the end of the connection, which is soon; a cut is as good as an end.
async fn is_closed(mut tls: TlsStream<TcpStream>) {
    let mut rest = Vec::new();
    drop(timeout(SOON, tls.read_to_end(&mut rest)).await.expect("it is still open"));
}

#[tokio::test]
async fn who_is_refused_from_now_on_is_cut() {
    let pdp = Pdp::new().await;
    let mut tls = connection(&pdp).await;
    is_answered(&mut tls).await;
    let suspend = pb::SuspendPrincipalRequest {
        tenant_id: "acme".into(),
        principal_id: "w-1".into(),
        request_id: signet_client::request_id(),
    };
    let admin = pdp.world.channel(&pdp.node, &pdp.admin);
    PrincipalServiceClient::new(admin).suspend_principal(suspend).await.unwrap();
    is_closed(tls).await;
    pdp.node.end().await;
}

#[tokio::test]
async fn a_connection_ends_at_its_age_and_with_its_node() {
    let pdp = Pdp::with_config("limits = { max_connection_age_seconds = 2 }").await;
    let mut tls = connection(&pdp).await;
    is_answered(&mut tls).await;
    is_closed(tls).await;
    pdp.node.end().await;
    let pdp = Pdp::new().await;
    let mut tls = connection(&pdp).await;
    is_answered(&mut tls).await;
    timeout(SOON, pdp.node.end()).await.expect("it waits for an idle connection");
    is_closed(tls).await;
}

#[tokio::test]
async fn grpc_needs_http_2_and_says_so() {
    let pdp = Pdp::new().await;
    let method = "/signet.v1.AuthorizationService/Check";
    let grpc = ["-H", "content-type: application/grpc", "-H", "te: trailers"];
    for (path, args) in [(method, &grpc[..]), (method, &[]), ("/no.such.Service/Method", &grpc)] {
        let answer = pdp.curl(Some(&pdp.service), path, args, Some("\0\0\0\0\0")).await;
        assert_eq!((answer.status, answer.reason()), (505, "NO_HTTP2"), "{path}: {answer:?}");
    }
    let nowhere = pdp.curl(Some(&pdp.service), "/nowhere", &[], None).await;
    assert_eq!((nowhere.status, nowhere.reason()), (404, "NOT_FOUND"));
    // The wrong method of a path that is there.
    assert_eq!(pdp.curl(Some(&pdp.service), EVALUATION, &[], None).await.status, 405);
    // Enrollment is there too.
    let enroll = pdp.curl(None, "/v1/enroll", &["-H", super::JSON], Some("{}")).await;
    assert_eq!((enroll.status, enroll.reason()), (400, "INVALID_JSON"));
    pdp.node.end().await;
}
