//! Invariant 8: whatever a principal of one tenant asks of another tenant is refused, RPC by RPC, with requests that
//! would succeed if they were allowed.

use prost_reflect::MethodDescriptor;
use signet_core::PrincipalType;
use signet_proto::v1::{
    CreateTokenRequest, Isolation, RotateMessageSecretRequest, enrollment_service_client::EnrollmentServiceClient,
    message_service_client::MessageServiceClient,
};
use signet_x509::KeyAndCsr;
use tonic::Code;

use crate::{
    dynamic::{self, Fields},
    world::{Node, World, wire_type},
};

/// A whole request's values in `tenant`: its principal, that one's certificate, and a token.
async fn fields(world: &World, node: &Node, tenant: &str) -> Fields {
    // A device, since only these have message secrets.
    let victim = world.principal(node, tenant, "victim", PrincipalType::Device, &[]).await;
    let secret = RotateMessageSecretRequest {
        tenant_id: tenant.into(),
        principal_id: "victim".into(),
        request_id: signet_client::request_id(),
        ..Default::default()
    };
    MessageServiceClient::new(world.admin(node)).rotate_message_secret(secret).await.unwrap();
    let token = CreateTokenRequest {
        tenant_id: tenant.into(),
        principal_type: wire_type(PrincipalType::Device),
        request_id: signet_client::request_id(),
        ..Default::default()
    };
    let token = EnrollmentServiceClient::new(world.admin(node)).create_token(token).await.unwrap().into_inner();
    Fields {
        tenant_id: tenant.into(),
        principal_id: "victim".into(),
        issuer_id: format!("{tenant}.1"),
        serial_number: victim.facts().serial_number.clone(),
        token_id: token.token.unwrap().token_id,
        csr_der: KeyAndCsr::generate().unwrap().csr_der,
        whole: true,
    }
}

#[tokio::test]
async fn every_rpc_refuses_every_type_of_another_tenant() {
    let world = World::new().await;
    let node = world.node().await;
    world.tenant_with_limit(&node, "acme", Isolation::Shared, 0).await;
    world.tenant_with_limit(&node, "globex", Isolation::Dedicated, 0).await;
    let fields = fields(&world, &node, "globex").await;
    let before = world.audit(&node, "globex").await.len();
    let methods = dynamic::methods();
    let (mut asked, mut accepted) = (0, Vec::new());
    for principal_type in PrincipalType::ALL {
        for role in ["operator", "viewer"] {
            let id = format!("{principal_type}-{role}");
            let credentials = world.principal(&node, "acme", &id, principal_type, &[role]).await;
            let channel = world.channel(&node, &credentials);
            for method in methods.iter().filter(|method| dynamic::names_tenant(&method.input())) {
                let result = dynamic::call(&channel, method, &dynamic::request(method, &fields)).await;
                let code = result.map_or_else(|status| status.code(), |_| Code::Ok);
                let refused = matches!(code, Code::NotFound | Code::PermissionDenied | Code::Unauthenticated);
                if !refused {
                    accepted.push(format!("{principal_type}+{role} {}: {code:?}", method.name()));
                }
                asked += 1;
            }
        }
    }
    assert!(accepted.is_empty(), "{accepted:#?}");
    assert!(asked >= 200, "only {asked} calls: are the descriptors read?");
    assert_eq!(world.audit(&node, "globex").await.len(), before, "something happened in the other tenant");

    // The same requests are good ones: who may, succeeds. Nobody who has a certificate enrolls.
    let admin = world.admin(&node);
    let mut succeeded = 0;
    let good = |method: &&_| dynamic::names_tenant(&MethodDescriptor::input(method)) && method.name() != "Enroll";
    for method in methods.iter().filter(good) {
        let result = dynamic::call(&admin, method, &dynamic::request(method, &fields)).await;
        let code = result.map_or_else(|status| status.code(), |_| Code::Ok);
        let fine = matches!(code, Code::Ok | Code::AlreadyExists | Code::FailedPrecondition);
        assert!(fine, "{}: {code:?}: the test's request is not a whole one", method.name());
        succeeded += usize::from(code == Code::Ok);
    }
    assert!(succeeded >= 15, "{succeeded}");
    node.end().await;
}

/// Who mistypes a tenant must not take "there is nothing" for an answer.
#[tokio::test]
async fn every_rpc_tells_the_operator_that_a_tenant_does_not_exist() {
    // The first makes it; checkpoints are the environment's; a proof's tenant is no one's to ask for; a tail says it in
    // its first message (`app: audit`).
    const OTHERS: [&str; 4] = ["CreateTenant", "ListAuditCheckpoints", "Enroll", "TailAuditEvents"];
    let world = World::new().await;
    let node = world.node().await;
    world.tenant_with_limit(&node, "acme", Isolation::Shared, 0).await;
    let fields = Fields { tenant_id: "acmee".into(), ..fields(&world, &node, "acme").await };
    let admin = world.admin(&node);
    let methods = dynamic::methods();
    let (mut asked, mut wrong) = (0, Vec::new());
    for method in methods.iter().filter(|method| dynamic::names_tenant(&method.input())) {
        if OTHERS.contains(&method.name()) {
            continue;
        }
        asked += 1;
        let told = dynamic::call(&admin, method, &dynamic::request(method, &fields)).await;
        let told =
            told.map_or_else(|status| (status.code(), status.message().to_owned()), |_| (Code::Ok, String::new()));
        if told != (Code::NotFound, "tenant acmee does not exist".into()) {
            wrong.push(format!("{}: {told:?}", method.name()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(asked >= 20, "only {asked} calls: are the descriptors read?");
    node.end().await;
}
