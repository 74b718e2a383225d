//! Signed messages over gRPC: secrets on two nodes, what verifiers may have, what a stream tells.

use std::time::Duration;

use signet_core::PrincipalType;
use signet_messages::SigningSecret;
use signet_proto::v1::{
    self as pb, MatchedSecret, authorization_grant::To, message_secrets_change::Of,
    message_service_client::MessageServiceClient as Client, principal_service_client::PrincipalServiceClient,
};
use tokio::time::timeout;
use tonic::{Code, Status, transport::Channel};

use crate::{
    authorization::{rules, set},
    world::{Node, World, eventually, reason},
};

struct Site {
    world: World,
    node: Node,
    other: Node,
    device: signet_client::Credentials,
    service: signet_client::Credentials,
}

impl Site {
    async fn new() -> Self {
        let world = World::new().await;
        let (node, other) = (world.node().await, world.node_apart().await);
        world.tenant(&node, "acme", pb::Isolation::Dedicated).await;
        let device = world.principal(&node, "acme", "sensor-1", PrincipalType::Device, &[]).await;
        let service = world.principal(&node, "acme", "ingest", PrincipalType::Service, &[]).await;
        let site = Self { world, node, other, device, service };
        eventually("the other node knows the tenant", async || {
            site.look(&site.other, "x").await.map_err(|status| status.code()) == Err(Code::NotFound)
        })
        .await;
        site
    }

    /// What the device is told of its own secret there.
    async fn look(&self, node: &Node, _: &str) -> Result<pb::MessageSecret, Status> {
        let mut client = Client::new(self.world.channel(node, &self.device));
        client.get_message_secret(pb::GetMessageSecretRequest::default()).await.map(tonic::Response::into_inner)
    }

    fn service_at(&self, node: &Node) -> Channel {
        self.world.channel(node, &self.service)
    }

    async fn rotate(&self, channel: Channel, now: bool) -> Result<SigningSecret, Status> {
        let (tenant_id, principal_id) = ("acme".into(), "sensor-1".into());
        let request_id = signet_client::request_id();
        let request = pb::RotateMessageSecretRequest { tenant_id, principal_id, now, request_id };
        let made = Client::new(channel).rotate_message_secret(request).await?.into_inner();
        assert_eq!(made.metadata.unwrap().principal_id, "sensor-1");
        Ok(made.secret.parse().unwrap())
    }

    fn signed(&self, secret: &SigningSecret, id: &str) -> pb::SignedMessage {
        let now = signet_client::system_clock()().unix_seconds();
        pb::SignedMessage {
            principal_id: "sensor-1".into(),
            message_id: id.into(),
            timestamp: now.to_string(),
            signature: secret.sign(id, now, b"21.5"),
            body: b"21.5".to_vec(),
        }
    }

    async fn verify(&self, node: &Node, message: pb::SignedMessage) -> pb::VerifyMessageResponse {
        let request = pb::VerifyMessageRequest { message: Some(message), ..Default::default() };
        Client::new(self.service_at(node)).verify_message(request).await.unwrap().into_inner()
    }

    async fn may_fetch(&self) {
        let to = Some(To::PrincipalType(pb::PrincipalType::Service.into()));
        let permissions = vec!["message_secrets.fetch".to_owned()];
        let grants = vec![pb::AuthorizationGrant { to, permissions, ..Default::default() }];
        set(self.world.admin(&self.node), 0, rules(grants, "")).await.unwrap();
    }

    async fn fetch(&self, node: &Node, devices: &[&str]) -> Result<Vec<pb::FetchedMessageSecret>, Status> {
        let principal_ids = devices.iter().map(|id| (*id).to_owned()).collect();
        let request = pb::FetchMessageSecretsRequest { principal_ids, ..Default::default() };
        Ok(Client::new(self.service_at(node)).fetch_message_secrets(request).await?.into_inner().secrets)
    }

