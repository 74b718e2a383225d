//! Deleted tenants: only suspended ones, nothing of them changes, and the way back ends with the grace time.

use signet_app::{
    Chore, PageRequest, RotationAction, TenantPatch, authorities,
    authorities::lifecycle,
    enrollment::{rules, tokens},
    principals,
    tenants::{self, deletion},
};
use signet_core::{
    Error, Lifetime, PrincipalType, Time,
    authorities::CaKind,
    certificates::renewal::{Steering, Window},
    store::Write,
    tenants::{Tenant, TenantStatus},
};
use signet_testkit::fixtures::{NOW, later};

use crate::{restore::by_hand, rules::oidc_rule, world::*};

/// The default grace time.
pub(crate) const GRACE: u32 = 30 * 86_400;

impl World {
    /// Suspends and deletes a tenant.
    pub(crate) async fn delete_tenant(&self, id: &str) -> Tenant {
        tenants::suspend_tenant(&self.app, &call("SuspendTenant"), &environment(), &tid(id)).await.unwrap();
        deletion::delete_tenant(&self.app, &call("DeleteTenant"), &environment(), &tid(id)).await.unwrap()
    }

    pub(crate) async fn undelete(&self, id: &str, now: Time) -> Result<Tenant, Error> {
        deletion::undelete_tenant(&self.app, &at(call("UndeleteTenant"), now), &environment(), &tid(id)).await
    }

    async fn listed(&self, show_deleted: bool) -> Vec<String> {
        let page = PageRequest { size: 1000, token: String::new() };
        let call = call("ListTenants");
        let found = tenants::list_tenants(&self.app, &call, &environment(), show_deleted, &page).await.unwrap();
        let mut ids: Vec<_> = found.items.into_iter().map(|tenant| tenant.id.to_string()).collect();
        ids.sort();
        ids
    }
}

#[tokio::test]
async fn only_a_suspended_tenant_is_deleted_and_never_the_system_tenant() {
    let world = World::new().await;
    let delete = async |id| {
        let call = call("DeleteTenant");
        let refused = deletion::delete_tenant(&world.app, &call, &environment(), &tid(id)).await.unwrap_err();
        (refused.reason(), refused.to_string())
    };
    let (reason, message) = delete("acme").await;
    assert!(reason == "TENANT_NOT_SUSPENDED" && message.contains("principal tenant suspend acme"), "{message}");
    assert_eq!(delete("system").await.0, "SYSTEM_TENANT");
    assert_eq!(delete("nobody").await.0, "NOT_FOUND");
    let deletion = world.delete_tenant("acme").await.deletion.unwrap();
    assert_eq!((deletion.at, deletion.purge_at, deletion.purge), (NOW, later(GRACE), None));
}

#[tokio::test]
async fn a_deleted_tenant_reads_as_before_and_nothing_of_it_changes() {
    let world = World::new().await;
    world.principal("worker").await;
    let before = world.delete_tenant("acme").await;
    let app = &world.app;
    let deleted = |answer: Result<(), Error>, what: &str| {
        assert_eq!(answer.unwrap_err().reason(), "TENANT_DELETED", "{what}");
    };
    let (id, env) = (tid("acme"), environment());
    let patch = TenantPatch { max_certificates: Some(7), ..TenantPatch::default() };
    deleted(tenants::update_tenant(app, &call("Update"), &env, &id, patch).await.map(drop), "update");
    deleted(tenants::activate_tenant(app, &call("Activate"), &env, &id).await.map(drop), "activate");
    deleted(tenants::suspend_tenant(app, &call("Suspend"), &env, &id).await.map(drop), "suspend");
    let window = Window { start: later(60), end: later(7200) };
    let steering = Some(Steering { issued_before: NOW, window });
    deleted(tenants::steer_renewals(app, &call("Steer"), &acme(), steering).await.map(drop), "steer");
    for action in [RotationAction::Prepare, RotationAction::Activate, RotationAction::Retire] {
        let rotated = authorities::rotate_ca(app, &call("Rotate"), &acme(), CaKind::Tenant, action).await;
        deleted(rotated.map(drop), "rotate");
    }
    let principal = new_principal("other", PrincipalType::Worker, &[]);
    deleted(principals::create_principal(app, &call("Create"), &acme(), principal).await.map(drop), "create");
    deleted(tokens::create_token(app, &call("Create"), &admin(), &acme(), new_token()).await.map(drop), "token");
    deleted(rules::create_rule(app, &call("Create"), &admin(), &acme(), oidc_rule("ci")).await.map(drop), "rule");
    deleted(tenants::create_tenant(app, &call("Create"), &env, new_tenant("acme")).await.map(drop), "create again");

    assert_eq!(tenants::get_tenant(app, &call("GetTenant"), &acme()).await.unwrap(), before);
    assert_eq!(world.get_principal("worker").await.id, pid("worker"));
    assert_eq!(world.listed(false).await, ["system"]);
    assert_eq!(world.listed(true).await, ["acme", "system"]);
}

