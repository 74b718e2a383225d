//! Envoy's secret discovery service, rule by rule.

use prost::Message as _;
use signet_agent::{
    Agent,
    report::IdentityReport,
    workload_api::wire::{
        sds::{
            DeltaDiscoveryRequest, DiscoveryRequest, DiscoveryResponse, Node, Status,
            secret_discovery_service_client::SecretDiscoveryServiceClient,
        },
        tls::{CertificateValidationContext, Secret, SpiffeCertValidatorConfig, secret::Type},
    },
};
use signet_proto::v1::PrincipalType;
use tokio::sync::mpsc;
use tonic::{Code, Streaming};

use crate::{
    workload_api::{connect, sections, us},
    world::{Reports, World},
};

const TYPE: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
const ID: &str = "spiffe://acme.test.example.com/service/web-1";
const DOMAIN: &str = "spiffe://acme.test.example.com";

async fn served(world: &World) -> (Agent, Reports) {
    world.token(PrincipalType::Service, "web-1").await;
    world.agent(&sections(&[("web-1", &us())])).await
}

fn ask(names: &[&str]) -> DiscoveryRequest {
    let resource_names = names.iter().map(ToString::to_string).collect();
    DiscoveryRequest { resource_names, type_url: TYPE.into(), ..Default::default() }
}

fn secrets(answer: &DiscoveryResponse) -> Vec<Secret> {
    assert_eq!(answer.type_url, TYPE);
    let one = |any: &prost_types::Any| {
        assert_eq!(any.type_url, TYPE);
        Secret::decode(any.value.as_slice()).unwrap()
    };
    answer.resources.iter().map(one).collect()
}

async fn fetch(world: &World, request: DiscoveryRequest) -> Result<Vec<Secret>, tonic::Status> {
    let answer = SecretDiscoveryServiceClient::new(connect(world).await).fetch_secrets(request).await?;
    Ok(secrets(answer.get_ref()))
}

fn context(secret: &Secret) -> &CertificateValidationContext {
    let Some(Type::ValidationContext(context)) = &secret.r#type else { panic!("{} is a certificate", secret.name) };
    context
}

fn certificate(secret: &Secret) -> (String, String) {
    let Some(Type::TlsCertificate(one)) = &secret.r#type else { panic!("{} is no certificate", secret.name) };
    let text = |part: &Option<signet_agent::workload_api::wire::tls::DataSource>| {
        String::from_utf8(part.clone().unwrap().inline_bytes).unwrap()
    };
    (text(&one.certificate_chain), text(&one.private_key))
}

/// One stream, both directions.
struct Talk {
    requests: mpsc::UnboundedSender<DiscoveryRequest>,
    answers: Streaming<DiscoveryResponse>,
}

impl Talk {
    async fn open(world: &World, first: DiscoveryRequest) -> Self {
        let (requests, mut queue) = mpsc::unbounded_channel();
        requests.send(first).unwrap();
        let stream = futures::stream::poll_fn(move |cx| queue.poll_recv(cx));
        let mut client = SecretDiscoveryServiceClient::new(connect(world).await);
        Self { requests, answers: client.stream_secrets(stream).await.unwrap().into_inner() }
    }

    async fn next(&mut self) -> DiscoveryResponse {
        let answer = tokio::time::timeout(std::time::Duration::from_secs(10), self.answers.message());
        answer.await.unwrap().unwrap().unwrap()
    }

    fn acknowledge(&self, answer: &DiscoveryResponse, names: &[&str]) {
        let (version_info, response_nonce) = (answer.version_info.clone(), answer.nonce.clone());
        self.requests.send(DiscoveryRequest { version_info, response_nonce, ..ask(names) }).unwrap();
    }
}

