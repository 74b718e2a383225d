//! A copied key over the wire: both holders are refused, on open streams too, and the way back is to enroll.

use std::time::Duration;

use signet_client::Credentials;
use signet_core::PrincipalType;
use signet_proto::v1::{
    self as pb, Isolation, certificate_service_client::CertificateServiceClient,
    principal_service_client::PrincipalServiceClient, trust_service_client::TrustServiceClient,
};
use signet_x509::KeyAndCsr;
use tokio::time::timeout;

use crate::world::{Node, World, eventually, reason};

async fn renew(world: &World, node: &Node, held: &Credentials) -> Result<Credentials, tonic::Status> {
    let new = KeyAndCsr::generate().unwrap();
    let mut client = CertificateServiceClient::new(world.channel(node, held));
    let request = pb::RenewCertificateRequest { csr_der: new.csr_der, request_id: signet_client::request_id() };
    let issued = client.renew_certificate(request).await?.into_inner();
    Ok(Credentials::new(issued.chain_der, issued.root_der, new.key).unwrap())
}

#[tokio::test]
async fn a_copied_key_ends_both_holders_sessions() {
    let world = World::new().await;
    let node = world.node().await;
    world.tenant(&node, "acme", Isolation::Dedicated).await;
    let copied = world.principal(&node, "acme", "w-1", PrincipalType::Worker, &[]).await;
    let honest = renew(&world, &node, &copied).await.unwrap();
    let mut client = CertificateServiceClient::new(world.channel(&node, &honest));
    let confirmed = client
        .confirm_certificate(pb::ConfirmCertificateRequest {
            request_id: signet_client::request_id(),
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner();
    assert!(confirmed.confirm_time.is_some());
    let info = client.get_renewal_info(pb::GetRenewalInfoRequest {}).await.unwrap().into_inner();
    assert_eq!(info.reason(), pb::RenewalReason::Default);
    assert!(info.window_start.unwrap().seconds < info.window_end.unwrap().seconds && info.server_time.is_some());
    // Until its key is used to renew, the one before goes on to authenticate: its connections need not end.
    let mut watcher = TrustServiceClient::new(world.channel(&node, &honest));
    let mut stream = watcher.watch_trust_bundle(pb::WatchTrustBundleRequest::default()).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    let mut thief = PrincipalServiceClient::new(world.channel(&node, &copied));
    thief.who_am_i(pb::WhoAmIRequest {}).await.unwrap();

    let refused = renew(&world, &node, &copied).await.unwrap_err();
    assert_eq!(reason(&refused), "CLONE_DETECTED");
    let ended = timeout(Duration::from_secs(5), stream.message()).await.unwrap();
    assert!(ended.is_err() || ended.is_ok_and(|message| message.is_none()), "the honest holder's stream goes on");
    for credentials in [&copied, &honest] {
        eventually("both are refused", || async {
            let mut client = PrincipalServiceClient::new(world.channel(&node, credentials));
            client.who_am_i(pb::WhoAmIRequest {}).await.is_err()
        })
        .await;
    }
    let events = world.audit(&node, "acme").await;
    assert_eq!(events.iter().filter(|event| event["outcome"] == "CLONE_DETECTED").count(), 1, "{events:#?}");
    // Another certificate of the same principal is another instance.
    let again = world.issue(&node, "acme", "w-1").await;
    PrincipalServiceClient::new(world.channel(&node, &again)).who_am_i(pb::WhoAmIRequest {}).await.unwrap();
    node.end().await;
}
