//! A tenant's own service behind the SDK's layer: who gets in, who does not, and what is open ends with the right to
//! it.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Bytes,
    response::IntoResponse,
    routing::{get, post},
};
use futures::StreamExt;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use signet_client::{Authorizer, Credentials, Identity, IdentitySettings, PeerPolicy, Question, QuestionSubject};
use signet_core::PrincipalType;
use signet_proto::v1::{
    self as pb, Isolation, authorization_service_client::AuthorizationServiceClient as Client, decisions_change::Of,
    principal_service_client::PrincipalServiceClient,
};
use tokio::{net::TcpListener, sync::mpsc, time::timeout};
use tonic::{Code, Streaming, service::Routes, transport::Channel};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_client::HealthClient, health_server::HealthServer,
};

use crate::{
    authorization::{Acme, acme, grant, of_type, rules, set, spiffe},
    world::{Node, World, eventually, reason},
};

const SOON: Duration = Duration::from_secs(5);
const CHECK: &str = "/grpc.health.v1.Health/Check";
const WATCH: &str = "/grpc.health.v1.Health/Watch";

async fn identity(world: &World, node: &Node, credentials: Credentials) -> Identity {
    let endpoint = format!("https://localhost:{}", node.running.grpc_addr.port());
    Identity::adopt(IdentitySettings::new(endpoint, world.roots.clone()), credentials).await.unwrap()
}

/// gRPC's health, whose watch stays open, and a page, each with a permission.
async fn service(identity: &Identity) -> (SocketAddr, Authorizer) {
    let authorizer = identity.authorizer();
    let health = tonic_health::server::HealthService::from_health_reporter(Default::default());
    let health = HealthServer::new(health);
    let by_path = authorizer.require_by_path([(CHECK, "jobs:submit"), (WATCH, "jobs:dequeue")]);
    let forever = || async {
        let lines = futures::stream::once(async { Ok::<_, Infallible>("begun\n") });
        axum::body::Body::from_stream(lines.chain(futures::stream::pending())).into_response()
    };
    let pages = Router::new().route("/events", get(forever)).layer(authorizer.require("jobs:dequeue"));
    let routes = Routes::new(health).into_axum_router().layer(by_path).merge(pages);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, identity) = (listener.local_addr().unwrap(), identity.clone());
    tokio::spawn(async move {
        signet_client::serve(listener, &identity, PeerPolicy::anybody(), routes, std::future::pending()).await.unwrap();
    });
    (address, authorizer)
}

/// The service of `acme/service/api`, and the worker `w-1`, who calls it.
async fn served(acme: &Acme) -> (SocketAddr, Identity, Identity) {
    let api = identity(&acme.world, &acme.node, acme.world.issue(&acme.node, "acme", "api").await).await;
    let (address, _) = service(&api).await;
    let worker = identity(&acme.world, &acme.node, acme.world.issue(&acme.node, "acme", "w-1").await).await;
    (address, worker, api)
}

fn health(identity: &Identity, address: SocketAddr) -> HealthClient<signet_client::LiveChannel> {
    let policy = PeerPolicy::principal(PrincipalType::Service, "api".parse().unwrap());
    HealthClient::new(identity.channel_to(&format!("https://{address}"), policy).unwrap())
}

/// HTTP/1.1 by hand: status, media type and body, as far as it goes on.
async fn page(identity: &Identity, address: SocketAddr, path: &str) -> (StatusCode, hyper::body::Incoming) {
    let config = identity.client_config(PeerPolicy::anybody()).unwrap();
    let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let tls = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get(path).header("host", "localhost").body(Empty::<Bytes>::new()).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    (answer.status(), answer.into_body())
}

async fn end_of(mut stream: Streaming<HealthCheckResponse>) -> tonic::Status {
    let ended = async {
        loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it ended without a word"),
                Err(status) => return status,
            }
        }
    };
    timeout(SOON, ended).await.unwrap()
}

async fn suspend(admin: &Channel, id: &str) {
    let request = pb::SuspendPrincipalRequest {
        tenant_id: "acme".into(),
        principal_id: id.into(),
        request_id: signet_client::request_id(),
    };
    PrincipalServiceClient::new(admin.clone()).suspend_principal(request).await.unwrap();
}

