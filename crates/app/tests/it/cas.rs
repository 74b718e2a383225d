//! The life of certificate authorities.

use signet_app::{RotationAction, RotationReport};
use signet_core::{
    Error, Lifetime, Time,
    ca::{CaKind, CaState},
};
use signet_testkit::fixtures::NOW;
use signet_x509::ChainError;

use crate::world::*;

async fn rotate(
    world: &World,
    tenant: &str,
    kind: CaKind,
    action: RotationAction,
    now: Time,
) -> Result<RotationReport, Error> {
    world.app.rotate_ca(&at(call("RotateCa"), now), &scope(tenant), kind, action).await
}

fn states(report: &RotationReport) -> Vec<(&str, CaState)> {
    report.cas.iter().map(|ca| (ca.id.as_str(), ca.state)).collect()
}

fn days(days: u32) -> Time {
    NOW.plus(Lifetime::days(days))
}

/// The plan, followed once a day for three years: there is always one CA that signs, and what it signed stays good until
/// it expires.
#[tokio::test]
async fn a_tenants_ca_is_replaced_in_time_without_anybody_asking() {
    use CaState::{Active, Prepared, Retired, Retiring};
    let world = World::new().await;
    world.principal("worker").await;
    let due = |day| rotate(&world, "acme", CaKind::Tenant, RotationAction::Due, days(day));
    let quiet = due(360).await.unwrap();
    assert!(quiet.steps.is_empty());
    assert_eq!(states(&due(366).await.unwrap()), [("acme.1", Active), ("acme.2", Prepared)]);
    assert!(due(367).await.unwrap().steps.is_empty(), "once");
    let old = world.issue("worker").await;
    assert_eq!(old.certificate.issuer.as_str(), "acme.1", "a prepared one does not sign yet");
    let activated = due(610).await.unwrap();
    assert_eq!(states(&activated), [("acme.1", Retiring), ("acme.2", Active)]);
    assert_eq!(activated.steps, ["activated acme.2 in place of acme.1", "acme.1 signs no more"]);
    let issue = at(call("Issue"), days(611));
    let new = world.app.issue_certificate(&issue, &acme(), &pid("worker"), &csr()).await.unwrap();
    assert_eq!(new.certificate.issuer.as_str(), "acme.2");
    assert!(due(690).await.unwrap().steps.is_empty(), "leaves of 90 days may still live");
    assert_eq!(states(&due(701).await.unwrap()), [("acme.1", Retired), ("acme.2", Active)]);
    assert_eq!(world.outcomes("RotateCa").len(), 3);
}

/// A removed CA is refused: what it signed no longer authenticates, though it has not expired.
#[tokio::test]
async fn a_retired_ca_vouches_for_nobody() {
    let world = World::new().await;
    world.principal("worker").await;
    let leaf = world.issue("worker").await.chain_der.remove(0);
    for action in [RotationAction::Prepare, RotationAction::Activate] {
        rotate(&world, "acme", CaKind::Tenant, action, NOW).await.unwrap();
        world.authenticate("acme", &leaf, NOW).await.unwrap();
    }
    rotate(&world, "acme", CaKind::Tenant, RotationAction::Retire, NOW).await.unwrap();
    assert_eq!(world.authenticate("acme", &leaf, NOW).await, Err(ChainError::UntrustedIssuer));
    let renewed = world.issue("worker").await.chain_der.remove(0);
    world.authenticate("acme", &renewed, NOW).await.unwrap();
}

#[tokio::test]
async fn an_operator_may_rotate_at_any_time_also_after_expiry() {
    let world = World::new().await;
    world.principal("worker").await;
    let late = days(731);
    let issue = || {
        let (call, app) = (at(call("Issue"), late), &world.app);
        async move { app.issue_certificate(&call, &acme(), &pid("worker"), &csr()).await }
    };
    assert_eq!(issue().await.unwrap_err().reason(), "OUTLIVES_ISSUER");
    let act = |action| rotate(&world, "acme", CaKind::Tenant, action, late);
    assert_eq!(act(RotationAction::Activate).await.unwrap_err().reason(), "NOTHING_PREPARED");
    assert_eq!(act(RotationAction::Retire).await.unwrap_err().reason(), "NOTHING_RETIRING");
    assert_eq!(act(RotationAction::Prepare).await.unwrap().steps, ["prepared acme.2"]);
    assert!(act(RotationAction::Prepare).await.unwrap().steps.is_empty(), "one is enough");
    act(RotationAction::Activate).await.unwrap();
    assert_eq!(issue().await.unwrap().certificate.issuer.as_str(), "acme.2");
}

#[tokio::test]
async fn the_environments_own_cas_rotate_in_the_system_tenant() {
    let world = World::new().await;
    for kind in [CaKind::Root, CaKind::Shared, CaKind::Server, CaKind::Tenant] {
        for action in [RotationAction::Prepare, RotationAction::Activate, RotationAction::Retire] {
            rotate(&world, "system", kind, action, NOW)
                .await
                .unwrap_or_else(|error| panic!("{kind:?} {action:?}: {error}"));
        }
    }
    assert_eq!(world.app.roots(NOW).await.unwrap()[0].id.as_str(), "root.2");
    let cas = world.app.list_cas(&call("ListCas"), &scope("system")).await.unwrap();
    assert!(cas.iter().filter(|ca| ca.state == CaState::Active).all(|ca| ca.issuer.as_str() == "root.2"));
    let names = bootstrap_input().server;
    world.app.issue_server_certificate(&call("Rotate"), &names, &csr()).await.unwrap();
}

#[tokio::test]
async fn a_kind_of_ca_is_rotated_where_it_lives() {
    let world = World::new().await;
    for kind in [CaKind::Root, CaKind::Shared, CaKind::Server] {
        let refused = rotate(&world, "acme", kind, RotationAction::Prepare, NOW).await.unwrap_err();
        assert_eq!(refused.reason(), "WRONG_TENANT");
    }
    let input = signet_app::CreateTenant { isolation: signet_core::tenant::Isolation::Shared, ..new_tenant("trial") };
    world.app.create_tenant(&call("Create"), &environment(), input).await.unwrap();
    let refused = rotate(&world, "trial", CaKind::Tenant, RotationAction::Due, NOW).await.unwrap_err();
    assert_eq!(refused.reason(), "SHARED_ISOLATION");
}

/// Two schedulers at once: one next CA, one that signs.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rotations_at_once_make_one_next_ca() {
    let world = World::new().await;
    for (now, expected) in [(days(366), 2), (days(610), 2)] {
        let all = (0..8).map(|_| rotate(&world, "acme", CaKind::Tenant, RotationAction::Due, now));
        for report in futures::future::join_all(all).await {
            assert_eq!(report.unwrap().cas.len(), expected);
        }
    }
    assert_eq!(world.outcomes("RotateCa").len(), 2);
}
