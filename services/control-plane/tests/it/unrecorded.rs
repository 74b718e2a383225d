//! Certificates that a CA's key signed past us: found, told, and by setting refused; revoked on every node.

use signet_client::{Credentials, request_id};
use signet_core::PrincipalType;
use signet_proto::v1::{self as pb, Isolation, certificate_service_client::CertificateServiceClient as Certificates};
use signet_x509::KeyAndCsr;
use tonic::{Code, transport::Channel};

use crate::{
    faulty::faulty,
    identities::{GOOD, forged_as},
    status::{is_refused, open, watch, who_am_i},
    world::{Node, TestClock, World, eventually, reason},
};

const COUNTED: &str = "signet_unrecorded_certificates_total";

/// Signed with the key of acme's CA, by nobody of ours.
fn forged(world: &World, of: &Credentials, serial: &str) -> Credentials {
    forged_as(serial, world, true, &of.chain_der()[1], &GOOD.map(String::from))
}

/// A serial number that nobody drew.
fn serial(number: u8) -> String {
    format!("0197f0c0ffee400080000000000000{number:02x}")
}

async fn counted(node: &Node) -> u64 {
    let metrics = node.metrics().await;
    let line = metrics.lines().find(|line| line.starts_with(COUNTED) && !line.starts_with('#'));
    line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

async fn told(world: &World, node: &Node) -> Vec<serde_json::Value> {
    let events = world.audit(node, "acme").await;
    events.into_iter().filter(|event| event["outcome"] == "CERTIFICATE_UNKNOWN").collect()
}

async fn revoke(
    channel: Channel,
    issuer: &str,
    serial: &str,
    id: &str,
    or_unrecorded: bool,
) -> Result<pb::Certificate, tonic::Status> {
    let request = pb::RevokeCertificateRequest {
        tenant_id: String::new(),
        issuer_id: issuer.into(),
        serial_number: serial.into(),
        reason: pb::RevocationReason::KeyCompromise.into(),
        request_id: id.into(),
        or_unrecorded,
    };
    Certificates::new(channel).revoke_certificate(request).await.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn what_was_never_recorded_is_counted_and_audited_once_and_what_was_is_not() {
    let world = World::new().await;
    let (one, two) = (world.node().await, world.node_apart().await);
    world.tenant(&one, "acme", Isolation::Dedicated).await;
    let worker = world.principal(&one, "acme", "w-1", PrincipalType::Worker, &[]).await;
    for number in 1..=2 {
        // Recorded by the other node a moment ago.
        let fresh = world.issue(&two, "acme", "w-1").await;
        let thief = forged(&world, &worker, &serial(number));
        for credentials in [&fresh, &thief, &worker, &thief] {
            let channel = world.channel(&one, credentials);
            eventually("it is let in", async || who_am_i(&channel).await.is_ok()).await;
        }
        eventually("it is counted", async || counted(&one).await == u64::from(number)).await;
    }
    eventually("it is told", async || told(&world, &one).await.len() == 2).await;
    let event = told(&world, &one).await.remove(0);
    assert_eq!((&event["operation"], &event["details"]["serial"]), (&"Connect".into(), &serial(1).into()));
    assert_eq!(
        (&event["details"]["presented"], &event["details"]["refused"]),
        (&"acme/worker/w-1".into(), &"false".into())
    );
    assert_eq!((counted(&one).await, counted(&two).await), (2, 0));
    one.end().await;
    two.end().await;
}

#[tokio::test]
async fn a_store_that_is_away_counts_nothing_and_where_it_is_set_what_is_found_is_refused() {
    let world = World::with_config("trust = { when_unrecorded = 'refuse' }").await;
    let (wired, store) = faulty(&world);
    let node = world.node_of(wired, TestClock::default()).await;
    world.tenant(&node, "acme", Isolation::Dedicated).await;
    let worker = world.principal(&node, "acme", "w-1", PrincipalType::Worker, &[]).await;
    let honest = world.channel(&node, &worker);
    eventually("the node accepts", async || who_am_i(&honest).await.is_ok()).await;
    let thief = forged(&world, &worker, &serial(1));
    store.set_down(true);
    let channel = world.channel(&node, &thief);
    let mut stream = watch(&channel).await;
    assert_eq!(counted(&node).await, 0);
    store.set_down(false);
    let end = loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream ended without a word"),
            Err(status) => break status,
        }
    };
    assert_eq!((end.code(), reason(&end).as_str()), (Code::Unauthenticated, "CERTIFICATE_UNKNOWN"), "{end:?}");
    assert!(world.connector(&node, Some(&thief)).connect().await.is_err());
    assert_eq!(counted(&node).await, 1);
    let is_told = async || told(&world, &node).await.iter().any(|event| event["details"]["refused"] == "true");
    eventually("it is told", is_told).await;
    who_am_i(&honest).await.unwrap();
    node.end().await;
}

