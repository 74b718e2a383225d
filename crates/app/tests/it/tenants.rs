//! Tenants.

use signet_app::{CreateTenant, PageRequest, Settings, TenantPatch, authorities, tenants};
use signet_core::{
    Error, Lifetime, PrincipalType,
    authorities::CaState,
    tenants::{DEFAULT_MAX_CERTIFICATES, Isolation, TenantStatus},
};
use signet_testkit::fixtures::later;

use crate::world::*;

#[tokio::test]
async fn a_tenant_comes_with_its_own_active_ca() {
    let world = World::new().await;
    let tenant = tenants::get_tenant(&world.app, &call("GetTenant"), &acme()).await.unwrap();
    assert_eq!((tenant.status, tenant.max_certificates), (TenantStatus::Active, DEFAULT_MAX_CERTIFICATES));
    let cas = authorities::list_cas(&world.app, &call("ListCas"), &acme()).await.unwrap();
    assert_eq!(cas.iter().map(|ca| (ca.id.as_str(), ca.state)).collect::<Vec<_>>(), [("acme.1", CaState::Active)]);
    assert_eq!(cas[0].issuer.as_str(), "root.1");
}

#[tokio::test]
async fn tenants_are_listed_page_by_page() {
    let world = World::new().await;
    for number in 0..7 {
        tenants::create_tenant(&world.app, &call("Create"), &environment(), shared(&format!("t{number}")))
            .await
            .unwrap();
    }
    let mut page = PageRequest { size: 2, token: String::new() };
    let mut seen = Vec::new();
    loop {
        let listed =
            tenants::list_tenants(&world.app, &call("ListTenants"), &environment(), false, &page).await.unwrap();
        assert!(listed.items.len() <= 2);
        seen.extend(listed.items.into_iter().map(|tenant| tenant.id.to_string()));
        page.token = listed.next_page_token;
        if page.token.is_empty() {
            break;
        }
    }
    seen.sort();
    assert_eq!(seen, ["acme", "system", "t0", "t1", "t2", "t3", "t4", "t5", "t6"]);
}

fn shared(id: &str) -> CreateTenant {
    CreateTenant { isolation: Isolation::Shared, ..new_tenant(id) }
}

#[tokio::test]
async fn a_patch_changes_what_it_names_and_nothing_twice() {
    let world = World::new().await;
    let lifetimes = [(PrincipalType::Worker, Lifetime::hours(1))].into();
    let patch = TenantPatch { display_name: Some("Acme".into()), lifetimes: Some(lifetimes), ..TenantPatch::default() };
    for seconds in [10, 20] {
        let call = at(call("UpdateTenant"), later(seconds));
        let tenant =
            tenants::update_tenant(&world.app, &call, &environment(), &tid("acme"), patch.clone()).await.unwrap();
        assert_eq!((tenant.display_name.as_str(), tenant.updated_at), ("Acme", later(10)));
        assert_eq!(tenant.lifetime(PrincipalType::Worker), Lifetime::hours(1));
        assert_eq!(tenant.max_certificates, DEFAULT_MAX_CERTIFICATES);
    }
    assert_eq!(world.outcomes("UpdateTenant"), ["OK"]);
}

#[tokio::test]
async fn the_system_tenant_cannot_be_locked_out() {
    let world = World::new().await;
    let refused =
        tenants::suspend_tenant(&world.app, &call("Suspend"), &environment(), &tid("system")).await.unwrap_err();
    assert_eq!(refused.reason(), "SYSTEM_TENANT");
}

#[tokio::test]
async fn without_a_root_no_tenant_is_made() {
    let world = World::empty();
    let refused =
        tenants::create_tenant(&world.app, &call("Create"), &environment(), new_tenant("acme")).await.unwrap_err();
    assert_eq!(refused.reason(), "NO_ACTIVE_ROOT");
    assert!(matches!(tenants::get_tenant(&world.app, &call("Get"), &acme()).await, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn a_tenant_id_is_taken_once() {
    let world = World::new().await;
    let refused =
        tenants::create_tenant(&world.app, &call("Create"), &environment(), new_tenant("acme")).await.unwrap_err();
    assert_eq!(refused, Error::AlreadyExists { resource: "tenant", id: "acme".into() });
}

/// Its CA may name what lies in its trust domain, and so the control plane.
#[tokio::test]
async fn no_tenants_trust_domain_holds_a_name_of_the_control_plane() {
    let world = World::new().await;
    let own_hosts = ["localhost", "signet.test.example.com", "eu.enroll.test.example.com"].map(String::from);
    let app = world.node_with(Settings { own_hosts: own_hosts.into(), ..Settings::default() });
    let cases = [("signet", "signet.test.example.com"), ("enroll", "eu.enroll.test.example.com")];
    for (id, host) in cases {
        for input in [new_tenant(id), shared(id)] {
            let refused = tenants::create_tenant(&app, &call("Create"), &environment(), input).await.unwrap_err();
            let Error::Invalid { field, reason, message } = refused else { panic!("{refused:?}") };
            assert_eq!((field, reason), ("tenant.tenant_id", "TRUST_DOMAIN_OF_SERVER"));
            assert!(message.contains(host) && message.contains("choose another id"), "{message}");
        }
    }
    for id in ["eu", "localhost", "signet-2"] {
        tenants::create_tenant(&app, &call("Create"), &environment(), new_tenant(id)).await.unwrap();
    }
    assert_eq!(tenants::around_own_hosts(&app, later(0)).await.unwrap(), []);
    // From before the name, or the rule.
    for (id, _) in cases {
        world.tenant(id).await;
    }
    let found = tenants::around_own_hosts(&app, later(0)).await.unwrap();
    assert_eq!(found, cases.map(|(id, host)| (tid(id), host.to_owned())));
}
