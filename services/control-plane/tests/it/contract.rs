//! What the .proto files promise of all RPCs alike.

use prost_reflect::{DynamicMessage, FieldDescriptor, MethodDescriptor, ReflectMessage, Value};
use signet_control_plane::authorization::Table;
use signet_core::{PrincipalType, audit::Severity, authorization::Policy};
use signet_proto::v1::{
    self as pb, Isolation, certificate_service_client::CertificateServiceClient,
    trust_service_client::TrustServiceClient,
};
use signet_x509::KeyAndCsr;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::{
    dynamic::{self, Fields},
    world::{Node, World, reason},
};

/// RPCs that change something, by their rules.
fn changes() -> Vec<MethodDescriptor> {
    let table = Table::from_descriptors(signet_proto::DESCRIPTORS, &Policy::new()).unwrap();
    let mutates = |method: &MethodDescriptor| {
        let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
        table.route(&path).unwrap().mutates
    };
    dynamic::methods().into_iter().filter(mutates).collect()
}

#[test]
fn rpcs_that_suspend_revoke_or_delete_are_events_of_high_severity() {
    for method in changes() {
        let takes_away = ["Suspend", "Revoke", "Delete"].iter().any(|verb| method.name().starts_with(verb));
        let is_high = Severity::of(method.name(), "OK") == Severity::High;
        assert_eq!(is_high, takes_away, "{}", method.name());
    }
}

/// Values of whole requests in `acme`.
fn fields(serial_number: &str) -> Fields {
    Fields {
        tenant_id: "acme".into(),
        principal_id: "w-1".into(),
        issuer_id: "acme.1".into(),
        serial_number: serial_number.into(),
        token_id: "made-up".into(),
        csr_der: KeyAndCsr::generate().unwrap().csr_der,
        whole: true,
    }
}

/// Whether a field's comment says that callers must send it. Of a oneof, any field will do.
fn is_required(field: &FieldDescriptor) -> bool {
    let file = field.parent_file();
    let info = file.file_descriptor_proto().source_code_info.as_ref().expect("source information is kept");
    let place = info.location.iter().find(|location| location.path == field.path());
    place.is_some_and(|place| place.leading_comments().trim_start().starts_with("Required."))
}

/// `message` without one of its required fields, each with that one's name; in what is made or changed too.
fn each_without_one(message: &DynamicMessage, within: &str) -> Vec<(String, DynamicMessage)> {
    let mut found = Vec::new();
    for field in message.descriptor().fields() {
        let name = format!("{within}{}", field.name());
        if is_required(&field) {
            let mut without = message.clone();
            without.clear_field(&field);
            found.push((name.clone(), without));
        }
        if let (Some(Value::Message(inner)), "tenant" | "principal" | "rule") =
            (message.has_field(&field).then(|| message.get_field(&field).into_owned()), field.name())
        {
            for (name, inner) in each_without_one(&inner, &format!("{name}.")) {
                let mut whole = message.clone();
                whole.set_field(&field, Value::Message(inner));
                found.push((name, whole));
            }
        }
    }
    found
}

#[tokio::test]
async fn what_is_required_is_missed_and_named() {
    let world = World::new().await;
    let node = world.node().await;
    world.tenant(&node, "acme", Isolation::Dedicated).await;
    let held = world.principal(&node, "acme", "w-1", PrincipalType::Worker, &[]).await;
    let admin = world.admin(&node);
    let before = logged(&world, &node).await;
    let mut asked = 0;
    // A certificate is no proof, and only services exchange tokens.
    for method in dynamic::methods().iter().filter(|method| !["Enroll", "ExchangeToken"].contains(&method.name())) {
        let whole = dynamic::request(method, &fields(&held.facts().serial_number));
        for (field, message) in each_without_one(&whole, "") {
            // It says so: the type of who is changed need not be given.
            if (method.name(), field.as_str()) == ("UpdatePrincipal", "principal.principal_type") {
                continue;
            }
            let told = dynamic::call(&admin, method, &message).await.expect_err(&format!("{} {field}", method.name()));
            let blamed = told.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
            let blamed = blamed.first().map(|violation| violation.field.clone());
            assert_eq!((told.code(), blamed), (Code::InvalidArgument, Some(field)), "{}: {told:?}", method.name());
            asked += 1;
        }
    }
    assert!(asked >= 45, "only {asked}: are the comments read?");
    assert_eq!(logged(&world, &node).await, before, "something was changed");
    node.end().await;
}

