//! A principal's way over the wire: token, enrollment, renewal, lists; and requests that are repeated.

use secrecy::SecretString;
use signet_client::{Retry, enroll, renew};
use signet_core::PrincipalType;
use signet_proto::v1::{
    self as pb, Isolation, certificate_service_client::CertificateServiceClient,
    enrollment_service_client::EnrollmentServiceClient, principal_service_client::PrincipalServiceClient,
    tenant_service_client::TenantServiceClient,
};
use signet_x509::KeyAndCsr;
use tonic::Code;

use crate::{
    status::who_am_i,
    world::{World, reason, wire_type},
};

#[tokio::test]
async fn a_worker_enrolls_renews_and_is_known() {
    let world = World::new().await;
    let node = world.node().await;
    world.tenant(&node, "acme", Isolation::Dedicated).await;
    let request = pb::CreateTokenRequest {
        tenant_id: "acme".into(),
        principal_type: wire_type(PrincipalType::Worker),
        principal_id: "w-1".into(),
        request_id: "token".into(),
        ..Default::default()
    };
    let mut tokens = EnrollmentServiceClient::new(world.admin(&node));
    let made = tokens.create_token(request).await.unwrap().into_inner();
    let anonymous = world.connector(&node, None).channel();
    let secret = SecretString::from(made.secret);
    let first = enroll(&anonymous, &secret, None, Retry::default()).await.unwrap();
    // Used up: whoever comes second learns nothing but that.
    let again = KeyAndCsr::generate().unwrap();
    let second = pb::EnrollRequest {
        proof: Some(pb::enroll_request::Proof::JoinToken(secrecy::ExposeSecret::expose_secret(&secret).to_owned())),
        csr_der: again.csr_der,
        request_id: "again".into(),
        ..Default::default()
    };
    let status = EnrollmentServiceClient::new(anonymous).enroll(second).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unauthenticated, "ENROLLMENT_REFUSED"));
    assert_eq!(status.message(), "enrollment refused");

    let channel = world.channel(&node, &first);
    let known = who_am_i(&channel).await.unwrap();
    assert_eq!(known.spiffe_id, "spiffe://acme.test.example.com/worker/w-1");
    assert_eq!(known.issuer_id, "acme.1");
    assert_eq!(known.permissions["certificates.renew"], "own");
    assert!(!known.permissions.contains_key("principals.list"));
    let next = renew(&channel, Retry::default()).await.unwrap();
    assert_ne!(next.facts().serial_number, first.facts().serial_number);
    let mut certificates = CertificateServiceClient::new(world.channel(&node, &next));
    let listed = certificates.list_certificates(pb::ListCertificatesRequest::default()).await.unwrap().into_inner();
    assert_eq!(listed.certificates.len(), 2);
    assert_eq!(listed.certificates[0].renews_serial_number, first.facts().serial_number);
    node.end().await;
}

#[tokio::test]
async fn a_repeated_request_changes_nothing_and_another_with_its_id_is_an_error() {
    let world = World::new().await;
    let node = world.node().await;
    let mut tenants = TenantServiceClient::new(world.admin(&node));
    let request = |name: &str| pb::CreateTenantRequest {
        tenant: Some(pb::Tenant {
            tenant_id: "acme".into(),
            display_name: name.into(),
            isolation: Isolation::Shared.into(),
            ..Default::default()
        }),
        request_id: "one".into(),
    };
    let first = tenants.create_tenant(request("Acme")).await.unwrap().into_inner();
    assert_eq!(tenants.create_tenant(request("Acme")).await.unwrap().into_inner(), first);
    let status = tenants.create_tenant(request("Other")).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "REQUEST_ID_REUSED"));
    world.principal(&node, "acme", "w-1", PrincipalType::Worker, &[]).await;
    let issue = pb::IssueCertificateRequest {
        tenant_id: "acme".into(),
        principal_id: "w-1".into(),
        csr_der: KeyAndCsr::generate().unwrap().csr_der,
        request_id: "two".into(),
    };
    let mut certificates = CertificateServiceClient::new(world.admin(&node));
    let one = certificates.issue_certificate(issue.clone()).await.unwrap().into_inner();
    assert_eq!(certificates.issue_certificate(issue).await.unwrap().into_inner(), one);
    let events = world.audit(&node, "acme").await;
    let issued = events.iter().filter(|event| event["operation"] == "IssueCertificate").count();
    assert_eq!(issued, 2, "one for the fixture, one for the request sent twice");
    node.end().await;
}

#[tokio::test]
async fn lists_come_in_pages_and_their_tokens_are_good_for_them_only() {
    let world = World::new().await;
    let node = world.node().await;
    world.tenant(&node, "acme", Isolation::Shared).await;
    let mut principals = PrincipalServiceClient::new(world.admin(&node));
    for number in 0..7 {
        let principal = pb::Principal {
            tenant_id: "acme".into(),
            principal_id: format!("w-{number}"),
            principal_type: wire_type(PrincipalType::Worker),
            ..Default::default()
        };
        let request =
            pb::CreatePrincipalRequest { principal: Some(principal), request_id: signet_client::request_id() };
        principals.create_principal(request).await.unwrap();
    }
    let (mut seen, mut page_token, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let request = pb::ListPrincipalsRequest { tenant_id: "acme".into(), page_size: 3, page_token };
        let page = principals.list_principals(request).await.unwrap().into_inner();
        assert!(page.principals.len() <= 3);
        seen.extend(page.principals.into_iter().map(|principal| principal.principal_id));
        (page_token, pages) = (page.next_page_token, pages + 1);
        if page_token.is_empty() {
            break;
        }
        let elsewhere = pb::ListTenantsRequest { page_size: 3, page_token: page_token.clone(), show_deleted: false };
        let status = TenantServiceClient::new(world.admin(&node)).list_tenants(elsewhere).await.unwrap_err();
        assert_eq!(reason(&status), "INVALID_PAGE_TOKEN");
    }
    seen.sort();
    assert_eq!(seen, (0..7).map(|number| format!("w-{number}")).collect::<Vec<_>>());
    assert!(pages >= 3);
    node.end().await;
}
