//! The life of certificate authorities.

use std::sync::Arc;

use signet_app::{
    Call, PageRequest, RotationAction, RotationReport, TenantPatch,
    authorities::{self, lifecycle},
    bootstrap,
    certificates::issuance,
    tenants,
};
use signet_core::{
    Actor, Error, Lifetime, PrincipalType, Time,
    authorities::{Ca, CaKind, CaState},
    authorization::Denial,
    certificates::{Certificate, CertificateState},
    store::{
        Store,
        commit::{Commit, Write},
    },
    tenants::quota::Quotas,
};
use signet_testkit::{
    fixtures::{NOW, later},
    memory_store::MemoryStore,
};
use signet_x509::{CertificateView, ChainError};

use crate::world::*;

async fn rotate(
    world: &World,
    tenant: &str,
    kind: CaKind,
    action: RotationAction,
    now: Time,
) -> Result<RotationReport, Error> {
    authorities::rotate_ca(&world.app, &at(call("RotateCa"), now), &scope(tenant), kind, action).await
}

fn states(report: &RotationReport) -> Vec<(&str, CaState)> {
    report.cas.iter().map(|ca| (ca.id.as_str(), ca.state)).collect()
}

fn days(days: u32) -> Time {
    NOW.plus(Lifetime::days(days))
}

/// The plan, followed once a day for three years: there is always one CA that signs, and what it signed stays good
/// until it expires.
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
    assert_eq!(
        activated.steps,
        ["activated acme.2 in place of acme.1", "acme.1 is retiring: it stays trusted until it is retired"]
    );
    let issue = at(call("Issue"), days(611));
    let new = issuance::issue_certificate(&world.app, &issue, &acme(), &pid("worker"), &csr()).await.unwrap();
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
    for action in [RotationAction::Prepare, RotationAction::ForceActivate] {
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
        async move { issuance::issue_certificate(app, &call, &acme(), &pid("worker"), &csr()).await }
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
        for action in [RotationAction::Prepare, RotationAction::ForceActivate, RotationAction::Retire] {
            rotate(&world, "system", kind, action, NOW)
                .await
                .unwrap_or_else(|error| panic!("{kind:?} {action:?}: {error}"));
        }
    }
    assert_eq!(authorities::roots(&world.app, NOW).await.unwrap()[0].id.as_str(), "root.2");
    let cas = authorities::list_cas(&world.app, &call("ListCas"), &scope("system")).await.unwrap();
    assert!(cas.iter().filter(|ca| ca.state == CaState::Active).all(|ca| ca.issuer.as_str() == "root.2"));
    let names = bootstrap_input().server;
    bootstrap::issue_server_certificate(&world.app, &call("Rotate"), &names, &csr()).await.unwrap();
}

/// What each relying party trusts: recorded before it was signed, and never younger than what its CA signs.
#[tokio::test]
async fn every_ca_but_a_root_has_a_recorded_anchor() {
    let world = World::new().await;
    for tenant in ["acme", "system"] {
        for ca in authorities::list_cas(&world.app, &call("ListCas"), &scope(tenant)).await.unwrap() {
            assert_eq!(ca.anchor_der.is_empty(), ca.kind == CaKind::Root, "{}", ca.id);
            let Ok(anchor) = CertificateView::from_der(&ca.anchor_der) else { continue };
            let key = Certificate::key_of(&ca.id, &anchor.serial().unwrap());
            let record = scope(tenant).get::<Certificate>(&*world.store, &key, NOW).await.unwrap().unwrap().value;
            assert_eq!((record.state, record.certificate_der), (CertificateState::Issued, ca.anchor_der));
        }
    }
}

#[tokio::test]
async fn a_ca_of_an_earlier_release_gets_its_anchor() {
    let memory = Arc::new(MemoryStore::default());
    let world = World::on(memory.clone());
    world.bootstrap().await.unwrap();
    world.tenant("acme").await;
    world.principal("worker").await;
    let leaf = world.issue("worker").await;
    let id = leaf.certificate.issuer.clone();
    let key = Ca::key_of(&"acme".parse().unwrap(), &id);
    let found = acme().get::<Ca>(&*world.store, &key, NOW).await.unwrap().unwrap();
    let earlier = Ca { anchor_der: Vec::new(), ..found.value };
    let commit = Commit::bookkeeping(NOW).write(Write::replace(earlier.clone(), found.version));
    memory.transact(commit.to_transaction(None)).await.unwrap();
    assert_eq!(earlier.anchor(), earlier.certificate_der, "until then the certificate stands for it");
    let day = days(3);
    let due = rotate(&world, "acme", CaKind::Tenant, RotationAction::Due, day).await.unwrap();
    assert_eq!(due.steps, ["made the anchor of acme.1"]);
    assert!(!due.cas[0].anchor_der.is_empty() && due.cas[0].state == CaState::Active);
    // What the CA has signed before is not older than the anchor that was made after it.
    world.authenticate("acme", &leaf.chain_der[0], NOW).await.unwrap();
    assert!(rotate(&world, "acme", CaKind::Tenant, RotationAction::Due, day).await.unwrap().steps.is_empty());
}

