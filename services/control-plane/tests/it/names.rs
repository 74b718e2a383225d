//! Names of the control plane, which no tenant's CA may name.

use std::process::Stdio;

use signet_proto::v1::{self as pb, Isolation, tenant_service_client::TenantServiceClient};
use tonic::Code;

use crate::{
    program::Program,
    world::{World, reason},
};

const NAMED: &str = "server = { dns_names = ['localhost', 'signet.test.example.com'], ip_addresses = [] }\n\
                     enrollment = { api_domain = 'api.enroll.test.example.com' }\n";

#[tokio::test]
async fn a_tenant_that_would_hold_a_name_of_the_control_plane_is_not_made() {
    let world = World::with_config(NAMED).await;
    let node = world.node().await;
    for id in ["signet", "enroll"] {
        let isolation = Isolation::Dedicated.into();
        let tenant = Some(pb::Tenant { tenant_id: id.into(), isolation, ..Default::default() });
        let request = pb::CreateTenantRequest { tenant, request_id: signet_client::request_id() };
        let refused = TenantServiceClient::new(world.admin(&node)).create_tenant(request).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "TRUST_DOMAIN_OF_SERVER"));
    }
    world.tenant(&node, "api", Isolation::Dedicated).await;
    node.end().await;
}

#[tokio::test]
async fn an_older_tenant_like_that_is_told_at_each_start_and_by_check() {
    let world = World::new().await;
    let node = world.node().await;
    world.tenant(&node, "signet", Isolation::Dedicated).await;
    node.end().await;
    let program = Program::start(&world, NAMED, Stdio::piped()).await;
    let checked = program.check().await;
    let told = String::from_utf8_lossy(&checked.stdout).into_owned();
    let warning = "tenant signet has the trust domain signet.test.example.com, and signet.test.example.com is a name of \
                   the control plane";
    assert!(checked.status.success() && told.contains(&format!("warning          {warning}")), "{told}");
    let (code, log) = program.end().await;
    assert_eq!((code, log.matches(warning).count()), (Some(0), 1), "{log}");
}
