//! The verifier before a real control plane: it follows secrets and refusals, and asks for what it does not know.

use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue};
use signet_client::{Identity, MessageRefusal, MessageSigner, MessageVerifier, SignedBy, SigningSecret};
use signet_proto::v1::{
    self as pb, PrincipalType, authorization_grant::To, authorization_service_client::AuthorizationServiceClient,
    message_service_client::MessageServiceClient, principal_service_client::PrincipalServiceClient,
};
use signet_testbed::Environment;
use tokio::time::{sleep, timeout};

const SOON: Duration = Duration::from_secs(10);

struct Plant {
    environment: Environment,
    verifier: MessageVerifier,
    _service: Identity,
}

impl Plant {
    async fn new() -> Self {
        let environment = Environment::start("").await;
        environment.tenant("acme").await;
        let to = Some(To::PrincipalType(PrincipalType::Service.into()));
        let permissions = vec!["message_secrets.fetch".to_owned()];
        let grants = vec![pb::AuthorizationGrant { to, permissions, ..Default::default() }];
        let request = pb::SetAuthorizationModelRequest {
            tenant_id: "acme".into(),
            rules: Some(pb::AuthorizationRules { grants, ..Default::default() }),
            request_id: signet_client::request_id(),
            ..Default::default()
        };
        AuthorizationServiceClient::new(environment.admin()).set_authorization_model(request).await.unwrap();
        let service = environment.enrolled("acme", PrincipalType::Service, "ingest").await;
        let verifier = service.messages();
        Self { environment, verifier, _service: service }
    }

    async fn device(&self, id: &str) {
        let principal = pb::Principal {
            tenant_id: "acme".into(),
            principal_id: id.into(),
            principal_type: PrincipalType::Device.into(),
            ..Default::default()
        };
        let request =
            pb::CreatePrincipalRequest { principal: Some(principal), request_id: signet_client::request_id() };
        PrincipalServiceClient::new(self.environment.admin()).create_principal(request).await.unwrap();
    }

    async fn rotate(&self, id: &str, now: bool) -> MessageSigner {
        let request = pb::RotateMessageSecretRequest {
            tenant_id: "acme".into(),
            principal_id: id.into(),
            now,
            request_id: signet_client::request_id(),
        };
        let made = MessageServiceClient::new(self.environment.admin()).rotate_message_secret(request).await.unwrap();
        let secret: SigningSecret = made.into_inner().secret.parse().unwrap();
        MessageSigner::new(secret)
    }

    async fn send(&self, device: &str, signer: &MessageSigner) -> Result<SignedBy, MessageRefusal> {
        let mut headers = HeaderMap::new();
        signer.sign(b"21.5").unwrap().add_to(&mut headers);
        self.verifier.verify(device, &headers, b"21.5").await
    }