#[tokio::test]
async fn a_serial_number_on_record_gets_another_key_nothing() {
    let world = World::new().await;
    let node = world.node().await;
    world.tenant(&node, "acme", Isolation::Dedicated).await;
    let worker = world.principal(&node, "acme", "w-1", PrincipalType::Worker, &[]).await;
    let thief = forged(&world, &worker, &worker.facts().serial_number);
    let mut client = Certificates::new(world.channel(&node, &thief));
    let csr_der = KeyAndCsr::generate().unwrap().csr_der;
    let renewal = pb::RenewCertificateRequest { csr_der: csr_der.clone(), request_id: request_id() };
    let refused = client.renew_certificate(renewal).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "CERTIFICATE_UNKNOWN"));
    let confirmation = pb::ConfirmCertificateRequest { request_id: request_id(), ..Default::default() };
    let refused = client.confirm_certificate(confirmation).await.unwrap_err();
    assert_eq!(reason(&refused), "CERTIFICATE_UNKNOWN");
    eventually("it is counted", async || counted(&node).await == 1).await;
    // Who holds the key goes on.
    let renewal = pb::RenewCertificateRequest { csr_der, request_id: request_id() };
    Certificates::new(world.channel(&node, &worker)).renew_certificate(renewal).await.unwrap();
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_recorded_can_be_revoked_on_every_node() {
    let world = World::new().await;
    let (one, two) = (world.node().await, world.node_apart().await);
    let nodes = [&one, &two];
    world.tenant(&one, "acme", Isolation::Dedicated).await;
    world.tenant(&one, "globex", Isolation::Dedicated).await;
    let worker = world.principal(&one, "acme", "w-1", PrincipalType::Worker, &[]).await;
    let acme = world.principal(&one, "acme", "root", PrincipalType::Admin, &[]).await;
    let globex = world.principal(&one, "globex", "root", PrincipalType::Admin, &[]).await;
    let operator = world.principal(&one, "acme", "olga", PrincipalType::User, &["operator"]).await;
    let channel = |credentials: &Credentials| world.channel(&one, credentials);
    let thief = forged(&world, &worker, &serial(1));
    let opened = open(&world, nodes, &thief).await;

    // Only where it is said, by an admin, and of a CA of the caller's.
    let unsaid = revoke(channel(&acme), "acme.1", &serial(1), "unsaid", false).await.unwrap_err();
    let foreign = revoke(channel(&globex), "acme.1", &serial(1), "foreign", true).await.unwrap_err();
    assert_eq!((unsaid.code(), foreign.code()), (Code::NotFound, Code::NotFound));
    let denied = revoke(channel(&operator), "acme.1", &serial(1), "denied", true).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);

    let revoked = revoke(channel(&acme), "acme.1", &serial(1), "revoke", true).await.unwrap();
    assert_eq!((revoked.state(), revoked.serial_number), (pb::CertificateState::Revoked, serial(1)));
    is_refused(&world, nodes, &thief, opened, "CERTIFICATE_REVOKED").await;
    let events = world.audit(&one, "acme").await;
    let written = || events.iter().filter(|event| event["details"]["unrecorded"] == "true");
    assert_eq!(written().count(), 1);
    assert_eq!(written().next().unwrap()["resource"]["id"], format!("acme.1/{}", serial(1)));
    // Again, and as a new order: all the same.
    for (id, or_unrecorded) in [("revoke", true), ("again", true), ("as-any", false)] {
        revoke(channel(&acme), "acme.1", &serial(1), id, or_unrecorded).await.unwrap();
    }

    // A serial number of another tenant's is none of acme's.
    let theirs = world.principal(&one, "globex", "w-1", PrincipalType::Worker, &[]).await;
    let number = &theirs.facts().serial_number;
    revoke(channel(&acme), "acme.1", number, "theirs", true).await.unwrap();
    let mark = forged(&world, &worker, &serial(2));
    revoke(channel(&acme), "acme.1", &serial(2), "mark", true).await.unwrap();
    for node in nodes {
        eventually("the node has read it", async || world.connector(node, Some(&mark)).connect().await.is_err()).await;
        who_am_i(&world.channel(node, &theirs)).await.unwrap();
    }
    one.end().await;
    two.end().await;
}
