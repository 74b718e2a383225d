//! Tenants' own rules on a running node: set, decided by, on open streams too, and what may not be set.

use std::time::Duration;

use signet_client::Credentials;
use signet_core::PrincipalType;
use signet_proto::v1::{
    self as pb, Isolation, audit_service_client::AuditServiceClient, authorization_grant::To,
    authorization_service_client::AuthorizationServiceClient as Client, check_subject::By,
    principal_service_client::PrincipalServiceClient,
};
use tokio::time::timeout;
use tonic::{Code, Status, transport::Channel};

use crate::world::{Node, TestClock, World, eventually, reason};

const SOON: Duration = Duration::from_secs(5);

pub fn grant(to: To, permissions: &[&str]) -> pb::AuthorizationGrant {
    let permissions = permissions.iter().map(|name| (*name).to_owned()).collect();
    pb::AuthorizationGrant { to: Some(to), permissions, expire_time: None }
}

pub fn of_type(principal_type: PrincipalType) -> To {
    To::PrincipalType(match principal_type {
        PrincipalType::Worker => pb::PrincipalType::Worker.into(),
        PrincipalType::Device => pb::PrincipalType::Device.into(),
        other => panic!("{other}"),
    })
}

pub fn rules(grants: Vec<pb::AuthorizationGrant>, policies: &str) -> pb::AuthorizationRules {
    let described = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), String::new())).collect();
    pb::AuthorizationRules {
        permissions: described(&["jobs:submit", "jobs:dequeue", "connect:peer"]),
        roles: described(&["support"]),
        groups: described(&["fleet-a"]),
        grants,
        policies: policies.into(),
    }
}

pub async fn set(
    channel: Channel,
    base_version: u32,
    rules: pb::AuthorizationRules,
) -> Result<pb::AuthorizationModel, Status> {
    let request = pb::SetAuthorizationModelRequest {
        tenant_id: "acme".into(),
        rules: Some(rules),
        base_version,
        note: "test".into(),
        force: false,
        request_id: signet_client::request_id(),
    };
    Client::new(channel).set_authorization_model(request).await.map(tonic::Response::into_inner)
}