#[tokio::test]
async fn who_lacks_the_permission_is_told_and_an_open_stream_ends_with_it() {
    let acme = acme().await;
    let (world, node) = (&acme.world, &acme.node);
    let grants = vec![grant(of_type(PrincipalType::Worker), &["jobs:dequeue", "jobs:submit"])];
    set(acme.admin.clone(), 0, rules(grants, "")).await.unwrap();
    let (address, worker, _api) = served(&acme).await;
    let user = world.principal(node, "acme", "ann", PrincipalType::User, &[]).await;
    let user = identity(world, node, user).await;
    eventually("the worker is let in", async || {
        health(&worker, address).check(HealthCheckRequest::default()).await.is_ok()
    })
    .await;
    let refused = health(&user, address).check(HealthCheckRequest::default()).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "PERMISSION_MISSING"));
    // A path that nobody named.
    let channel = worker.channel_to(&format!("https://{address}"), PeerPolicy::anybody()).unwrap();
    let unknown = Client::new(channel).check(pb::CheckRequest::default()).await.unwrap_err();
    assert_eq!((unknown.code(), reason(&unknown).as_str()), (Code::PermissionDenied, "UNKNOWN_PERMISSION"));
    let (status, body) = page(&user, address, "/events").await;
    let problem: serde_json::Value = serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap();
    assert_eq!((status, &problem["reason"]), (StatusCode::FORBIDDEN, &"PERMISSION_MISSING".into()));

    let open = async |client: &Identity| {
        health(client, address).watch(HealthCheckRequest::default()).await.unwrap().into_inner()
    };
    let stream = open(&worker).await;
    let (status, mut lines) = page(&worker, address, "/events").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(lines.frame().await.unwrap().unwrap().into_data().unwrap(), "begun\n");
    // The permission goes, and nothing else does.
    let grants = vec![grant(of_type(PrincipalType::Worker), &["jobs:submit"])];
    let changed = Instant::now();
    set(acme.admin.clone(), 1, rules(grants, "")).await.unwrap();
    let status = end_of(stream).await;
    assert_eq!((status.code(), reason(&status).as_str()), (Code::PermissionDenied, "PERMISSION_MISSING"));
    assert!(timeout(SOON, lines.frame()).await.unwrap().unwrap().is_err(), "HTTP has no other word for it");
    assert!(changed.elapsed() < Duration::from_secs(2), "{:?}", changed.elapsed());
    health(&worker, address).check(HealthCheckRequest::default()).await.unwrap();
    acme.node.end().await;
}

/// Tells its name when it is dropped.
struct Told(mpsc::Sender<&'static str>, &'static str);

impl Drop for Told {
    fn drop(&mut self) {
        let _ = self.0.try_send(self.1);
    }
}

/// `/answer` has no end; `/request` is answered at once and then read.
fn endless(ended: &mpsc::Sender<&'static str>) -> Router {
    let (answer, request) = (ended.clone(), ended.clone());
    let answer = || async move {
        let told = Told(answer, "answer");
        let part = move || {
            let _ = &told;
            Ok::<_, Infallible>(Bytes::from_static(&[0; 65536]))
        };
        axum::body::Body::from_stream(futures::stream::repeat_with(part))
    };
    let request = |sent: axum::extract::Request| async move {
        let mut sent = sent.into_body();
        tokio::spawn(async move {
            let _told = Told(request, "request");
            while let Some(Ok(_)) = sent.frame().await {}
        });
        axum::body::Body::from_stream(futures::stream::pending::<Result<Bytes, Infallible>>())
    };
    Router::new().route("/", get(|| async {})).route("/answer", get(answer)).route("/request", post(request))
}