    /// Sends until the answer is as it must become.
    async fn until(
        &self,
        device: &str,
        signer: &MessageSigner,
        expected: Result<SignedBy, MessageRefusal>,
    ) -> Duration {
        let began = Instant::now();
        let sending = async {
            while self.send(device, signer).await != expected {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(SOON, sending).await.unwrap_or_else(|_| panic!("{device} is not answered {expected:?}"));
        began.elapsed()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rotations_and_suspensions_are_followed_live() {
    let plant = Plant::new().await;
    plant.device("d1").await;
    // Devices are served as soon as the grant is known to the node.
    let first = plant.rotate("d1", false).await;
    plant.until("d1", &first, Ok(SignedBy::Current)).await;
    let second = plant.rotate("d1", false).await;
    plant.until("d1", &first, Ok(SignedBy::Previous)).await;
    assert_eq!(plant.send("d1", &second).await, Ok(SignedBy::Current));
    let third = plant.rotate("d1", true).await;
    let took = plant.until("d1", &first, Err(MessageRefusal::WrongSignature)).await;
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(plant.send("d1", &third).await, Ok(SignedBy::Current));
    let request = pb::SuspendPrincipalRequest {
        tenant_id: "acme".into(),
        principal_id: "d1".into(),
        request_id: signet_client::request_id(),
    };
    let mut principals = PrincipalServiceClient::new(plant.environment.admin());
    principals.suspend_principal(request).await.unwrap();
    plant.until("d1", &third, Err(MessageRefusal::SenderRefused)).await;
    let request = pb::ActivatePrincipalRequest {
        tenant_id: "acme".into(),
        principal_id: "d1".into(),
        request_id: signet_client::request_id(),
    };
    principals.activate_principal(request).await.unwrap();
    plant.until("d1", &third, Ok(SignedBy::Current)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_good_once_and_whatever_is_changed_is_refused() {
    let plant = Plant::new().await;
    plant.device("d1").await;
    let signer = plant.rotate("d1", false).await;
    plant.until("d1", &signer, Ok(SignedBy::Current)).await;
    let signed = signer.sign(b"21.5").unwrap();
    let headers = || {
        let mut headers = HeaderMap::new();
        signed.add_to(&mut headers);
        headers
    };
    let verify = async |headers: HeaderMap, body: &[u8]| plant.verifier.verify("d1", &headers, body).await;
    assert_eq!(verify(headers(), b"5.21").await, Err(MessageRefusal::WrongSignature));
    let mut twice = headers();
    twice.append("webhook-signature", HeaderValue::from_static("v1,AAAA"));
    assert_eq!(verify(twice, b"21.5").await, Err(MessageRefusal::Malformed));
    let mut huge = headers();
    huge.insert("webhook-signature", HeaderValue::from_str(&"v1,".repeat(10_000)).unwrap());
    assert_eq!(verify(huge, b"21.5").await, Err(MessageRefusal::Malformed));
    let mut without = headers();
    without.remove(HeaderName::from_static("webhook-id"));
    assert_eq!(verify(without, b"21.5").await, Err(MessageRefusal::Malformed));
    assert_eq!(plant.verifier.verify("d2", &headers(), b"21.5").await, Err(MessageRefusal::UnknownSender));
    assert_eq!(plant.verifier.verify("no such/id", &headers(), b"").await, Err(MessageRefusal::UnknownSender));
    assert_eq!(verify(headers(), b"21.5").await, Ok(SignedBy::Current));
    assert_eq!(verify(headers(), b"21.5").await, Err(MessageRefusal::Replayed));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_messages_of_many_devices_share_few_questions_and_ghosts_cost_none() {
    let plant = Plant::new().await;
    plant.device("d0").await;
    let probe = plant.rotate("d0", false).await;
    plant.until("d0", &probe, Ok(SignedBy::Current)).await;
    let mut signers = Vec::new();
    for number in 0..20 {
        let id = format!("sensor-{number}");
        plant.device(&id).await;
        signers.push((id.clone(), plant.rotate(&id, false).await));
    }
    let fetches = async || {
        let metrics = plant.metrics().await;
        let lines = metrics.lines().filter(|line| {
            line.starts_with("signet_rpc_total") && line.contains("FetchMessageSecrets") && line.contains("OK")
        });
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
    };
    let before = fetches().await;
    let sent = signers.iter().flat_map(|(id, signer)| (0..10).map(move |_| (id, signer)));
    let answers = futures::future::join_all(sent.map(|(id, signer)| plant.send(id, signer))).await;
    assert_eq!((answers.len(), answers.iter().filter(|answer| answer.is_ok()).count()), (200, 200));
    assert_eq!(plant.verifier.known_devices(), 21);
    assert!(fetches().await - before <= 20.0);
    let before = fetches().await;
    for _ in 0..500 {
        assert_eq!(plant.send("ghost", &probe).await, Err(MessageRefusal::UnknownSender));
    }
    assert!(fetches().await - before <= 2.0, "that there is none is remembered");
}

impl Plant {
    async fn metrics(&self) -> String {
        let address = self.environment.node.metrics_addr;
        reqwest::get(format!("http://{address}/metrics")).await.unwrap().text().await.unwrap()
    }
}