#[tokio::test]
async fn a_deletion_is_taken_back_within_its_grace_time_and_no_later() {
    let world = World::new().await;
    let before = tenants::get_tenant(&world.app, &call("GetTenant"), &acme()).await.unwrap();
    world.delete_tenant("acme").await;
    let back = world.undelete("acme", later(GRACE - 1)).await.unwrap();
    let (status, updated_at) = (TenantStatus::Suspended, later(GRACE - 1));
    assert_eq!(back, Tenant { status, updated_at, ..before }, "all but the suspension is as it was");
    assert_eq!(world.undelete("acme", later(GRACE - 1)).await.unwrap(), back, "undeleted already");
    tenants::activate_tenant(&world.app, &call("Activate"), &environment(), &tid("acme")).await.unwrap();

    world.delete_tenant("acme").await;
    let late = world.undelete("acme", later(GRACE)).await.unwrap_err();
    assert_eq!(late.reason(), "TENANT_PURGED", "{late}");
    assert_eq!(world.outcomes("UndeleteTenant"), ["OK"]);
}

/// Who asks again, with another id, does not put the purge off.
#[tokio::test]
async fn a_deletion_that_is_repeated_changes_nothing() {
    let world = World::new().await;
    let deleted = world.delete_tenant("acme").await;
    let again = at(call_with_id("DeleteTenant", "again"), later(1000));
    let answer = deletion::delete_tenant(&world.app, &again, &environment(), &tid("acme")).await.unwrap();
    assert_eq!(answer, deleted);
    assert_eq!(world.outcomes("DeleteTenant"), ["OK"]);
}

/// A process of a version that knows no deletions lifts the suspension only.
#[tokio::test]
async fn what_an_older_node_activates_stays_refused() {
    let world = World::new().await;
    world.delete_tenant("acme").await;
    let found = environment().get::<Tenant>(&*world.ledger, &Tenant::key_of(&tid("acme")), NOW).await.unwrap().unwrap();
    let activated = Tenant { status: TenantStatus::Active, ..found.value };
    let write = Write::replace(activated, found.version);
    by_hand(&*world.ledger, vec![write]).await;
    let input = new_principal("other", PrincipalType::Worker, &[]);
    let refused = principals::create_principal(&world.app, &call("Create"), &acme(), input).await;
    assert_eq!(refused.unwrap_err().reason(), "TENANT_DELETED");
    let back = world.undelete("acme", later(10)).await.unwrap();
    assert_eq!(back.status, TenantStatus::Suspended);
}

/// Years pass, and no key is made for it; undeleted, it catches up.
#[tokio::test]
async fn a_deleted_tenants_cas_are_not_rotated() {
    let world = World::new().await;
    world.tenant("globex").await;
    world.delete_tenant("acme").await;
    let year = NOW.plus(Lifetime::days(400));
    let rotate = async |now: Time| {
        let chore = Chore::new("rotate-cas", now);
        let report = lifecycle::rotate_due_cas(&world.app, &chore, &|| Some(now)).await.unwrap();
        assert_eq!(report.failed, [], "{report:?}");
        report.done
    };
    let done = rotate(year).await;
    assert!(done.iter().any(|done| done.contains("globex.2")), "{done:?}");
    assert!(!done.iter().any(|done| done.contains("acme")), "{done:?}");
}
