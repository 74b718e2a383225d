//! Invariant 10: bad input gets an error that names the field and the rule, and changes nothing.

use prost_types::{FieldMask, Timestamp};
use signet_core::PrincipalType;
use signet_proto::v1::{
    self as pb, Isolation, audit_service_client::AuditServiceClient,
    certificate_service_client::CertificateServiceClient, enrollment_service_client::EnrollmentServiceClient,
    principal_service_client::PrincipalServiceClient, tenant_service_client::TenantServiceClient,
    trust_service_client::TrustServiceClient,
};
use signet_x509::KeyAndCsr;
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt;

use crate::{
    dynamic,
    world::{World, reason, wire_type},
};

/// The field that an answer blames.
fn blamed(status: &Status) -> String {
    let violation = status.get_details_bad_request().and_then(|details| details.field_violations.first().cloned());
    violation.map(|violation| violation.field).unwrap_or_default()
}

fn is_blamed<T: std::fmt::Debug>(result: Result<T, Status>, field: &str) {
    let status = result.expect_err(field);
    assert_eq!((status.code(), blamed(&status).as_str()), (Code::InvalidArgument, field), "{status:?}");
    assert!(status.message().starts_with(field), "{status:?}");
    assert!(!status.get_details_error_info().expect("ErrorInfo").reason.is_empty());
}

fn tenant(id: &str) -> pb::CreateTenantRequest {
    let tenant = pb::Tenant { tenant_id: id.into(), isolation: Isolation::Shared.into(), ..Default::default() };
    pb::CreateTenantRequest { tenant: Some(tenant), request_id: signet_client::request_id() }
}

async fn tenants_blame_the_field(channel: &Channel) {
    let mut client = TenantServiceClient::new(channel.clone());
    let nothing = pb::CreateTenantRequest { tenant: None, request_id: "r-1".into() };
    is_blamed(client.create_tenant(nothing).await, "tenant");
    let long = "a".repeat(64);
    for id in ["", "Acme", "a/b", "a\u{7}", "ä", "-a", "root", "system", &long] {
        is_blamed(client.create_tenant(tenant(id)).await, "tenant.tenant_id");
    }
    let mut bad = tenant("initech");
    bad.request_id = "a b".into();
    is_blamed(client.create_tenant(bad).await, "request_id");
    let mut bad = tenant("initech");
    bad.tenant.as_mut().unwrap().isolation = 9;
    is_blamed(client.create_tenant(bad).await, "tenant.isolation");
    let mut bad = tenant("initech");
    bad.tenant.as_mut().unwrap().display_name = "a\u{1b}[31m".into();
    is_blamed(client.create_tenant(bad).await, "tenant.display_name");
    let mut bad = tenant("initech");
    bad.tenant.as_mut().unwrap().lifetimes = vec![pb::LifetimeOverride { principal_type: 3, lifetime_seconds: 1 }];
    is_blamed(client.create_tenant(bad).await, "tenant.lifetimes");
    is_blamed(client.list_tenants(pb::ListTenantsRequest { page_size: 1001, ..Default::default() }).await, "page_size");
    let request = pb::ListTenantsRequest { page_token: "made up".into(), ..Default::default() };
    is_blamed(client.list_tenants(request).await, "page_token");
}

async fn principals_blame_the_field(channel: &Channel) {
    let mut client = PrincipalServiceClient::new(channel.clone());
    let good = pb::Principal {
        tenant_id: "acme".into(),
        principal_id: "new".into(),
        principal_type: wire_type(PrincipalType::Worker),
        ..Default::default()
    };
    let create =
        |principal| pb::CreatePrincipalRequest { principal: Some(principal), request_id: signet_client::request_id() };
    type Spoil = fn(&mut pb::Principal);
    let cases: [(&str, Spoil); 7] = [
        ("principal.tenant_id", |p| p.tenant_id = "Acme".into()),
        ("principal.principal_id", |p| p.principal_id = "a/b".into()),
        ("principal.principal_id", |p| p.principal_id = String::new()),
        ("principal.principal_type", |p| p.principal_type = 0),
        ("principal.principal_type", |p| p.principal_type = 77),
        ("principal.roles", |p| p.roles = vec!["Operator!".into()]),
        ("principal.groups", |p| p.groups = vec![String::new()]),
    ];
    for (field, spoil) in cases {
        let mut principal = good.clone();
        spoil(&mut principal);
        is_blamed(client.create_principal(create(principal)).await, field);
    }
    let update = |paths: &[&str]| pb::UpdatePrincipalRequest {
        principal: Some(pb::Principal { principal_id: "w-1".into(), ..good.clone() }),
        update_mask: Some(FieldMask { paths: paths.iter().map(ToString::to_string).collect() }),
        request_id: signet_client::request_id(),
    };
    is_blamed(client.update_principal(update(&[])).await, "update_mask");
    let status = client.update_principal(update(&["display_name", "principal_type"])).await.unwrap_err();
    assert!(status.message().contains("principal_type"), "{status:?}");
    is_blamed(Err::<(), _>(status), "update_mask");
}