async fn logged(world: &World, node: &Node) -> usize {
    world.audit(node, "acme").await.len() + world.audit(node, "system").await.len()
}

#[tokio::test]
async fn no_change_is_made_without_a_request_id() {
    let world = World::new().await;
    let node = world.node().await;
    world.tenant(&node, "acme", Isolation::Dedicated).await;
    let held = world.principal(&node, "acme", "w-1", PrincipalType::Worker, &[]).await;
    let (admin, stranger) = (world.admin(&node), world.connector(&node, None).channel());
    let before = logged(&world, &node).await;
    let changes = changes();
    for method in &changes {
        let channel = if method.name() == "Enroll" { &stranger } else { &admin };
        let mut message = dynamic::request(method, &fields(&held.facts().serial_number));
        message.clear_field_by_name("request_id");
        let status = dynamic::call(channel, method, &message).await.expect_err(method.name());
        assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "REQUIRED"), "{}", method.name());
        let blamed = status.get_details_bad_request().unwrap().field_violations;
        assert_eq!(blamed[0].field, "request_id", "{}", method.name());
        assert!(status.message().contains("a new UUID"), "{status:?}");
    }
    assert!(changes.len() >= 18, "only {}: are the rules read?", changes.len());
    assert_eq!(logged(&world, &node).await, before, "something was changed");
    node.end().await;
}

#[tokio::test]
async fn a_certificate_may_be_revoked_without_a_reason_if_that_is_said() {
    let world = World::new().await;
    let node = world.node().await;
    world.tenant(&node, "acme", Isolation::Dedicated).await;
    let held = world.principal(&node, "acme", "w-1", PrincipalType::Worker, &[]).await;
    let request = pb::RevokeCertificateRequest {
        tenant_id: "acme".into(),
        issuer_id: "acme.1".into(),
        serial_number: held.facts().serial_number.clone(),
        reason: pb::RevocationReason::NotStated.into(),
        request_id: signet_client::request_id(),
        or_unrecorded: false,
    };
    let mut client = CertificateServiceClient::new(world.admin(&node));
    let get = pb::GetCertificateRequest {
        tenant_id: "acme".into(),
        issuer_id: "acme.1".into(),
        serial_number: held.facts().serial_number.clone(),
    };
    let valid = client.get_certificate(get).await.unwrap().into_inner();
    assert_eq!((valid.revoke_time, valid.revocation_reason()), (None, pb::RevocationReason::Unspecified));
    let revoked = client.revoke_certificate(request).await.unwrap().into_inner();
    assert_eq!(revoked.revocation_reason(), pb::RevocationReason::NotStated);
    node.end().await;
}

#[tokio::test]
async fn cas_are_listed_in_pages() {
    let world = World::new().await;
    let node = world.node().await;
    let mut client = TrustServiceClient::new(world.admin(&node));
    let mut page = async |page_size, page_token: &str, tenant_id: &str| -> Result<_, Status> {
        let (tenant_id, page_token) = (tenant_id.into(), page_token.into());
        let request = pb::ListCertificateAuthoritiesRequest { tenant_id, page_size, page_token };
        client.list_certificate_authorities(request).await.map(tonic::Response::into_inner)
    };
    let whole = page(0, "", "system").await.unwrap();
    assert!(whole.next_page_token.is_empty() && whole.certificate_authorities.len() > 2, "{whole:?}");
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let found = page(1, &token, "system").await.unwrap();
        assert_eq!(found.certificate_authorities.len(), 1);
        seen.extend(found.certificate_authorities);
        if found.next_page_token.is_empty() {
            break;
        }
        token = found.next_page_token;
    }
    assert_eq!(seen, whole.certificate_authorities);
    let elsewhere = page(1, &token, "acme").await.unwrap_err();
    assert_eq!(reason(&elsewhere), "INVALID_PAGE_TOKEN");
    assert_eq!(reason(&page(1001, "", "system").await.unwrap_err()), "OUT_OF_RANGE");
    node.end().await;
}
