//! The service before a real control plane: who may what, and when an open stream ends.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use job_service::{
    app,
    v1::{
        CancelJobRequest, CompleteJobRequest, DequeueJobRequest, Event, JobState, ListJobsRequest, PublishEventRequest,
        StreamEventsRequest, SubmitJobRequest, job_service_client::JobServiceClient,
    },
};
use signet_client::{Identity, LiveChannel, PeerPolicy, serve};
use signet_proto::v1::{
    self as pb, PrincipalType, authorization_grant::To, authorization_service_client::AuthorizationServiceClient,
    principal_service_client::PrincipalServiceClient,
};
use signet_testbed::Environment;
use tokio::{net::TcpListener, time::timeout};
use tonic::{Code, Status};
use tonic_types::StatusExt;

const SOON: Duration = Duration::from_secs(5);

struct World {
    environment: Environment,
    address: SocketAddr,
    _service: Identity,
}

type Client = JobServiceClient<LiveChannel>;

impl World {
    async fn new() -> Self {
        let environment = Environment::start("tokens = { issuer = \"https://id.example.com\" }").await;
        environment.tenant("acme").await;
        set_rules(&environment, 0, "").await;
        let service = environment.enrolled("acme", PrincipalType::Service, "jobs").await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (identity, app) = (service.clone(), app(&Arc::default(), &service.authorizer()));
        tokio::spawn(async move {
            serve(listener, &identity, PeerPolicy::anybody(), app, std::future::pending()).await.unwrap();
        });
        Self { environment, address, _service: service }
    }

    async fn client(&self, kind: PrincipalType, id: &str) -> (Client, Identity) {
        let identity = self.environment.enrolled("acme", kind, id).await;
        let channel = identity.channel_to(&format!("https://{}", self.address), PeerPolicy::anybody()).unwrap();
        (JobServiceClient::new(channel), identity)
    }
}

/// Those of rules.toml without what grants `without`.
async fn set_rules(environment: &Environment, base_version: u32, without: &str) {
    let file: toml::Table = include_str!("../../rules.toml").parse().unwrap();
    let text = |value: &toml::Value| value.as_str().unwrap().to_owned();
    let described = file["permissions"].as_table().unwrap();
    let grant = |grant: &toml::Value| {
        let (_, of) = grant["to"].as_str().unwrap().split_once(':').unwrap();
        let of = PrincipalType::from_str_name(&format!("PRINCIPAL_TYPE_{}", of.to_uppercase())).unwrap();
        let permissions = grant["permissions"].as_array().unwrap().iter().map(text);
        pb::AuthorizationGrant {
            to: Some(To::PrincipalType(of.into())),
            permissions: permissions.filter(|permission| permission != without).collect(),
            expire_time: None,
        }
    };
    let rules = pb::AuthorizationRules {
        permissions: described.iter().map(|(name, line)| (name.clone(), text(line))).collect(),
        grants: file["grants"].as_array().unwrap().iter().map(grant).collect(),
        policies: text(&file["policies"]),
        ..Default::default()
    };
    let request = pb::SetAuthorizationModelRequest {
        tenant_id: "acme".into(),
        rules: Some(rules),
        base_version,
        request_id: signet_client::request_id(),
        ..Default::default()
    };
    AuthorizationServiceClient::new(environment.admin()).set_authorization_model(request).await.unwrap();
}

fn denied<T>(answer: Result<T, Status>, reason: &str) {
    let Err(status) = answer else { panic!("it was allowed, and {reason} was expected") };
    let told = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
    assert_eq!((status.code(), told.as_str()), (Code::PermissionDenied, reason), "{status:?}");
}

fn task(name: &str) -> SubmitJobRequest {
    SubmitJobRequest { task: name.into() }
}