async fn certificates_blame_the_field(channel: &Channel) {
    let mut client = CertificateServiceClient::new(channel.clone());
    let good = KeyAndCsr::generate().unwrap().csr_der;
    let mut broken = good.clone();
    *broken.last_mut().unwrap() ^= 1;
    let trailing = [good.as_slice(), b"x"].concat();
    for csr_der in [Vec::new(), vec![0; 20_000], b"not a request".to_vec(), broken, trailing] {
        let request = pb::IssueCertificateRequest {
            tenant_id: "acme".into(),
            principal_id: "w-1".into(),
            csr_der,
            request_id: signet_client::request_id(),
        };
        is_blamed(client.issue_certificate(request).await, "csr_der");
    }
    let request = pb::IssueCertificateRequest { csr_der: vec![0; 1_000_000], ..Default::default() };
    let status = client.issue_certificate(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert!(status.message().contains("too large"), "{status:?}");
    let request =
        pb::GetCertificateRequest { tenant_id: "acme".into(), issuer_id: "acme.1".into(), serial_number: "1".into() };
    is_blamed(client.get_certificate(request).await, "serial_number");
    // 0 is what nobody set, 2 a code of CRLs for CAs.
    for reason in [0, 2, -1] {
        let request = pb::RevokeCertificateRequest {
            tenant_id: "acme".into(),
            issuer_id: "shared.1".into(),
            serial_number: "0".repeat(32),
            reason,
            request_id: signet_client::request_id(),
            or_unrecorded: false,
        };
        let status = client.revoke_certificate(request).await.unwrap_err();
        assert!(status.message().contains("REVOCATION_REASON_NOT_STATED"), "{status:?}");
        is_blamed(Err::<(), _>(status), "reason");
    }
}

async fn the_rest_blames_the_field(channel: &Channel) {
    let mut client = EnrollmentServiceClient::new(channel.clone());
    let token = pb::CreateTokenRequest { tenant_id: "acme".into(), request_id: "r-1".into(), ..Default::default() };
    is_blamed(client.create_token(token.clone()).await, "principal_type");
    let worker = pb::CreateTokenRequest { principal_type: wire_type(PrincipalType::Worker), ..token };
    let short = pb::CreateTokenRequest { ttl_seconds: 5, ..worker.clone() };
    is_blamed(client.create_token(short).await, "ttl_seconds");
    let many = pb::CreateTokenRequest { uses: 1001, ..worker };
    is_blamed(client.create_token(many).await, "uses");
    let mut client = TrustServiceClient::new(channel.clone());
    let rotate = pb::RotateCertificateAuthorityRequest {
        tenant_id: "acme".into(),
        kind: pb::CaKind::Tenant.into(),
        action: pb::RotationAction::Due.into(),
        request_id: "r-1".into(),
        force: false,
    };
    for kind in [0, 2, 9] {
        let request = pb::RotateCertificateAuthorityRequest { kind, ..rotate.clone() };
        is_blamed(client.rotate_certificate_authority(request).await, "kind");
    }
    for action in [0, 9] {
        let request = pb::RotateCertificateAuthorityRequest { action, ..rotate.clone() };
        let status = client.rotate_certificate_authority(request).await.unwrap_err();
        for name in
            ["ROTATION_ACTION_DUE", "ROTATION_ACTION_PREPARE", "ROTATION_ACTION_ACTIVATE", "ROTATION_ACTION_RETIRE"]
        {
            assert!(status.message().contains(name), "{status:?}");
        }
        is_blamed(Err::<(), _>(status), "action");
    }
    let mut client = AuditServiceClient::new(channel.clone());
    let request = pb::ListAuditEventsRequest {
        start_time: Some(Timestamp { seconds: i64::MAX, nanos: 0 }),
        ..Default::default()
    };
    is_blamed(client.list_audit_events(request).await, "start_time");
}

#[tokio::test]
async fn bad_fields_are_named_and_nothing_changes() {
    let world = World::new().await;
    let node = world.node().await;
    world.tenant(&node, "acme", Isolation::Shared).await;
    world.principal(&node, "acme", "w-1", PrincipalType::Worker, &[]).await;
    let before = (world.audit(&node, "acme").await, world.audit(&node, "system").await.len());
    let channel = world.admin(&node);
    tenants_blame_the_field(&channel).await;
    principals_blame_the_field(&channel).await;
    certificates_blame_the_field(&channel).await;
    the_rest_blames_the_field(&channel).await;
    let after = (world.audit(&node, "acme").await, world.audit(&node, "system").await.len());
    assert_eq!(before, after);
    node.end().await;
}

#[tokio::test]
async fn bytes_that_are_no_message_are_the_callers_fault() {
    let world = World::new().await;
    let node = world.node().await;
    let stranger = world.connector(&node, None).channel();
    for garbage in [&[0xff_u8; 40][..], &[0x0a, 0x7f, 1], &[0x08, 1]] {
        let status = dynamic::send(&stranger, "/signet.v1.EnrollmentService/Enroll", garbage).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "INVALID_MESSAGE"), "{status:?}");
    }
    let metrics = node.metrics().await;
    let count = |code: &str| {
        let name = format!("signet_rpc_total{{operation=\"Enroll\",code=\"{code}\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&name)).map(str::to_owned)
    };
    assert_eq!((count("INVALID_ARGUMENT").as_deref(), count("INTERNAL").as_deref()), (Some("3"), None));
    node.end().await;
}

