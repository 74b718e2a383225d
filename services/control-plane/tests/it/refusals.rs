//! All that is refused of a tenant, and each change of it, for those who decide without asking.

use std::{collections::BTreeSet, time::Duration};

use signet_core::PrincipalType;
use signet_proto::v1::{
    self as pb, Isolation, authorization_grant::To, authorization_service_client::AuthorizationServiceClient as Client,
    principal_service_client::PrincipalServiceClient, tenant_service_client::TenantServiceClient,
};
use tokio::time::timeout;
use tonic::{Streaming, transport::Channel};

use crate::{
    authorization::{Acme, acme, grant, of_type, rules, set},
    lists::revoke,
    world::{eventually, reason},
};

const SOON: Duration = Duration::from_secs(5);

async fn watch(channel: Channel) -> Streaming<pb::RefusalsChange> {
    let permissions = ["jobs:submit", "jobs:dequeue", "no:such"].map(str::to_owned).to_vec();
    let request = pb::WatchRefusalsRequest { tenant_id: String::new(), permissions };
    Client::new(channel).watch_refusals(request).await.unwrap().into_inner()
}

async fn next(stream: &mut Streaming<pb::RefusalsChange>) -> pb::RefusalsChange {
    timeout(SOON, stream.message()).await.expect("it speaks").unwrap().unwrap()
}

/// The next message that says something.
async fn change(stream: &mut Streaming<pb::RefusalsChange>) -> pb::RefusalsChange {
    loop {
        let message = next(stream).await;
        if message != pb::RefusalsChange::default() {
            return message;
        }
    }
}

/// All that holds: the first message, and what is refused.
async fn listed(
    stream: &mut Streaming<pb::RefusalsChange>,
) -> (pb::RefusalsChange, BTreeSet<Vec<u8>>, BTreeSet<String>) {
    let first = next(stream).await;
    assert!(first.restart && !first.complete);
    let (mut serials, mut principals) = (BTreeSet::new(), BTreeSet::new());
    loop {
        let message = next(stream).await;
        if message.complete {
            return (first, serials, principals);
        }
        serials.extend(message.serial_numbers);
        principals.extend(message.principals.into_iter().map(|of| of.principal_id));
    }
}

async fn suspend(acme: &Acme, id: &str) {
    let (tenant_id, principal_id, request_id) = ("acme".into(), id.into(), signet_client::request_id());
    let request = pb::SuspendPrincipalRequest { tenant_id, principal_id, request_id };
    PrincipalServiceClient::new(acme.admin.clone()).suspend_principal(request).await.unwrap();
}

#[tokio::test]
async fn a_service_is_told_all_that_is_refused_of_its_tenant_and_each_change() {
    let acme = acme().await;
    let (world, node) = (&acme.world, &acme.node);
    let mut worker = Client::new(world.channel(node, &acme.worker));
    let refused = worker.watch_refusals(pb::WatchRefusalsRequest::default()).await.unwrap_err();
    assert_eq!(reason(&refused), "CALLER_TYPE_DENIED");
    let too_many = pb::WatchRefusalsRequest { permissions: vec!["a:b".into(); 51], ..Default::default() };
    let refused = Client::new(acme.service.clone()).watch_refusals(too_many).await.unwrap_err();
    assert_eq!(reason(&refused), "OUT_OF_RANGE");

    world.tenant(node, "globex", Isolation::Dedicated).await;
    let foreign = world.principal(node, "globex", "w-9", PrincipalType::Worker, &[]).await;
    revoke(world, node, ("globex", "globex.1"), &foreign).await;
    let worker = world.principal(node, "acme", "w-2", PrincipalType::Worker, &[]).await;
    revoke(world, node, ("acme", "acme.1"), &worker).await;
    world.principal(node, "acme", "w-3", PrincipalType::Worker, &[]).await;
    suspend(&acme, "w-3").await;

    eventually("the node has heard of the last", async || {
        let mut stream = watch(acme.service.clone()).await;
        listed(&mut stream).await.2.contains("w-3")
    })
    .await;
    let mut stream = watch(acme.service.clone()).await;
    let (first, serials, principals) = listed(&mut stream).await;
    let hexadecimal: BTreeSet<String> = serials.iter().map(hex::encode).collect();
    assert!(hexadecimal.contains(&worker.facts().serial_number), "{hexadecimal:?}");
    assert!(!hexadecimal.contains(&foreign.facts().serial_number), "another tenant's");
    assert!(principals.contains("w-3") && !principals.contains("w-1"));
    assert_eq!(first.tenant_refused, Some(false));

    suspend(&acme, "w-1").await;
    let told = change(&mut stream).await;
    assert_eq!(told.principals.len(), 1);
    assert!(told.principals[0].principal_id == "w-1" && told.principals[0].refuse_end_time.is_some());
    permissions(&acme, &mut stream).await;

    let request = pb::SuspendTenantRequest { tenant_id: "acme".into(), request_id: signet_client::request_id() };
    TenantServiceClient::new(world.admin(node)).suspend_tenant(request).await.unwrap();
    // The watcher itself is refused with its tenant.
    let told_or_ended = async {
        while let Ok(Some(message)) = stream.message().await {
            if message.tenant_refused == Some(true) {
                return;
            }
        }
    };
    timeout(SOON, told_or_ended).await.expect("at once");
    acme.node.end().await;
}

async fn permissions(acme: &Acme, stream: &mut Streaming<pb::RefusalsChange>) {
    let mut granted = async |rules| {
        let before = rules_version(acme).await;
        set(acme.admin.clone(), before, rules).await.unwrap();
        loop {
            if let Some(granted) = change(stream).await.granted {
                return granted.permissions;
            }
        }
    };
    let worker = i32::from(pb::PrincipalType::Worker);
    let grants = vec![
        grant(of_type(PrincipalType::Worker), &["jobs:submit"]),
        grant(To::Role("support".into()), &["jobs:submit"]),
        grant(To::Group("fleet-a".into()), &["jobs:submit", "jobs:dequeue"]),
    ];
    let [submit, dequeue, none] = <[_; 3]>::try_from(granted(rules(grants.clone(), "")).await).unwrap();
    assert_eq!(
        (submit.principal_types, submit.roles, submit.conditional),
        (vec![worker], vec!["support".into()], false)
    );
    assert!(dequeue.principal_types.is_empty() && dequeue.roles.is_empty(), "groups are not told of");
    assert_eq!((none.permission.as_str(), none.principal_types.len()), ("no:such", 0));
    // What a policy may take away again, types and roles do not tell.
    let policy = r#"@id("none") forbid (principal, action == Action::"jobs:submit", resource);"#;
    let [submit, dequeue, _] = <[_; 3]>::try_from(granted(rules(grants.clone(), policy)).await).unwrap();
    assert!(submit.conditional && !dequeue.conditional);
    // And what gives more takes nothing.
    let policy = r#"@id("all") permit (principal, action == Action::"jobs:submit", resource);"#;
    let [submit, _, _] = <[_; 3]>::try_from(granted(rules(grants, policy)).await).unwrap();
    assert!(!submit.conditional);
}

async fn rules_version(acme: &Acme) -> u32 {
    let request = pb::GetAuthorizationModelRequest::default();
    Client::new(acme.admin.clone()).get_authorization_model(request).await.unwrap().into_inner().version
}