#[tokio::test]
async fn each_type_does_what_the_rules_say() {
    let world = World::new().await;
    let (mut ann, _ann) = world.client(PrincipalType::User, "ann").await;
    let (mut bob, _bob) = world.client(PrincipalType::User, "bob").await;
    let (mut worker, _worker) = world.client(PrincipalType::Worker, "w-1").await;
    let (mut admin, _admin) = world.client(PrincipalType::Admin, "boss").await;
    let (mut billing, _billing) = world.client(PrincipalType::Service, "billing").await;
    let first = ann.submit_job(task("render")).await.unwrap().into_inner();
    assert_eq!((first.submitter.as_str(), first.state()), ("ann", JobState::Waiting));
    let second = billing.submit_job(task("invoice")).await.unwrap().into_inner();
    denied(worker.submit_job(task("mine")).await, "PERMISSION_MISSING");
    denied(ann.dequeue_job(DequeueJobRequest {}).await, "PERMISSION_MISSING");
    denied(billing.list_jobs(ListJobsRequest {}).await, "PERMISSION_MISSING");
    let taken = worker.dequeue_job(DequeueJobRequest {}).await.unwrap().into_inner();
    assert_eq!((taken.job_id, taken.worker.as_str()), (first.job_id, "w-1"));
    worker.complete_job(CompleteJobRequest { job_id: taken.job_id }).await.unwrap();
    // Users cancel their own jobs, admins all.
    let third = ann.submit_job(task("resize")).await.unwrap().into_inner();
    denied(bob.cancel_job(CancelJobRequest { job_id: third.job_id }).await, "POLICY_FORBIDS");
    ann.cancel_job(CancelJobRequest { job_id: third.job_id }).await.unwrap();
    admin.cancel_job(CancelJobRequest { job_id: second.job_id }).await.unwrap();
    let states: Vec<_> = admin.list_jobs(ListJobsRequest {}).await.unwrap().into_inner().jobs;
    let states: Vec<_> = states.iter().map(|job| job.state()).collect();
    assert_eq!(states, [JobState::Done, JobState::Cancelled, JobState::Cancelled]);
}

#[tokio::test]
async fn an_open_stream_ends_with_the_permission_and_with_the_principal() {
    let world = World::new().await;
    let (mut admin, _admin) = world.client(PrincipalType::Admin, "boss").await;
    let mut streams = Vec::new();
    for id in ["w-1", "w-2"] {
        let (mut client, identity) = world.client(PrincipalType::Worker, id).await;
        let stream = client.stream_events(StreamEventsRequest {}).await.unwrap().into_inner();
        streams.push((stream, client, identity));
    }
    admin.publish_event(PublishEventRequest { text: "hello".into() }).await.unwrap();
    for (stream, ..) in &mut streams {
        let event = timeout(SOON, stream.message()).await.unwrap().unwrap();
        assert_eq!(event, Some(Event { publisher: "boss".into(), text: "hello".into() }));
    }
    let request = pb::SuspendPrincipalRequest {
        tenant_id: "acme".into(),
        principal_id: "w-1".into(),
        request_id: signet_client::request_id(),
    };
    PrincipalServiceClient::new(world.environment.admin()).suspend_principal(request).await.unwrap();
    denied(timeout(SOON, streams[0].0.message()).await.unwrap(), "PRINCIPAL_DENIED");
    admin.publish_event(PublishEventRequest { text: "still".into() }).await.unwrap();
    let event = timeout(SOON, streams[1].0.message()).await.unwrap().unwrap();
    assert_eq!(event.unwrap().text, "still");
    set_rules(&world.environment, 1, "events:stream").await;
    denied(timeout(SOON, streams[1].0.message()).await.unwrap(), "PERMISSION_MISSING");
}

#[tokio::test]
async fn the_page_for_tokens_wants_one_of_the_connections_certificate() {
    let world = World::new().await;
    let (_, admin) = world.client(PrincipalType::Admin, "boss").await;
    let (_, worker) = world.client(PrincipalType::Worker, "w-1").await;
    let ask = async |identity: &Identity, authorization: Option<axum::http::HeaderValue>| {
        let channel = identity.channel_to(&format!("https://{}", world.address), PeerPolicy::anybody()).unwrap();
        let mut request = axum::http::Request::get("/oauth/summary").body(tonic::body::Body::empty()).unwrap();
        request.headers_mut().extend(authorization.map(|value| (axum::http::header::AUTHORIZATION, value)));
        tower::ServiceExt::oneshot(channel, request).await.unwrap().status()
    };
    let token = admin.tokens().authorization("jobs", &["jobs:list"]).await.unwrap();
    assert_eq!(ask(&admin, Some(token.clone())).await, axum::http::StatusCode::OK);
    assert_eq!(ask(&admin, None).await, axum::http::StatusCode::UNAUTHORIZED);
    assert_eq!(ask(&worker, Some(token)).await, axum::http::StatusCode::UNAUTHORIZED, "stolen");
}