#[tokio::test]
async fn an_enrollment_without_proof_key_or_request_id_is_told_so() {
    let world = World::new().await;
    let node = world.node().await;
    let mut client = EnrollmentServiceClient::new(world.connector(&node, None).channel());
    let whole = pb::EnrollRequest {
        proof: Some(pb::enroll_request::Proof::JoinToken("made-up".into())),
        principal_id: String::new(),
        csr_der: KeyAndCsr::generate().unwrap().csr_der,
        request_id: "r-1".into(),
        tenant_id: String::new(),
    };
    is_blamed(client.enroll(pb::EnrollRequest { proof: None, ..whole.clone() }).await, "proof");
    is_blamed(client.enroll(pb::EnrollRequest { csr_der: Vec::new(), ..whole.clone() }).await, "csr_der");
    is_blamed(client.enroll(pb::EnrollRequest { request_id: String::new(), ..whole.clone() }).await, "request_id");
    let long = Some(pb::enroll_request::Proof::JoinToken("x".repeat(1000)));
    is_blamed(client.enroll(pb::EnrollRequest { proof: long, ..whole.clone() }).await, "join_token");
    let oidc = |text: &str| Some(pb::enroll_request::Proof::OidcToken(text.into()));
    is_blamed(client.enroll(pb::EnrollRequest { proof: oidc("a.b.c"), ..whole.clone() }).await, "tenant_id");
    let in_acme = pb::EnrollRequest { tenant_id: "acme".into(), ..whole.clone() };
    is_blamed(client.enroll(pb::EnrollRequest { proof: oidc(""), ..in_acme.clone() }).await, "oidc_token");
    let aws = Some(pb::enroll_request::Proof::AwsIam(pb::AwsIamProof::default()));
    is_blamed(client.enroll(pb::EnrollRequest { proof: aws, ..in_acme.clone() }).await, "aws_iam");
    let x509 = Some(pb::enroll_request::Proof::X509(pb::X509Proof::default()));
    is_blamed(client.enroll(pb::EnrollRequest { proof: x509, ..in_acme }).await, "x509.sign_time");
    let status = client.enroll(whole).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    node.end().await;
}
