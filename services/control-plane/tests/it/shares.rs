//! One principal, of the lowest type and at the default limits, does what it can to take the node from the others.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{
    StreamExt,
    stream::{self, FuturesUnordered},
};
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, ConfigBuilder, RootCertStore,
    client::WantsClientCert,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, pem::PemObject},
};
use signet_client::Credentials;
use signet_core::PrincipalType;
use signet_proto::v1::{
    self as pb, Isolation, audit_service_client::AuditServiceClient,
    certificate_service_client::CertificateServiceClient, principal_service_client::PrincipalServiceClient,
    trust_service_client::TrustServiceClient,
};
use tokio::{net::TcpStream, task::JoinSet, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::{Code, Request, Status, client::Grpc, transport::Channel};
use tonic_prost::ProstCodec;
use tonic_types::StatusExt;

use crate::{
    status::who_am_i,
    streams::SOON,
    world::{Node, World, eventually, reason},
};

const CONNECTIONS: usize = 16;
const AT_ONCE: usize = 64;
const CHECK: &str = "/grpc.health.v1.Health/Check";
const WHO_AM_I: &str = "/signet.v1.PrincipalService/WhoAmI";
const LIST_CERTIFICATES: &str = "/signet.v1.CertificateService/ListCertificates";

struct Neighbours {
    world: World,
    node: Node,
    attacker: Credentials,
    neighbour: Channel,
    operator: Channel,
}

async fn neighbours() -> Neighbours {
    // Rates have tests of their own; how many calls these make depends on the machine.
    let world = World::with_config("[limits]\ncalls_per_second_per_principal = 10000").await;
    let node = world.node().await;
    for tenant in ["acme", "globex"] {
        world.tenant(&node, tenant, Isolation::Shared).await;
    }
    let attacker = world.principal(&node, "acme", "w-1", PrincipalType::Worker, &[]).await;
    let neighbour = world.principal(&node, "globex", "w-1", PrincipalType::Worker, &[]).await;
    let (neighbour, operator) = (world.channel(&node, &neighbour), world.admin(&node));
    Neighbours { world, node, attacker, neighbour, operator }
}

impl Neighbours {
    /// Whether the others notice nothing, and the operator can suspend the attacker.
    async fn others_go_on(&self) {
        for _ in 0..20 {
            who_am_i(&self.neighbour).await.unwrap();
            who_am_i(&self.operator).await.unwrap();
        }
        let suspend = pb::SuspendPrincipalRequest {
            tenant_id: "acme".into(),
            principal_id: "w-1".into(),
            request_id: signet_client::request_id(),
        };
        PrincipalServiceClient::new(self.operator.clone()).suspend_principal(suspend).await.unwrap();
    }
}

/// A call whose head comes, and whose message does not.
async fn bodiless(channel: Channel, method: &'static str) -> Status {
    let mut client = Grpc::new(channel);
    client.ready().await.unwrap();
    let codec = ProstCodec::<pb::WhoAmIRequest, pb::WhoAmIResponse>::default();
    let nothing = Request::new(stream::pending::<pb::WhoAmIRequest>());
    client.client_streaming(nothing, method.parse().unwrap(), codec).await.map(drop).unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heavy_call_takes_as_many_places_as_it_weighs() {
    let all = neighbours().await;
    let channel = all.world.channel(&all.node, &all.attacker);
    let mut calls: JoinSet<_> = (0..20).map(|_| bodiless(channel.clone(), LIST_CERTIFICATES)).collect();
    // Weight 8 of 128 places.
    for _ in 0..4 {
        let refused = timeout(SOON, calls.join_next()).await.unwrap().unwrap().unwrap();
        assert_eq!(reason(&refused), "PRINCIPAL_BUSY");
    }
    let incomplete = timeout(SOON, calls.join_all()).await.unwrap();
    assert!(incomplete.iter().all(|status| reason(status) == "REQUEST_INCOMPLETE"), "{incomplete:?}");
    all.node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_do_not_come_take_nobody_elses_places() {
    let all = neighbours().await;
    let storm = |calls: &mut JoinSet<Status>| {
        for _ in 0..CONNECTIONS {
            let channel = all.world.channel(&all.node, &all.attacker);
            for _ in 0..AT_ONCE {
                calls.spawn(bodiless(channel.clone(), WHO_AM_I));
            }
        }
    };
    let mut calls = JoinSet::new();
    storm(&mut calls);
    let refused = timeout(SOON, calls.join_next()).await.unwrap().unwrap().unwrap();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "PRINCIPAL_BUSY"));
    let info = refused.get_details_error_info().unwrap();
    assert_eq!((info.metadata["limit"].as_str(), info.metadata["limit_of"].as_str()), ("128", "principal"));
    // What got a place loses it two seconds later.
    let given_up = async {
        while let Some(status) = calls.join_next().await {
            if reason(&status.unwrap()) == "REQUEST_INCOMPLETE" {
                return true;
            }
        }
        false
    };
    assert!(timeout(SOON, given_up).await.unwrap());
    let mut again = JoinSet::new();
    storm(&mut again);
    timeout(SOON, again.join_next()).await.unwrap().unwrap().unwrap();
    // The attacker's suspension among them, which ends its connections.
    all.others_go_on().await;
    all.node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_watches_of_one_principal_leave_the_others_theirs() {
    let all = neighbours().await;
    let mut tries = FuturesUnordered::new();
    for _ in 0..CONNECTIONS {
        let channel = all.world.channel(&all.node, &all.attacker);
        for _ in 0..AT_ONCE {
            let mut client = TrustServiceClient::new(channel.clone());
            tries.push(async move { client.watch_trust_bundle(pb::WatchTrustBundleRequest::default()).await });
        }
    }
    let (mut open, mut refused) = (Vec::new(), 0);
    while let Some(tried) = tries.next().await {
        match tried {
            Ok(stream) => open.push(stream),
            Err(status) => {
                assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "TOO_MANY_STREAMS"));
                refused += 1;
            }
        }
    }
    assert_eq!((open.len(), refused), (128, CONNECTIONS * AT_ONCE - 128));
    let mut watch = TrustServiceClient::new(all.neighbour.clone());
    watch.watch_trust_bundle(pb::WatchTrustBundleRequest::default()).await.unwrap();
    let request = pb::TailAuditEventsRequest { tenant_id: "acme".into(), start_time: None };
    AuditServiceClient::new(all.operator.clone()).tail_audit_events(request).await.unwrap();
    // Health's watch is a stream like others.
    let mut health = tonic_health::pb::health_client::HealthClient::new(all.world.channel(&all.node, &all.attacker));
    let status = health.watch(tonic_health::pb::HealthCheckRequest::default()).await.unwrap_err();
    assert_eq!(reason(&status), "TOO_MANY_STREAMS");
    // Streams that were given up leave their places.
    drop(open);
    eventually("there is room again", async || {
        let mut client = TrustServiceClient::new(all.world.channel(&all.node, &all.attacker));
        client.watch_trust_bundle(pb::WatchTrustBundleRequest::default()).await.is_ok()
    })
    .await;
    all.others_go_on().await;
    all.node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_tail_takes_as_many_places_as_it_weighs() {
    let all = neighbours().await;
    let viewer = all.world.principal(&all.node, "acme", "viewer-1", PrincipalType::User, &["viewer"]).await;
    let mut client = AuditServiceClient::new(all.world.channel(&all.node, &viewer));
    let mut open = Vec::new();
    // Weight 16 of 128 places.
    for _ in 0..8 {
        open.push(client.tail_audit_events(pb::TailAuditEventsRequest::default()).await.unwrap());
    }
    let status = client.tail_audit_events(pb::TailAuditEventsRequest::default()).await.unwrap_err();
    assert_eq!(reason(&status), "TOO_MANY_STREAMS");
    drop(open);
    all.node.end().await;
}

/// A connection with an HTTP/2 window of nothing, on which as many answers as possible wait.
async fn reads_nothing(all: &Neighbours) -> JoinSet<()> {
    let chain = all.attacker.chain_der().iter().map(|der| CertificateDer::from(der.clone())).collect();
    let key = PrivatePkcs8KeyDer::from_pem_slice(all.attacker.key_pem().as_bytes()).unwrap();
    let as_attacker = |builder: ConfigBuilder<ClientConfig, WantsClientCert>| {
        builder.with_client_auth_cert(chain, key.into()).unwrap()
    };
    nobody_reads(&all.world, &all.node, as_attacker, WHO_AM_I).await
}

/// A connection for HTTP/2.
async fn tls(
    world: &World,
    node: &Node,
    authenticate: impl FnOnce(ConfigBuilder<ClientConfig, WantsClientCert>) -> ClientConfig,
) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    world.roots.iter().for_each(|root| roots.add(CertificateDer::from(root.as_slice())).unwrap());
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    let mut config = authenticate(builder);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let tcp = TcpStream::connect(node.running.grpc_addr).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap()
}