#[tokio::test]
async fn names_are_spires_and_unknown_ones_are_refused() {
    let world = World::new().await;
    let (agent, _) = served(&world).await;
    let all = fetch(&world, ask(&["default", ID, "ROOTCA", "ALL", DOMAIN])).await.unwrap();
    let names: Vec<_> = all.iter().map(|secret| secret.name.as_str()).collect();
    assert_eq!(names, ["default", ID, "ROOTCA", "ALL", DOMAIN]);
    let (chain, key) = certificate(&all[0]);
    assert_eq!((chain.clone(), key.clone()), certificate(&all[1]));
    assert!(chain.matches("BEGIN CERTIFICATE").count() == 2 && key.starts_with("-----BEGIN PRIVATE KEY"));
    let bundle = std::fs::read(world.path("web-1/bundle.pem")).unwrap();
    for secret in &all[2..] {
        let context = context(secret);
        assert_eq!(context.trusted_ca.as_ref().unwrap().inline_bytes, bundle);
        assert!(
            context.crl.is_none() && context.only_verify_leaf_cert_crl && context.custom_validator_config.is_none()
        );
    }
    let none: Vec<_> = fetch(&world, ask(&[])).await.unwrap().into_iter().map(|secret| secret.name).collect();
    assert_eq!(none, [ID, DOMAIN], "no name asks for all");
    for request in [
        ask(&["default", "nobody"]),
        ask(&["spiffe://globex.test.example.com"]),
        DiscoveryRequest { type_url: "type.googleapis.com/other".into(), ..ask(&["default"]) },
    ] {
        let status = fetch(&world, request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    }
    agent.stop().await;
}

#[tokio::test]
async fn the_spiffe_validator_is_there_for_who_asks() {
    let world = World::new().await;
    let (agent, _) = served(&world).await;
    let kind = Some(prost_types::value::Kind::BoolValue(true));
    let fields = [("spiffe_cert_validation".to_owned(), prost_types::Value { kind })].into();
    let node = Some(Node { id: "envoy".into(), metadata: Some(prost_types::Struct { fields }) });
    let all = fetch(&world, DiscoveryRequest { node, ..ask(&["ROOTCA"]) }).await.unwrap();
    let config = context(&all[0]).custom_validator_config.clone().unwrap();
    assert_eq!(config.name, "envoy.tls.cert_validator.spiffe");
    let config = SpiffeCertValidatorConfig::decode(config.typed_config.unwrap().value.as_slice()).unwrap();
    assert_eq!(config.trust_domains[0].name, "acme.test.example.com");
    agent.stop().await;
}

#[tokio::test]
async fn each_change_has_a_version_and_each_answer_a_nonce() {
    let world = World::new().await;
    let (agent, mut reports) = served(&world).await;
    reports.until("it is well", IdentityReport::is_well).await;
    let mut talk = Talk::open(&world, ask(&["default"])).await;
    let first = talk.next().await;
    talk.acknowledge(&first, &["default"]);
    assert!(agent.renew("web-1"));
    let second = talk.next().await;
    assert!(first.version_info != second.version_info && first.nonce != second.nonce);
    assert_ne!(certificate(&secrets(&first)[0]), certificate(&secrets(&second)[0]));
    // Stale: what it asks for is ignored.
    talk.acknowledge(&first, &["nobody"]);
    // Refused, and asking for something else at once.
    let (version_info, response_nonce) = (first.version_info.clone(), second.nonce.clone());
    let error_detail = Some(Status { code: 13, message: "bad".into() });
    let refusal = DiscoveryRequest { version_info, response_nonce, error_detail, ..ask(&["ROOTCA", "default"]) };
    talk.requests.send(refusal).unwrap();
    let third = talk.next().await;
    let names: Vec<_> = secrets(&third).into_iter().map(|secret| secret.name).collect();
    assert_eq!((names.len(), &third.version_info), (2, &second.version_info));
    assert_ne!(third.nonce, second.nonce);
    // The same names in another order are no change; others that it may not have end the stream.
    talk.acknowledge(&third, &["default", "ROOTCA"]);
    talk.acknowledge(&third, &["nobody"]);
    assert_eq!(talk.answers.message().await.unwrap_err().code(), Code::InvalidArgument);
    agent.stop().await;
}

#[tokio::test]
async fn deltas_are_not_offered_and_strangers_get_nothing() {
    let world = World::new().await;
    world.token(PrincipalType::Service, "web-1").await;
    let (agent, _) = world.agent(&sections(&[("web-1", "{ uid = \"4242\" }")])).await;
    assert_eq!(fetch(&world, ask(&["ROOTCA"])).await.unwrap_err().code(), Code::PermissionDenied);
    let mut client = SecretDiscoveryServiceClient::new(connect(&world).await);
    let delta = client.delta_secrets(futures::stream::iter([DeltaDiscoveryRequest {}])).await;
    assert_eq!(delta.unwrap_err().code(), Code::PermissionDenied);
    agent.stop().await;

    let (agent, _) = world.agent(&sections(&[("web-1", &us())])).await;
    let mut client = SecretDiscoveryServiceClient::new(connect(&world).await);
    let delta = client.delta_secrets(futures::stream::iter([DeltaDiscoveryRequest {}])).await;
    assert_eq!(delta.unwrap_err().code(), Code::Unimplemented);
    agent.stop().await;
}

#[tokio::test]
async fn an_answer_is_no_longer_than_what_there_is() {
    let world = World::new().await;
    let (agent, _) = served(&world).await;
    assert_eq!(fetch(&world, ask(&["default"; 1500])).await.unwrap().len(), 1);
    let many: Vec<_> = (0..1000).map(|number| number.to_string()).collect();
    let status = fetch(&world, ask(&many.iter().map(String::as_str).collect::<Vec<_>>())).await.unwrap_err();
    assert!(status.code() == Code::InvalidArgument && status.message().contains("1000 names"), "{status:?}");
    let status = fetch(&world, ask(&["x".repeat(140_000).as_str()])).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    agent.stop().await;
}