fn about(of: &str, id: &str) -> Option<pb::CheckResource> {
    Some(pb::CheckResource { r#type: of.into(), id: id.into(), ..Default::default() })
}

async fn ask(
    channel: &Channel,
    by: Option<By>,
    action: &str,
    resource: Option<pb::CheckResource>,
) -> Result<pb::CheckResponse, Status> {
    let subject = by.map(|by| pb::CheckSubject { by: Some(by) });
    let request = pb::CheckRequest { subject, action: action.into(), resource, ..Default::default() };
    Client::new(channel.clone()).check(request).await.map(tonic::Response::into_inner)
}

pub fn spiffe(of: &str, id: &str) -> Option<By> {
    Some(By::SpiffeId(format!("spiffe://acme.test.example.com/{of}/{id}")))
}

fn leaf(credentials: &Credentials) -> Vec<u8> {
    signet_x509::pem::decode_certificates(&credentials.chain_pem()).unwrap().swap_remove(0)
}

pub struct Acme {
    pub world: World,
    pub node: Node,
    pub admin: Channel,
    pub service: Channel,
    pub worker: Credentials,
}

pub async fn acme() -> Acme {
    let world = World::new().await;
    let node = world.node().await;
    world.tenant(&node, "acme", Isolation::Dedicated).await;
    let admin = world.principal(&node, "acme", "boss", PrincipalType::Admin, &[]).await;
    let service = world.principal(&node, "acme", "api", PrincipalType::Service, &[]).await;
    let worker = world.principal(&node, "acme", "w-1", PrincipalType::Worker, &[]).await;
    let (admin, service) = (world.channel(&node, &admin), world.channel(&node, &service));
    Acme { world, node, admin, service, worker }
}

#[tokio::test]
async fn a_tenants_grants_and_policies_decide_at_once() {
    let acme = acme().await;
    let first = ask(&acme.service, spiffe("worker", "w-1"), "jobs:dequeue", None).await.unwrap();
    assert_eq!((first.allowed, first.reason.as_str()), (false, "UNKNOWN_PERMISSION"));
    let policies = r#"
        @id("no submitting at other queues")
        forbid (principal, action == Action::"jobs:submit", resource is Resource) unless { resource.id == "default" };
        @id("fleet") permit (principal in Group::"fleet-a", action == Action::"connect:peer", resource is Device)
        when { resource in Group::"fleet-a" };
    "#;
    let grants = vec![grant(of_type(PrincipalType::Worker), &["jobs:dequeue", "jobs:submit"])];
    let model = set(acme.admin.clone(), 0, rules(grants, policies)).await.unwrap();
    assert_eq!((model.version, model.proof()), (1, pb::AuthorizationProof::NotProved));
    eventually("the node has the rules", async || {
        ask(&acme.service, spiffe("worker", "w-1"), "jobs:dequeue", None).await.unwrap().allowed
    })
    .await;
    let granted = ask(&acme.service, spiffe("worker", "w-1"), "jobs:submit", about("queue", "default")).await.unwrap();
    assert_eq!((granted.reason.as_str(), granted.decided_by.as_slice()), ("GRANTED", &["type:worker".to_owned()][..]));
    let forbidden = ask(&acme.service, spiffe("worker", "w-1"), "jobs:submit", about("queue", "other")).await.unwrap();
    assert_eq!((forbidden.allowed, forbidden.reason.as_str()), (false, "POLICY_FORBIDS"));
    assert_eq!(forbidden.decided_by, ["no submitting at other queues"]);
    // Groups are read from the record of today.
    for id in ["d-1", "d-2"] {
        acme.world.principal(&acme.node, "acme", id, PrincipalType::Device, &[]).await;
    }
    let meet =
        async || ask(&acme.service, spiffe("device", "d-1"), "connect:peer", about("device", "d-2")).await.unwrap();
    assert_eq!(meet().await.reason, "PERMISSION_MISSING");
    for id in ["d-1", "d-2"] {
        let principal = pb::Principal {
            tenant_id: "acme".into(),
            principal_id: id.into(),
            groups: vec!["fleet-a".into()],
            ..Default::default()
        };
        let request = pb::UpdatePrincipalRequest {
            principal: Some(principal),
            update_mask: Some(prost_types::FieldMask { paths: vec!["groups".into()] }),
            request_id: signet_client::request_id(),
        };
        PrincipalServiceClient::new(acme.admin.clone()).update_principal(request).await.unwrap();
    }
    let met = meet().await;
    assert_eq!((met.allowed, met.decided_by), (true, vec!["fleet".to_owned()]));
    acme.node.end().await;
}

#[tokio::test]
async fn a_device_asks_about_those_whom_it_meets_with_their_certificate_in_hand() {
    let acme = acme().await;
    let grants = vec![grant(of_type(PrincipalType::Worker), &["connect:peer"])];
    set(acme.admin.clone(), 0, rules(grants, "")).await.unwrap();
    let device = acme.world.principal(&acme.node, "acme", "d-1", PrincipalType::Device, &[]).await;
    let device = acme.world.channel(&acme.node, &device);
    let shown = leaf(&acme.worker);
    let by = || Some(By::CertificateDer(shown.clone()));
    eventually("the peer is good", async || {
        ask(&device, by(), "connect:peer", about("device", "d-1")).await.unwrap().allowed
    })
    .await;
    // Not about others, nor whether somebody is there: an answer, since peers ask servers to ask.
    for (by, resource) in [
        (by(), about("service", "api")),
        (spiffe("worker", "w-1"), about("device", "d-1")),
        (spiffe("worker", "nobody"), None),
    ] {
        let nosy = ask(&device, by, "connect:peer", resource).await.unwrap();
        assert_eq!((nosy.allowed, nosy.reason.as_str()), (false, "OWN_RESOURCES_ONLY"));
    }
    // A denial is an answer: suspended, unknown, or another tenant's.
    let request = pb::SuspendPrincipalRequest {
        tenant_id: "acme".into(),
        principal_id: "w-1".into(),
        request_id: signet_client::request_id(),
    };
    PrincipalServiceClient::new(acme.admin.clone()).suspend_principal(request).await.unwrap();
    eventually("it is refused", async || {
        let answer = ask(&device, by(), "connect:peer", about("device", "d-1")).await.unwrap();
        !answer.allowed && answer.reason == "PRINCIPAL_DENIED"
    })
    .await;
    acme.world.tenant(&acme.node, "globex", Isolation::Dedicated).await;
    let foreign = acme.world.principal(&acme.node, "globex", "w-1", PrincipalType::Worker, &[]).await;
    let by = Some(By::CertificateDer(leaf(&foreign)));
    let answer = ask(&device, by, "connect:peer", about("device", "d-1")).await.unwrap();
    assert_eq!((answer.allowed, answer.reason.as_str(), answer.spiffe_id.as_str()), (false, "FOREIGN_TENANT", ""));
    let answer = ask(&device, Some(By::CertificateDer(vec![1, 2, 3])), "connect:peer", about("device", "d-1")).await;
    assert!(!answer.unwrap().allowed);
    acme.node.end().await;
}

#[tokio::test]
async fn roles_get_signets_own_permissions_and_lose_them_on_open_streams() {
    let acme = acme().await;
    let ann = acme.world.principal(&acme.node, "acme", "ann", PrincipalType::User, &["support"]).await;
    let ann = acme.world.channel(&acme.node, &ann);
    let tail = async || {
        let request = pb::TailAuditEventsRequest { tenant_id: "acme".into(), start_time: None };
        AuditServiceClient::new(ann.clone()).tail_audit_events(request).await
    };
    assert_eq!(tail().await.unwrap_err().code(), Code::PermissionDenied);
    let grants = vec![grant(To::Role("support".into()), &["audit.read"])];
    set(acme.admin.clone(), 0, rules(grants, "")).await.unwrap();
    eventually("the role has the permission", async || tail().await.is_ok()).await;
    let mut events = tail().await.unwrap().into_inner();
    set(acme.admin.clone(), 1, rules(Vec::new(), "")).await.unwrap();
    let end = timeout(SOON, async {
        loop {
            if let Err(status) = events.message().await {
                return status;
            }
        }
    });
    assert_eq!(reason(&end.await.unwrap()), "PERMISSION_MISSING");
    acme.node.end().await;
}

#[tokio::test]
async fn a_grant_for_a_time_ends_on_an_open_stream() {
    let world = World::new().await;
    let clock = TestClock::default();
    let node = world.node_of(world.wired.clone(), clock.clone()).await;
    world.tenant(&node, "acme", Isolation::Shared).await;
    let ann = world.principal(&node, "acme", "ann", PrincipalType::User, &["support"]).await;
    let end = (clock.clock())().plus(signet_core::Lifetime::minutes(5));
    let mut for_a_time = grant(To::Role("support".into()), &["audit.read"]);
    for_a_time.expire_time = Some(prost_types::Timestamp { seconds: end.unix_seconds(), nanos: 0 });
    set(world.admin(&node), 0, rules(vec![for_a_time], "")).await.unwrap();
    let ann = world.channel(&node, &ann);
    let tail = async || {
        let request = pb::TailAuditEventsRequest { tenant_id: "acme".into(), start_time: None };
        AuditServiceClient::new(ann.clone()).tail_audit_events(request).await
    };
    eventually("the grant holds", async || tail().await.is_ok()).await;
    let mut events = tail().await.unwrap().into_inner();
    clock.advance(Duration::from_secs(300));
    let end = timeout(SOON, async {
        loop {
            if let Err(status) = events.message().await {
                return status;
            }
        }
    });
    assert_eq!(reason(&end.await.unwrap()), "PERMISSION_MISSING");
    assert_eq!(tail().await.unwrap_err().code(), Code::PermissionDenied);
    node.end().await;
}

#[tokio::test]
async fn what_cannot_hold_is_not_set() {
    let acme = acme().await;
    let worker = || of_type(PrincipalType::Worker);
    let cases = [
        ("INVALID_POLICY", rules(Vec::new(), "permit (principal, action, resource)")),
        ("INVALID_POLICY", rules(Vec::new(), "permit (principal is Robot, action, resource);")),
        ("INVALID_GRANT", rules(vec![grant(worker(), &["principals.create"])], "")),
        ("INVALID_GRANT", rules(vec![grant(worker(), &["tenants.create"])], "")),
        ("INVALID_GRANT", rules(vec![grant(worker(), &["tokens.create"])], "")),
        ("INVALID_GRANT", rules(vec![grant(worker(), &["audit.read"])], "")),
        (
            "INVALID_POLICY",
            rules(Vec::new(), r#"permit (principal, action == Action::"principals.create", resource);"#),
        ),
        (
            "INVALID_POLICY",
            rules(Vec::new(), &format!("permit (principal, action, resource) when {{ {} }};", "(".repeat(9_000))),
        ),
        ("INVALID_POLICY", rules(Vec::new(), "permit (principal, action, resource) when { context.nosuch };")),
        // Declared nowhere.
        ("INVALID_POLICY", rules(Vec::new(), r#"permit (principal, action == Action::"jobs:cancel", resource);"#)),
        ("INVALID_GRANT", rules(vec![grant(worker(), &["jobs:cancel"])], "")),
        ("INVALID_GRANT", rules(vec![grant(worker(), &[])], "")),
        ("INVALID_GRANT", rules(vec![grant(To::Role("nobodys".into()), &["jobs:submit"])], "")),
        ("INVALID_GRANT", rules(vec![grant(To::Group("fleet-a".into()), &["audit.read"])], "")),
        (
            "RESERVED_ID",
            pb::AuthorizationRules { roles: [("viewer".into(), String::new())].into(), ..Default::default() },
        ),
        (
            "INVALID_PERMISSION",
            pb::AuthorizationRules { permissions: [("submit".into(), String::new())].into(), ..Default::default() },
        ),
        (
            "INVALID_PERMISSION",
            pb::AuthorizationRules { permissions: [("audit.read".into(), String::new())].into(), ..Default::default() },
        ),
    ];
    for (expected, rules) in cases {
        let refused = set(acme.admin.clone(), 0, rules.clone()).await.unwrap_err();
        let violation = refused.message().to_owned();
        assert!(matches!(refused.code(), Code::InvalidArgument), "{rules:?}: {refused:?}");
        assert!(reason(&refused) == expected || violation.contains(expected), "{expected}: {refused:?}");
    }
    let request = pb::GetAuthorizationModelRequest::default();
    let none = Client::new(acme.admin.clone()).get_authorization_model(request).await.unwrap().into_inner();
    assert_eq!((none.version, none.tenant_id.as_str()), (0, "acme"));
    // Two who change at once: one is told.
    set(acme.admin.clone(), 0, rules(Vec::new(), "")).await.unwrap();
    let grants = vec![grant(worker(), &["jobs:submit"])];
    let late = set(acme.admin.clone(), 0, rules(grants.clone(), "")).await.unwrap_err();
    assert_eq!((late.code(), reason(&late)), (Code::FailedPrecondition, "MODEL_CHANGED".into()));
    set(acme.admin.clone(), 1, rules(grants, "")).await.unwrap();
    let mut client = Client::new(acme.admin.clone());
    let listed = client.list_authorization_models(pb::ListAuthorizationModelsRequest::default());
    let versions: Vec<u32> = listed.await.unwrap().into_inner().models.iter().map(|model| model.version).collect();
    assert_eq!(versions, [2, 1], "the latest first");
    let request = pb::GetAuthorizationModelRequest { version: 1, ..Default::default() };
    let first = Client::new(acme.admin.clone()).get_authorization_model(request).await.unwrap().into_inner();
    assert!(first.rules.unwrap().grants.is_empty());
    acme.node.end().await;
}

#[tokio::test]
async fn the_environments_rules_hold_in_every_tenant() {
    let acme = acme().await;
    let rules = pb::AuthorizationRules {
        permissions: [("events:publish".to_owned(), String::new())].into(),
        grants: vec![grant(of_type(PrincipalType::Worker), &["events:publish"])],
        ..Default::default()
    };
    let request = |tenant: &str, rules| pb::SetAuthorizationModelRequest {
        tenant_id: tenant.into(),
        rules: Some(rules),
        request_id: signet_client::request_id(),
        ..Default::default()
    };
    let admin = acme.world.admin(&acme.node);
    Client::new(admin.clone()).set_authorization_model(request("system", rules.clone())).await.unwrap();
    eventually("it holds in acme", async || {
        ask(&acme.service, spiffe("worker", "w-1"), "events:publish", None).await.unwrap().allowed
    })
    .await;
    // Whoever has declared it before the environment did is not stopped by that.
    Client::new(admin.clone()).set_authorization_model(request("acme", rules.clone())).await.unwrap();
    assert!(ask(&acme.service, spiffe("worker", "w-1"), "events:publish", None).await.unwrap().allowed);
    let policies = pb::AuthorizationRules { policies: "permit (principal, action, resource);".into(), ..rules };
    let refused = Client::new(admin).set_authorization_model(request("system", policies)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    acme.node.end().await;
}

#[tokio::test]
async fn admins_of_a_tenant_read_the_environments_rules_that_hold_in_it_and_not_who_set_them() {
    let acme = acme().await;
    let rules = pb::AuthorizationRules {
        permissions: [("events:publish".to_owned(), "Publish".to_owned())].into(),
        grants: vec![grant(of_type(PrincipalType::Worker), &["events:publish"])],
        ..Default::default()
    };
    let get = async |channel: &Channel, tenant_id: &str| {
        let request = pb::GetAuthorizationModelRequest { tenant_id: tenant_id.into(), version: 0 };
        Client::new(channel.clone()).get_authorization_model(request).await.map(tonic::Response::into_inner)
    };
    assert_eq!(get(&acme.admin, "").await.unwrap().inherited, None);
    let request = pb::SetAuthorizationModelRequest {
        tenant_id: "system".into(),
        rules: Some(rules.clone()),
        request_id: signet_client::request_id(),
        ..Default::default()
    };
    let operator = acme.world.admin(&acme.node);
    Client::new(operator.clone()).set_authorization_model(request).await.unwrap();
    let found = get(&acme.admin, "").await.unwrap();
    assert_eq!((found.version, found.inherited, found.set_by), (0, Some(rules), String::new()));
    assert_eq!(get(&acme.admin, "system").await.unwrap_err().code(), Code::NotFound, "as before");
    assert_eq!(get(&operator, "system").await.unwrap().inherited, None, "they are its own");
    acme.node.end().await;
}

async fn tried(channel: &Channel, rules: pb::AuthorizationRules) -> pb::TestAuthorizationModelResponse {
    let request = pb::TestAuthorizationModelRequest { tenant_id: "acme".into(), rules: Some(rules) };
    Client::new(channel.clone()).test_authorization_model(request).await.unwrap().into_inner()
}

#[tokio::test]
async fn new_rules_are_tried_on_what_was_asked_and_called_lately() {
    let acme = acme().await;
    let to_worker = |permissions: &[&str]| vec![grant(of_type(PrincipalType::Worker), permissions)];
    set(acme.admin.clone(), 0, rules(to_worker(&["jobs:submit"]), "")).await.unwrap();
    for id in ["default", "default", "other"] {
        let answer = ask(&acme.service, spiffe("worker", "w-1"), "jobs:submit", about("queue", id)).await.unwrap();
        assert!(answer.allowed, "who set the rules may ask by them at once: {answer:?}");
    }
    ask(&acme.service, spiffe("worker", "w-1"), "jobs:dequeue", None).await.unwrap();
    ask(&acme.service, spiffe("worker", "nobody"), "jobs:dequeue", None).await.unwrap();
    // A call that is refused now.
    let ann = acme.world.principal(&acme.node, "acme", "ann", PrincipalType::User, &["support"]).await;
    let ann = acme.world.channel(&acme.node, &ann);
    let request = pb::SuspendPrincipalRequest {
        tenant_id: "acme".into(),
        principal_id: "w-1".into(),
        request_id: signet_client::request_id(),
    };
    PrincipalServiceClient::new(ann).suspend_principal(request).await.unwrap_err();

    let same = tried(&acme.admin, rules(to_worker(&["jobs:submit"]), "")).await;
    assert_eq!((same.replays.as_slice(), same.replayed_questions), (&[][..], 3));
    let policies = r#"@id("default only") permit (principal is Worker, action == Action::"jobs:submit", resource is Resource)
        when { resource.id == "default" };"#;
    let mut grants = to_worker(&["jobs:dequeue"]);
    grants.push(grant(To::Role("support".into()), &["principals.suspend"]));
    let new = rules(grants, policies);
    eventually("the refusal is in the log", async || tried(&acme.admin, new.clone()).await.replayed_calls == 1).await;
    let told = tried(&acme.admin, new).await;
    assert_eq!(told.replayed_questions, 3, "each once, and of nobody nothing is said");
    let mut replays: Vec<_> = told
        .replays
        .iter()
        .map(|replay| {
            let pb::AuthorizationReplay { principal, action, resource, .. } = replay;
            assert_eq!(replay.allowed_before, !replay.allowed_after);
            let (before, after) = (replay.reason_before.as_str(), replay.reason_after.as_str());
            (replay.is_call, format!("{principal} {action} {resource}"), before, after, replay.allowed_after)
        })
        .collect();
    replays.sort_unstable();
    let expected = [
        (false, "worker/w-1 jobs:dequeue tenant", "PERMISSION_MISSING", "GRANTED", true),
        (false, "worker/w-1 jobs:submit queue/other", "GRANTED", "PERMISSION_MISSING", false),
        (true, "user/ann principals.suspend ", "PERMISSION_MISSING", "GRANTED", true),
    ];
    let expected = expected.map(|(is_call, what, before, after, to)| (is_call, what.to_owned(), before, after, to));
    assert_eq!(replays, expected);
    // Others' questions are nobody else's business.
    acme.world.tenant(&acme.node, "globex", Isolation::Dedicated).await;
    let boss = acme.world.principal(&acme.node, "globex", "boss", PrincipalType::Admin, &[]).await;
    let request = pb::TestAuthorizationModelRequest {
        tenant_id: String::new(),
        rules: Some(rules(to_worker(&["jobs:dequeue"]), "")),
    };
    let boss = acme.world.channel(&acme.node, &boss);
    let none = Client::new(boss).test_authorization_model(request).await.unwrap().into_inner();
    assert_eq!((none.replays.len(), none.replayed_questions, none.replayed_calls), (0, 0, 0));
    acme.node.end().await;
}

/// What is granted is of use to whom the RPCs let call; what they say and what grants go by is one.
#[tokio::test]
async fn grants_of_signets_own_permissions_help_those_who_may_call() {
    let table = signet_control_plane::authorization::Table::from_descriptors(
        signet_proto::DESCRIPTORS,
        &signet_core::authorization::Policy::new(),
    )
    .unwrap();
    let policy = signet_core::authorization::Policy::new();
    for permission in signet_core::authorization::model::GRANTABLE {
        let mut callers: Vec<PrincipalType> = Vec::new();
        for (_, route) in table.iter() {
            if let signet_control_plane::authorization::Access::Rule(rule) = route.access()
                && Some(rule.permission) == policy.permission(permission)
            {
                callers.extend(PrincipalType::ALL.iter().filter(|of| rule.callers.admits(**of)));
            }
        }
        let useful = signet_core::authorization::model::grantable_to(permission);
        assert!(
            PrincipalType::ALL.iter().all(|of| callers.contains(of) == useful.contains(of)),
            "{permission}: {callers:?}"
        );
    }
    // A worker with a role that is granted something gets no right of which its type could make no use.
    let acme = acme().await;
    let grants = vec![grant(To::Role("support".into()), &["audit.read", "principals.list"])];
    set(acme.admin.clone(), 0, rules(grants, "")).await.unwrap();
    for (id, of, allowed) in [("w-2", PrincipalType::Worker, false), ("ann", PrincipalType::User, true)] {
        acme.world.principal(&acme.node, "acme", id, of, &["support"]).await;
        let answer = ask(&acme.service, spiffe(&of.to_string(), id), "audit.read", None).await.unwrap();
        assert_eq!(answer.allowed, allowed, "{id}: {answer:?}");
    }
    // What everybody may do to itself.
    let own = ask(&acme.service, spiffe("worker", "w-1"), "principals.get", about("worker", "w-1")).await.unwrap();
    let other = ask(&acme.service, spiffe("worker", "w-1"), "principals.get", about("worker", "w-2")).await.unwrap();
    assert!(own.allowed && !other.allowed, "{own:?} {other:?}");
    let elsewhere =
        ask(&acme.service, spiffe("worker", "w-1"), "jobs:submit", about("tenant", "globex")).await.unwrap();
    assert_eq!(elsewhere.reason, "FOREIGN_TENANT");
    acme.node.end().await;
}