    async fn suspend(&self) {
        let request = pb::SuspendPrincipalRequest {
            tenant_id: "acme".into(),
            principal_id: "sensor-1".into(),
            request_id: signet_client::request_id(),
        };
        PrincipalServiceClient::new(self.world.admin(&self.node)).suspend_principal(request).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_makes_its_first_secret_and_no_message_is_accepted_on_two_nodes() {
    let site = Site::new().await;
    let secret = site.rotate(site.world.channel(&site.node, &site.device), false).await.unwrap();
    let message = site.signed(&secret, "msg_1");
    let answers = futures::future::join_all((0..10).map(|number| {
        let node = if number % 2 == 0 { &site.node } else { &site.other };
        site.verify(node, message.clone())
    }))
    .await;
    let accepted: Vec<_> = answers.iter().filter(|answer| answer.verified).collect();
    assert_eq!(accepted.len(), 1);
    assert_eq!(accepted[0].matched, i32::from(MatchedSecret::Current));
    assert!(answers.iter().all(|answer| answer.verified || answer.reason == "MESSAGE_REPLAYED"));
    let own = site.rotate(site.world.channel(&site.other, &site.device), true).await.unwrap_err();
    assert_eq!(reason(&own), "SECRET_HELD");
    // Neither node has to hear of it first.
    let next = site.rotate(site.world.admin(&site.other), false).await.unwrap();
    let before = site.verify(&site.node, site.signed(&secret, "msg_2")).await;
    assert_eq!((before.verified, before.matched), (true, i32::from(MatchedSecret::Previous)));
    assert!(before.grace_expire_time.is_some());
    let waits = site.rotate(site.world.admin(&site.node), false).await.unwrap_err();
    assert_eq!(reason(&waits), "SECRET_IN_GRACE");
    site.rotate(site.world.admin(&site.node), true).await.unwrap();
    let ended = site.verify(&site.other, site.signed(&next, "msg_3")).await;
    assert_eq!((ended.verified, &*ended.reason), (false, "MESSAGE_WRONG_SIGNATURE"));
    let metadata = site.look(&site.other, "").await.unwrap();
    assert!(metadata.previous_secret_id.is_empty() && !metadata.secret_id.is_empty());
    let metrics = site.node.metrics().await;
    assert!(metrics.contains("signet_messages_total{result=\"OK\"}"), "{metrics}");
    site.other.end().await;
    site.node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_cannot_be_keeps_no_other_message_from_its_answer() {
    let site = Site::new().await;
    let secret = site.rotate(site.world.channel(&site.node, &site.device), false).await.unwrap();
    let good = site.signed(&secret, "msg_1");
    let named = |principal_id: &str| pb::SignedMessage { principal_id: principal_id.into(), ..good.clone() };
    let messages = vec![named("NOT AN ID/"), good.clone(), named(""), named("ghost")];
    let request = pb::BatchVerifyMessagesRequest { messages, ..Default::default() };
    let answers = Client::new(site.service_at(&site.node)).batch_verify_messages(request).await.unwrap().into_inner();
    let reasons: Vec<_> = answers.answers.iter().map(|answer| answer.reason.as_str()).collect();
    let unknown = "MESSAGE_SENDER_UNKNOWN";
    assert_eq!(reasons, [unknown, "", unknown, unknown]);
    site.other.end().await;
    site.node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_go_to_services_that_were_granted_them_and_the_log_says_whose() {
    let site = Site::new().await;
    let secret = site.rotate(site.world.channel(&site.node, &site.device), false).await.unwrap();
    let denied = site.fetch(&site.node, &["sensor-1"]).await.unwrap_err();
    assert_eq!((denied.code(), &*reason(&denied)), (Code::PermissionDenied, "PERMISSION_MISSING"));
    let mut admin = Client::new(site.world.admin(&site.node));
    let request = pb::FetchMessageSecretsRequest { principal_ids: vec!["sensor-1".into()], ..Default::default() };
    let denied = admin.fetch_message_secrets(request).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied, "not even an admin sees a device's secret");
    site.may_fetch().await;
    eventually("the grant is known", async || site.fetch(&site.node, &["sensor-1"]).await.is_ok()).await;
    let found = site.fetch(&site.node, &["sensor-1", "ghost"]).await.unwrap();
    assert_eq!(found[0].secret, secret.as_bytes());
    assert_eq!((found[1].secret.len(), &*found[1].reason), (0, "MESSAGE_SENDER_UNKNOWN"));
    let audited = site.world.audit(&site.node, "acme").await;
    let fetched =
        audited.iter().filter(|event| event["operation"] == "FetchMessageSecrets" && event["outcome"] == "OK");
    assert!(fetched.count() >= 2);
    let too_many: Vec<&str> = vec!["sensor-1"; 101];
    assert_eq!(site.fetch(&site.node, &too_many).await.unwrap_err().code(), Code::InvalidArgument);
    site.suspend().await;
    eventually("the other node refuses the device", async || {
        let found = site.verify(&site.other, site.signed(&secret, "late")).await;
        found.reason == "MESSAGE_SENDER_REFUSED"
    })
    .await;
    let found = site.fetch(&site.node, &["sensor-1"]).await.unwrap();
    assert_eq!((found[0].secret.len(), &*found[0].reason), (0, "MESSAGE_SENDER_REFUSED"));
    site.other.end().await;
    site.node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_tells_verifiers_whose_secrets_changed_on_any_node() {
    let site = Site::new().await;
    site.may_fetch().await;
    eventually("the grant is known", async || site.fetch(&site.node, &["sensor-1"]).await.is_ok()).await;
    let mut client = Client::new(site.service_at(&site.node));
    let mut stream = client.watch_message_secrets(pb::WatchMessageSecretsRequest {}).await.unwrap().into_inner();
    let mut next = async || {
        loop {
            let change = timeout(Duration::from_secs(10), stream.message()).await.unwrap().unwrap().unwrap();
            if let Some(of) = change.of {
                return of;
            }
        }
    };
    assert_eq!(next().await, Of::All(true));
    site.rotate(site.world.channel(&site.other, &site.device), false).await.unwrap();
    assert_eq!(next().await, Of::PrincipalId("sensor-1".into()));
    site.suspend().await;
    assert_eq!(next().await, Of::PrincipalId("sensor-1".into()));
    site.other.end().await;
    site.node.end().await;
}