#[tokio::test]
async fn what_nobody_reads_and_what_is_still_sent_ends_with_the_permission() {
    let acme = acme().await;
    set(acme.admin.clone(), 0, rules(vec![grant(of_type(PrincipalType::Worker), &["jobs:dequeue"])], ""))
        .await
        .unwrap();
    let api = identity(&acme.world, &acme.node, acme.world.issue(&acme.node, "acme", "api").await).await;
    let worker = identity(&acme.world, &acme.node, acme.world.issue(&acme.node, "acme", "w-1").await).await;
    let (sender, mut ended) = mpsc::channel(2);
    let routes = endless(&sender).layer(api.authorizer().require("jobs:dequeue"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        signet_client::serve(listener, &api, PeerPolicy::anybody(), routes, std::future::pending()).await.unwrap();
    });
    eventually("the worker is let in", async || page(&worker, address, "/").await.0 == StatusCode::OK).await;

    let mut config = worker.client_config(PeerPolicy::anybody()).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let tls = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap();
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    // Not a byte of an answer is read.
    let (mut client, connection) = builder.initial_stream_window_size(0).handshake(TokioIo::new(tls)).await.unwrap();
    tokio::spawn(connection);
    let parts = futures::stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"part"))), ()))
    });
    let sent = Request::post("https://localhost/request").body(StreamBody::new(parts.boxed()).boxed_unsync()).unwrap();
    let empty = Empty::new().boxed_unsync();
    let asked = Request::get("https://localhost/answer").body(empty).unwrap();
    let (sent, asked) = (client.send_request(sent).await.unwrap(), client.send_request(asked).await.unwrap());
    assert_eq!((sent.status(), asked.status()), (StatusCode::OK, StatusCode::OK));

    set(acme.admin.clone(), 1, rules(vec![grant(of_type(PrincipalType::Worker), &["jobs:submit"])], "")).await.unwrap();
    let changed = Instant::now();
    let mut told = [timeout(SOON, ended.recv()).await.unwrap(), timeout(SOON, ended.recv()).await.unwrap()];
    told.sort_unstable();
    assert_eq!(told, [Some("answer"), Some("request")]);
    assert!(changed.elapsed() < Duration::from_secs(1), "{:?}", changed.elapsed());
    drop((sent, asked));
    acme.node.end().await;
}

#[tokio::test]
async fn a_suspended_principal_loses_its_streams_and_others_keep_theirs() {
    let acme = acme().await;
    let (world, node) = (&acme.world, &acme.node);
    let grants = vec![grant(of_type(PrincipalType::Worker), &["jobs:dequeue", "jobs:submit"])];
    set(acme.admin.clone(), 0, rules(grants, "")).await.unwrap();
    let api = identity(world, node, world.issue(node, "acme", "api").await).await;
    let (address, authorizer) = service(&api).await;
    let worker = identity(world, node, world.issue(node, "acme", "w-1").await).await;
    let other = world.principal(node, "acme", "w-2", PrincipalType::Worker, &[]).await;
    let other = identity(world, node, other).await;
    let open = async |client: &Identity| health(client, address).watch(HealthCheckRequest::default()).await;
    eventually("both are let in", async || open(&worker).await.is_ok() && open(&other).await.is_ok()).await;
    let (mine, mut theirs) = (open(&worker).await.unwrap().into_inner(), open(&other).await.unwrap().into_inner());
    theirs.message().await.unwrap();
    suspend(&acme.admin, "w-1").await;
    assert_eq!(reason(&end_of(mine).await), "PRINCIPAL_DENIED");
    assert!(timeout(Duration::from_millis(300), theirs.message()).await.is_err(), "the other's goes on");
    let question = |id: &str| {
        let id = format!("spiffe://acme.test.example.com/worker/{id}");
        Question::of(QuestionSubject::SpiffeId(id.into()), "jobs:submit".into())
    };
    assert_eq!(authorizer.decide(&question("w-1")).await.reason, "PRINCIPAL_DENIED");
    assert!(authorizer.decide(&question("w-2")).await.allowed);
    acme.node.end().await;
}

#[tokio::test]
async fn answers_survive_a_node_and_are_asked_for_again() {
    let acme = acme().await;
    let grants = vec![grant(of_type(PrincipalType::Worker), &["jobs:dequeue", "jobs:submit"])];
    set(acme.admin.clone(), 0, rules(grants, "")).await.unwrap();
    let (address, worker, _api) = served(&acme).await;
    let open = async || health(&worker, address).watch(HealthCheckRequest::default()).await;
    eventually("it is let in", async || open().await.is_ok()).await;
    let mut stream = open().await.unwrap().into_inner();
    stream.message().await.unwrap();
    acme.node.end().await;
    // The control plane is gone: who was let in goes on, until it has been silent for too long.
    assert!(timeout(Duration::from_millis(500), stream.message()).await.is_err());
    // Who is new cannot be decided about, and is told to retry.
    let other = health(&worker, address).check(HealthCheckRequest::default()).await.unwrap_err();
    assert_eq!((other.code(), reason(&other).as_str()), (Code::Unavailable, "CONTROL_PLANE_UNAVAILABLE"));
}