fn post<B>(path: &str, body: B) -> http::Request<B> {
    http::Request::post(format!("https://localhost{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(body)
        .unwrap()
}

async fn nobody_reads(
    world: &World,
    node: &Node,
    authenticate: impl FnOnce(ConfigBuilder<ClientConfig, WantsClientCert>) -> ClientConfig,
    path: &'static str,
) -> JoinSet<()> {
    let stream = TokioIo::new(tls(world, node, authenticate).await);
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (sender, connection) = builder.initial_stream_window_size(0).handshake(stream).await.unwrap();
    let mut held = JoinSet::new();
    held.spawn(async move { drop(connection.await) });
    for _ in 0..AT_ONCE {
        let mut sender = sender.clone();
        held.spawn(async move {
            let request = post(path, Full::new(Bytes::from_static(&[0; 5])));
            sender.ready().await.unwrap();
            let answer = sender.send_request(request).await.unwrap();
            assert_eq!(answer.status(), 200);
            std::future::pending::<()>().await;
            drop(answer);
        });
    }
    held
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_reads_keep_their_places_and_nobody_elses() {
    let all = neighbours().await;
    let held = [reads_nothing(&all).await, reads_nothing(&all).await];
    let attacker = all.world.channel(&all.node, &all.attacker);
    eventually(
        "unread answers fill the principal's share",
        async || matches!(who_am_i(&attacker).await, Err(status) if reason(&status) == "PRINCIPAL_BUSY"),
    )
    .await;
    drop(held);
    eventually("the end of its connections gives the places back", async || who_am_i(&attacker).await.is_ok()).await;
    let _held = [reads_nothing(&all).await, reads_nothing(&all).await];
    all.others_go_on().await;
    all.node.end().await;
}

/// The places of strangers are few, and one may open many connections.
#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_that_reads_no_answer_is_cut_at_once() {
    let world = World::new().await;
    let node = world.node().await;
    let mut held = nobody_reads(&world, &node, |builder| builder.with_no_client_auth(), CHECK).await;
    // Only the connection's own task ends. A known caller would have half a minute.
    timeout(Duration::from_secs(20), held.join_next()).await.expect("it is still there").unwrap().unwrap();
    node.end().await;
}

/// curl takes the reset of a stream that it still writes to for a failure.
#[tokio::test(flavor = "multi_thread")]
async fn an_enrollment_that_is_refused_at_the_gate_is_answered_after_its_body() {
    let world = World::with_config("limits = { anonymous_calls_per_second_per_address = 1 }").await;
    let node = world.node().await;
    let stream = tls(&world, &node, |builder| builder.with_no_client_auth()).await;
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    // Ten at once may come, and wait for their bodies.
    let mut calls = Vec::new();
    for _ in 0..12 {
        sender = sender.ready().await.unwrap();
        let enroll = http::Request::post("https://localhost/v1/enroll").body(()).unwrap();
        calls.push(sender.send_request(enroll, false).unwrap());
    }
    // What comes after them on the same connection is answered: they have arrived. It is over the limit as they are.
    let nowhere = http::Request::get("https://localhost/nowhere").body(()).unwrap();
    sender = sender.ready().await.unwrap();
    let answer = sender.send_request(nowhere, true).unwrap().0.await.unwrap();
    assert!([404, 429].contains(&answer.status().as_u16()), "{answer:?}");
    let (mut last, mut body) = calls.pop().unwrap();
    assert!(futures::poll!(&mut last).is_pending(), "it was answered before its body was read");
    body.send_data(Bytes::from_static(b"{}"), true).unwrap();
    assert_eq!(last.await.unwrap().status(), 429);
    node.end().await;
}

/// They ring nobody's pager, however many there are.
#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_broken_off_are_their_callers_fault() {
    let world = World::new().await;
    let node = world.node().await;
    let stream = tls(&world, &node, |builder| builder.with_no_client_auth()).await;
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let reasons = [h2::Reason::REFUSED_STREAM, h2::Reason::CANCEL, h2::Reason::ENHANCE_YOUR_CALM, h2::Reason::NO_ERROR];
    for reason in reasons {
        let mut sender = sender.clone().ready().await.unwrap();
        let (_answer, mut body) = sender.send_request(post(CHECK, ()), false).unwrap();
        body.send_data(Bytes::from_static(&[0, 0, 0, 0, 9, 1]), false).unwrap();
        // What comes after it on the same connection is answered: it has arrived.
        let (answer, mut whole) = sender.send_request(post(CHECK, ()), false).unwrap();
        whole.send_data(Bytes::from_static(&[0; 5]), true).unwrap();
        assert_eq!(answer.await.unwrap().status(), 200);
        body.send_reset(reason);
    }
    let count = async |code: &str| {
        let name = format!("signet_rpc_total{{operation=\"Check\",code=\"{code}\"}} ");
        let metrics = node.metrics().await;
        metrics.lines().find_map(|line| line.strip_prefix(&name).map(|n| n.parse::<u32>().unwrap())).unwrap_or(0)
    };
    let as_theirs = async || {
        let counts = futures::future::join_all(["INVALID_ARGUMENT", "ABORTED", "CANCELLED"].map(&count)).await;
        counts.iter().sum::<u32>() as usize == reasons.len()
    };
    eventually("all are counted", as_theirs).await;
    for code in ["UNKNOWN", "UNAVAILABLE", "INTERNAL"] {
        assert_eq!(count(code).await, 0, "{code}");
    }
    node.end().await;
}

#[tokio::test]
async fn who_may_not_revoke_has_no_more_calls_for_trying() {
    let world = World::with_config("[limits]\ncalls_per_second_per_principal = 1").await;
    let node = world.node().await;
    world.tenant_with_limit(&node, "acme", Isolation::Shared, 0).await;
    let worker = world.principal(&node, "acme", "w-1", PrincipalType::Worker, &[]).await;
    let mut client = PrincipalServiceClient::new(world.channel(&node, &worker));
    let mut reasons = Vec::new();
    for _ in 0..100 {
        let suspend = pb::SuspendPrincipalRequest { principal_id: "w-2".into(), ..Default::default() };
        reasons.push(reason(&client.suspend_principal(suspend).await.unwrap_err()));
    }
    assert!(reasons[0] == "CALLER_TYPE_DENIED" && reasons.contains(&"TOO_MANY_CALLS".into()), "{reasons:?}");
    node.end().await;
}

#[tokio::test]
async fn who_calls_too_often_is_told_so_and_how_much_that_is() {
    let world = World::with_config("[limits]\ncalls_per_second_per_principal = 1").await;
    let node = world.node().await;
    world.tenant(&node, "acme", Isolation::Shared).await;
    let worker = world.principal(&node, "acme", "w-1", PrincipalType::Worker, &[]).await;
    let channel = world.channel(&node, &worker);
    let refused = loop {
        if let Err(status) = who_am_i(&channel).await {
            break status;
        }
    };
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "TOO_MANY_CALLS"));
    let info = refused.get_details_error_info().unwrap();
    assert_eq!((info.metadata["limit"].as_str(), info.metadata["limit_of"].as_str()), ("1", "principal"));
    // It does not lose its certificate over it.
    let mut certificates = CertificateServiceClient::new(channel.clone());
    certificates.get_renewal_info(pb::GetRenewalInfoRequest {}).await.unwrap();
    assert_eq!(reason(&who_am_i(&channel).await.unwrap_err()), "TOO_MANY_CALLS");
    // Nobody else's rate, and never the operator's.
    for _ in 0..50 {
        who_am_i(&world.admin(&node)).await.unwrap();
    }
    node.end().await;
}