#[tokio::test]
async fn a_kind_of_ca_is_rotated_where_it_lives() {
    let world = World::new().await;
    for kind in [CaKind::Root, CaKind::Shared, CaKind::Server] {
        let refused = rotate(&world, "acme", kind, RotationAction::Prepare, NOW).await.unwrap_err();
        assert_eq!(refused.reason(), "WRONG_TENANT");
    }
    let input = signet_app::CreateTenant { isolation: signet_core::tenants::Isolation::Shared, ..new_tenant("trial") };
    tenants::create_tenant(&world.app, &call("Create"), &environment(), input).await.unwrap();
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

/// A verifier that fetched the bundle a minute ago does not know it yet.
#[tokio::test]
async fn a_ca_is_published_for_an_hour_before_it_signs() {
    let world = World::new().await;
    let act = |action, now| rotate(&world, "acme", CaKind::Tenant, action, now);
    act(RotationAction::Prepare, NOW).await.unwrap();
    let early = act(RotationAction::Activate, later(3599)).await.unwrap_err();
    assert_eq!(early.reason(), "CA_NOT_KNOWN_YET");
    let text = early.to_string();
    assert!(text.contains("acme.2") && text.contains("2100-01-01T01:00:00Z"), "{text}");
    assert!(act(RotationAction::Due, later(3599)).await.unwrap().steps.is_empty());
    // By a clock that is behind, the present one has not even begun.
    let behind = act(RotationAction::Activate, NOW.minus(Lifetime::minutes(10))).await.unwrap_err();
    assert_eq!(behind.reason(), "CA_NOT_KNOWN_YET");
    let known = act(RotationAction::Activate, later(3600)).await.unwrap();
    assert_eq!(known.steps[0], "activated acme.2 in place of acme.1");
}

/// The key is in other hands: worse than verifiers who do not know the next one for some minutes. The tenant's own
/// admin asks the operator, who sees more.
#[tokio::test]
async fn an_operator_may_force_it_and_nobody_else() {
    let world = World::new().await;
    rotate(&world, "acme", CaKind::Tenant, RotationAction::Prepare, NOW).await.unwrap();
    let own = identity("acme", "anna", PrincipalType::Admin, &[]);
    let own = Call { actor: Actor::from(&own), ..call("RotateCa") };
    let refused = authorities::rotate_ca(&world.app, &own, &acme(), CaKind::Tenant, RotationAction::ForceActivate)
        .await
        .unwrap_err();
    assert_eq!(refused, Error::Denied(Denial::Permission));
    rotate(&world, "acme", CaKind::Tenant, RotationAction::ForceActivate, NOW).await.unwrap();
}

/// Each is a key that is paid for. What is due is prepared all the same.
#[tokio::test]
async fn a_tenant_prepares_two_a_day_and_an_operator_more() {
    let world = World::new().await;
    let own = Call { actor: Actor::from(&identity("acme", "anna", PrincipalType::Admin, &[])), ..call("RotateCa") };
    let prepare = |call: &Call, now| {
        let (app, call) = (&world.app, at(call.clone(), now));
        async move { authorities::rotate_ca(app, &call, &acme(), CaKind::Tenant, RotationAction::Prepare).await }
    };
    let force = || rotate(&world, "acme", CaKind::Tenant, RotationAction::ForceActivate, NOW);
    for _ in 0..2 {
        prepare(&own, NOW).await.unwrap();
        force().await.unwrap();
    }
    let signed = world.keys.signatures();
    let refused = prepare(&own, later(3600)).await.unwrap_err();
    assert!(
        matches!(&refused, Error::Exhausted { reason: "CA_PREPARED_TOO_OFTEN", message, .. } if message.contains("2100-01-0"))
    );
    assert_eq!(world.keys.signatures(), signed, "nothing was made");
    for _ in 2..10 {
        prepare(&call("RotateCa"), NOW).await.unwrap();
        force().await.unwrap();
    }
    assert_eq!(prepare(&call("RotateCa"), NOW).await.unwrap_err().reason(), "CA_PREPARED_TOO_OFTEN");
    prepare(&own, later(86_400)).await.unwrap();
    let cas = authorities::list_cas(&world.app, &call("ListCas"), &acme()).await.unwrap();
    let generations: Vec<_> = cas.iter().map(|ca| ca.generation).collect();
    assert_eq!(generations, Vec::from_iter(1..=12), "10 after 2");
    pages_hold_the_same(&world, &cas).await;
}

/// However long the pages are; and a token is good for the tenant whose CAs it goes on with.
async fn pages_hold_the_same(world: &World, cas: &[Ca]) {
    let list = async |tenant: &str, page: &PageRequest| {
        authorities::list_certificate_authorities(&world.app, &call("List"), &scope(tenant), page).await
    };
    for size in [0, 1, 5, 6, 12] {
        let (mut listed, mut page, mut pages) = (Vec::new(), PageRequest { size, token: String::new() }, 0);
        loop {
            let found = list("acme", &page).await.unwrap();
            listed.extend(found.items);
            (page.token, pages) = (found.next_page_token, pages + 1);
            if page.token.is_empty() {
                break;
            }
            assert_eq!(list("system", &page).await.unwrap_err().reason(), "INVALID_PAGE_TOKEN");
        }
        let whole = if size == 0 { 1 } else { cas.len().div_ceil(size as usize) };
        assert_eq!((listed.as_slice(), pages), (cas, whole), "{size} a page");
    }
}

#[tokio::test]
async fn a_quota_of_cas_stops_admins_and_not_what_is_due() {
    let world = World::new().await;
    let quotas = Quotas { certificate_authorities: Some(1), ..Default::default() };
    let patch = TenantPatch { quotas, ..Default::default() };
    tenants::update_tenant(&world.app, &call("UpdateTenant"), &environment(), &tid("acme"), patch).await.unwrap();
    let refused = rotate(&world, "acme", CaKind::Tenant, RotationAction::Prepare, NOW).await.unwrap_err();
    assert_eq!(refused.reason(), "CERTIFICATE_AUTHORITY_QUOTA");
    let due = rotate(&world, "acme", CaKind::Tenant, RotationAction::Due, days(366)).await.unwrap();
    assert_eq!(due.steps, ["prepared acme.2"]);
}

/// Two looks of a node whose clock was two years ahead.
async fn rotated_ahead(world: &World) {
    for kind in [CaKind::Shared, CaKind::Server, CaKind::Tenant] {
        for _ in 0..2 {
            rotate(world, "system", kind, RotationAction::Due, days(800)).await.unwrap();
        }
    }
    for _ in 0..2 {
        rotate(world, "acme", CaKind::Tenant, RotationAction::Due, days(800)).await.unwrap();
    }
}

#[tokio::test]
async fn what_a_clock_that_was_ahead_has_activated_does_not_sign() {
    let world = World::new().await;
    world.principal("worker").await;
    rotated_ahead(&world).await;
    let leaf = world.issue("worker").await;
    assert_eq!(leaf.certificate.issuer.as_str(), "acme.1");
    world.authenticate("acme", &leaf.chain_der[0], NOW).await.unwrap();
    let names = bootstrap_input().server;
    bootstrap::issue_server_certificate(&world.app, &call("Rotate"), &names, &csr()).await.unwrap();
    let due = rotate(&world, "acme", CaKind::Tenant, RotationAction::Due, NOW).await.unwrap();
    assert_eq!(states(&due), [("acme.1", CaState::Active), ("acme.2", CaState::Retiring)]);
    assert!(rotate(&world, "acme", CaKind::Tenant, RotationAction::Due, NOW).await.unwrap().steps.is_empty());
}

/// By hand, too: what is prepared for another year is neither in the way nor activated.
#[tokio::test]
async fn what_a_clock_that_was_ahead_has_prepared_is_not_activated() {
    let world = World::new().await;
    rotate(&world, "acme", CaKind::Tenant, RotationAction::Due, days(400)).await.unwrap();
    let act = |action| rotate(&world, "acme", CaKind::Tenant, action, later(60));
    assert_eq!(act(RotationAction::ForceActivate).await.unwrap_err().reason(), "NOTHING_PREPARED");
    assert_eq!(act(RotationAction::Prepare).await.unwrap().steps, ["prepared acme.3"]);
    act(RotationAction::ForceActivate).await.unwrap();
    let due = rotate(&world, "acme", CaKind::Tenant, RotationAction::Due, later(60)).await.unwrap();
    assert_eq!(due.steps, ["retired acme.2"], "it was passed over");
    assert_eq!(due.cas[2].state, CaState::Active);
}

#[tokio::test]
async fn bootstrap_leads_back_from_a_clock_that_was_ahead() {
    let world = World::new().await;
    rotated_ahead(&world).await;
    let report = world.bootstrap().await.unwrap();
    let made: Vec<&str> = report.items.iter().filter(|item| item.made).map(|item| item.what.as_str()).collect();
    let expected = [
        "certificate authority system.1",
        "certificate authority shared.1",
        "certificate authority server.1",
        "server certificate",
        "certificate of admin root",
    ];
    assert_eq!(made, expected);
    world.authenticate("system", &report.admin.chain_der[0], NOW).await.unwrap();
}

#[tokio::test]
async fn key_policies_are_applied_part_by_part_while_there_is_time() {
    let world = World::new().await;
    let report = lifecycle::apply_key_policies(&world.app, &|| Some(NOW)).await.unwrap();
    assert_eq!((report.done, report.unfinished), (vec!["3 policies set".to_owned()], false));
    let report = lifecycle::apply_key_policies(&world.app, &|| None).await.unwrap();
    assert_eq!((report.done, report.unfinished), (vec!["1 policies set".to_owned()], true));
}