#[tokio::test]
async fn watchers_hear_whom_a_change_is_about_and_nothing_of_other_tenants() {
    let acme = acme().await;
    let (world, node) = (&acme.world, &acme.node);
    let watch = async |channel: Channel| {
        let mut stream =
            Client::new(channel).watch_decisions(pb::WatchDecisionsRequest::default()).await.unwrap().into_inner();
        assert_eq!(stream.message().await.unwrap().unwrap().of, Some(Of::All(true)), "always first");
        stream
    };
    let next = async |stream: &mut Streaming<pb::DecisionsChange>| {
        timeout(SOON, async {
            loop {
                if let Some(of) = stream.message().await.unwrap().unwrap().of {
                    return of;
                }
            }
        })
        .await
        .unwrap()
    };
    let mut service = watch(acme.service.clone()).await;
    let user = world.principal(node, "acme", "ann", PrincipalType::User, &[]).await;
    let mut user = watch(world.channel(node, &user)).await;
    let worker = world.channel(node, &acme.worker);
    let refused = Client::new(worker).watch_decisions(pb::WatchDecisionsRequest::default()).await.unwrap_err();
    assert_eq!(reason(&refused), "CALLER_TYPE_DENIED", "it would take a service's place");
    // Another tenant's changes come first, and are not heard.
    world.tenant(node, "globex", Isolation::Dedicated).await;
    let foreign = world.principal(node, "globex", "w-9", PrincipalType::Worker, &[]).await;
    let request = pb::RevokeCertificateRequest {
        tenant_id: "globex".into(),
        serial_number: foreign.facts().serial_number.clone(),
        issuer_id: "globex.1".into(),
        reason: pb::RevocationReason::KeyCompromise.into(),
        request_id: signet_client::request_id(),
        ..Default::default()
    };
    pb::certificate_service_client::CertificateServiceClient::new(world.admin(node))
        .revoke_certificate(request)
        .await
        .unwrap();
    world.principal(node, "acme", "w-2", PrincipalType::Worker, &[]).await;
    suspend(&acme.admin, "w-2").await;
    assert_eq!(next(&mut service).await, Of::PrincipalId("w-2".into()));
    assert_eq!(next(&mut user).await, Of::All(true), "who may ask about itself only learns no names");
    set(acme.admin.clone(), 0, rules(vec![grant(of_type(PrincipalType::Worker), &["jobs:submit"])], "")).await.unwrap();
    assert_eq!(next(&mut service).await, Of::All(true));
    acme.node.end().await;
}

#[tokio::test]
async fn an_answer_says_how_long_it_may_be_kept() {
    let acme = acme().await;
    let age = async |resource: &str| {
        let subject = pb::CheckSubject { by: spiffe("worker", "w-1") };
        let resource = pb::CheckResource { r#type: "queue".into(), id: resource.into(), ..Default::default() };
        let request = pb::CheckRequest {
            subject: Some(subject),
            action: "jobs:submit".into(),
            resource: Some(resource),
            ..Default::default()
        };
        Client::new(acme.service.clone()).check(request).await.unwrap().into_inner()
    };
    let mut version = 0;
    for (policies, expire_in, expected) in [
        ("", None, Some(300)),
        ("", Some(60), Some(60)),
        (
            r#"permit (principal, action == Action::"jobs:submit", resource) when { principal.id == "w-1" };"#,
            None,
            Some(300),
        ),
        (
            r#"permit (principal, action == Action::"jobs:submit", resource) when { context.now > datetime("2020-01-01") };"#,
            None,
            None,
        ),
    ] {
        let mut for_a_time = grant(of_type(PrincipalType::Worker), &["jobs:submit"]);
        for_a_time.expire_time = expire_in.map(|seconds| prost_types::Timestamp {
            seconds: signet_client::system_clock()().unix_seconds() + seconds,
            nanos: 0,
        });
        version = set(acme.admin.clone(), version, rules(vec![for_a_time], policies)).await.unwrap().version;
        eventually("the node has the rules", async || age("q").await.model_version == version).await;
        let age = age("q").await.max_age.map(|age| age.seconds + i64::from(age.nanos > 0));
        let is_near = match (age, expected) {
            (Some(age), Some(expected)) => (expected - 5..=expected).contains(&age),
            (found, wanted) => found == wanted,
        };
        assert!(is_near, "{policies:?} {expire_in:?}: {age:?}");
    }
    acme.node.end().await;
}

/// Who asks again and again after its right has ended is denied, and that ends what is open.
#[tokio::test]
async fn a_grant_for_a_time_ends_a_stream_whose_owner_calls_on() {
    let acme = acme().await;
    let mut for_a_time = grant(of_type(PrincipalType::Worker), &["jobs:dequeue", "jobs:submit"]);
    let end = signet_client::system_clock()().unix_seconds() + 4;
    for_a_time.expire_time = Some(prost_types::Timestamp { seconds: end, nanos: 0 });
    set(acme.admin.clone(), 0, rules(vec![for_a_time], "")).await.unwrap();
    let (address, worker, _api) = served(&acme).await;
    let open = async || health(&worker, address).watch(HealthCheckRequest::default()).await;
    eventually("it is let in", async || open().await.is_ok()).await;
    let stream = open().await.unwrap().into_inner();
    eventually("it is denied", async || open().await.is_err()).await;
    let calls = async {
        loop {
            let _ = open().await;
        }
    };
    let status = tokio::select! {
        () = calls => unreachable!("for ever"),
        status = end_of(stream) => status,
    };
    assert_eq!(reason(&status), "PERMISSION_MISSING");
    acme.node.end().await;
}

#[tokio::test]
async fn a_change_of_groups_counts_at_once_on_open_streams_too() {
    let acme = acme().await;
    let to = pb::authorization_grant::To::Group("fleet-a".into());
    set(acme.admin.clone(), 0, rules(vec![grant(to, &["jobs:dequeue", "jobs:submit"])], "")).await.unwrap();
    let group = async |groups: &[&str]| {
        let principal = pb::Principal {
            tenant_id: "acme".into(),
            principal_id: "w-1".into(),
            groups: groups.iter().map(ToString::to_string).collect(),
            ..Default::default()
        };
        let request = pb::UpdatePrincipalRequest {
            principal: Some(principal),
            update_mask: Some(prost_types::FieldMask { paths: vec!["groups".into()] }),
            request_id: signet_client::request_id(),
        };
        PrincipalServiceClient::new(acme.admin.clone()).update_principal(request).await.unwrap();
    };
    let (address, worker, _api) = served(&acme).await;
    let open = async || health(&worker, address).watch(HealthCheckRequest::default()).await;
    eventually("who is in no group is denied", async || {
        open().await.is_err_and(|status| reason(&status) == "PERMISSION_MISSING")
    })
    .await;
    group(&["fleet-a"]).await;
    let taken = eventually("it is let in", async || open().await.is_ok()).await;
    assert!(taken < Duration::from_secs(3), "{taken:?}");
    let stream = open().await.unwrap().into_inner();
    group(&[]).await;
    assert_eq!(reason(&end_of(stream).await), "PERMISSION_MISSING");
    acme.node.end().await;
}

/// The service is of the tenant, and can ask nobody any more.
#[tokio::test]
async fn a_suspended_tenant_loses_its_streams_at_once() {
    let acme = acme().await;
    let (world, node) = (&acme.world, &acme.node);
    let grants = vec![grant(of_type(PrincipalType::Worker), &["jobs:dequeue", "jobs:submit"])];
    set(acme.admin.clone(), 0, rules(grants, "")).await.unwrap();
    let (address, worker, _api) = served(&acme).await;
    let open = async || health(&worker, address).watch(HealthCheckRequest::default()).await;
    eventually("it is let in", async || open().await.is_ok()).await;
    let stream = open().await.unwrap().into_inner();
    let request = pb::SuspendTenantRequest { tenant_id: "acme".into(), request_id: signet_client::request_id() };
    pb::tenant_service_client::TenantServiceClient::new(world.admin(node)).suspend_tenant(request).await.unwrap();
    let status = end_of(stream).await;
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    acme.node.end().await;
}

/// Whoever hears nothing for long believes nothing that it keeps.
#[tokio::test]
async fn a_watcher_hears_of_the_node_however_much_others_change() {
    let acme = acme().await;
    let (world, node) = (&acme.world, &acme.node);
    world.tenant(node, "globex", Isolation::Shared).await;
    let request = pb::WatchDecisionsRequest::default();
    let mut stream = Client::new(acme.service.clone()).watch_decisions(request).await.unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap().unwrap().of, Some(Of::All(true)));
    let others = async {
        for number in 0.. {
            world.principal(node, "globex", &format!("w-{number}"), PrincipalType::Worker, &[]).await;
            let request = pb::SuspendPrincipalRequest {
                tenant_id: "globex".into(),
                principal_id: format!("w-{number}"),
                request_id: signet_client::request_id(),
            };
            PrincipalServiceClient::new(world.admin(node)).suspend_principal(request).await.unwrap();
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let heard = async { stream.message().await.unwrap().unwrap() };
    let heard = tokio::select! {
        () = others => unreachable!("for ever"),
        heard = timeout(Duration::from_secs(9), heard) => heard.unwrap(),
    };
    assert_eq!(heard.of, None, "nothing of others, and that the node is there");
    acme.node.end().await;
}
