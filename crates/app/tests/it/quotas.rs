//! How much a tenant may have, and that nothing goes past it.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use signet_app::{
    App, Call, Chore, TaskReport, TenantPatch,
    enrollment::{self, rules, tokens},
    principals::{self, deletion},
    tenants::{self, quotas},
};
use signet_core::{
    Error, Lifetime, PrincipalType, Store, Time,
    enrollment::EnrollmentToken,
    store::{Body, Entity, Write},
    tenants::quota::{OverQuota, Quota, QuotaCount, Quotas},
};
use signet_testkit::{
    faulty::Hidden,
    fixtures::{NOW, later, transaction},
};

use crate::{rules::aws_rule, world::*};

async fn allow(world: &World, quotas: Quotas) {
    let patch = TenantPatch { quotas, ..Default::default() };
    tenants::update_tenant(&world.app, &call("UpdateTenant"), &environment(), &tid("acme"), patch).await.unwrap();
}

fn principals(limit: u32) -> Quotas {
    Quotas { principals: Some(limit), ..Default::default() }
}

async fn used(world: &World, now: Time) -> Quotas {
    quotas::quota_use(&world.app, &at(call("GetTenant"), now), &acme()).await.unwrap()
}

async fn create(app: &App, call: &Call, id: &str) -> Result<(), Error> {
    principals::create_principal(app, call, &acme(), new_principal(id, PrincipalType::Worker, &[])).await.map(drop)
}

fn over(quota: Quota, used: u64, limit: u32) -> Error {
    OverQuota { quota, tenant: tid("acme"), used, limit }.into()
}

async fn recount(world: &World, now: Time) -> TaskReport {
    quotas::recount_quotas(&world.app, &Chore::new("count-quotas", now), &|| Some(now)).await.unwrap()
}

#[tokio::test]
async fn a_full_tenant_is_told_what_and_how_much_whichever_way_a_principal_comes() {
    let world = World::new().await;
    allow(&world, principals(2)).await;
    world.principal("one").await;
    let token = world.token(new_token()).await;
    enrollment::enroll(&world.app, &anonymous("enroll-1"), enrollment(&token, "two", &csr())).await.unwrap();

    let full = over(Quota::Principals, 2, 2);
    assert_eq!(create(&world.app, &call("CreatePrincipal"), "three").await, Err(full.clone()));
    let text = full.to_string();
    assert!(
        text.starts_with("tenant acme has 2 of 2 principals")
            && text.contains("tenant update acme --quota principals=N"),
        "{text}"
    );
    let token = world.token(new_token()).await;
    let (next, key) = (anonymous("enroll-2"), csr());
    assert_eq!(enrollment::enroll(&world.app, &next, enrollment(&token, "three", &key)).await, Err(full));
    assert_eq!(world.outcomes("Enroll").last().unwrap(), "PRINCIPAL_QUOTA");
    // Who is there already is not counted again: it gets its certificates.
    world.issue("one").await;
    let used = used(&world, NOW).await;
    assert_eq!((used.principals, used.join_tokens, used.certificate_authorities), (Some(2), Some(2), Some(1)));

    // The operator makes room: the same request with the same token goes through.
    allow(&world, principals(3)).await;
    enrollment::enroll(&world.app, &next, enrollment(&token, "three", &key)).await.unwrap();
    assert!(create(&world.app, &call("CreatePrincipal"), "four").await.is_err());
    allow(&world, principals(0)).await;
    create(&world.app, &call("CreatePrincipal"), "four").await.unwrap();
}

#[tokio::test]
async fn a_part_of_a_count_that_cannot_be_read_is_written_anew() {
    let world = World::new().await;
    let parts = (0..Quota::Principals.shards()).map(|shard| {
        let (tenant, quota) = (tid("acme"), Quota::Principals);
        QuotaCount { tenant, quota, shard, until: None, number: 0, counted_at: None }
    });
    for part in parts {
        world.store.transact(transaction([Write::create(part.clone())])).await.unwrap();
        world.store.damage(part.key());
    }
    for number in 0..40 {
        create(&world.app, &call("CreatePrincipal"), &format!("v-{number}")).await.unwrap();
    }
    let report = recount(&world, NOW).await;
    assert!(report.failed.is_empty() && report.done.iter().any(|done| done.starts_with("acme: 40")), "{report:?}");
}

/// Each adds to its tenant's counts; who met others there again and again gave up.
#[tokio::test(start_paused = true)]
async fn many_at_once_make_principals_and_tokens_of_one_tenant() {
    let world = World::new().await;
    world.store.take(Duration::from_millis(15));
    let ids: Vec<String> = (0..200).map(|number| format!("w-{number}")).collect();
    let (calls, permit) = (call("CreatePrincipal"), admin());
    let before = world.store.transactions();
    let made = join_all(ids.iter().map(|id| create(&world.app, &calls, id))).await;
    assert!(made.iter().all(Result::is_ok), "{made:?}");
    let (calls, scope) = (call("CreateToken"), acme());
    let tokens = ids.iter().map(|_| tokens::create_token(&world.app, &calls, &permit, &scope, new_token()));
    assert!(join_all(tokens).await.iter().all(Result::is_ok));
    assert!(world.store.transactions() - before <= 400, "nobody starts over");
    let used = used(&world, NOW).await;
    assert_eq!((used.principals, used.join_tokens), (Some(200), Some(200)));
}

#[tokio::test]
async fn a_refused_repetition_of_a_creation_that_succeeded_is_no_refusal() {
    let world = World::new().await;
    allow(&world, principals(1)).await;
    for _ in 0..2 {
        create(&world.app, &call_with_id("CreatePrincipal", "once"), "one").await.unwrap();
    }
    assert_eq!(used(&world, NOW).await.principals, Some(1));
}

/// To create and delete in a loop is no way round it.
#[tokio::test]
async fn a_deleted_principal_counts_until_its_id_is_free() {
    let world = World::new().await;
    allow(&world, principals(1)).await;
    world.principal("one").await;
    let deleted =
        deletion::delete_principal(&world.app, &call("DeletePrincipal"), &admin(), &acme(), &pid("one")).await.unwrap();
    let free_at = deleted.free_at.unwrap();
    let before = at(call("CreatePrincipal"), free_at.minus(Lifetime::seconds(1)));
    assert_eq!(create(&world.app, &before, "two").await, Err(over(Quota::Principals, 1, 1)));
    // Counted by the week.
    let after = free_at.plus(Lifetime::days(7));
    assert_eq!(used(&world, after).await.principals, Some(0));
    create(&world.app, &at(call("CreatePrincipal"), after), "one").await.unwrap();
}

/// Two nodes, many at once: as many too much as there are counts to meet in, at the very most.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn callers_at_once_go_past_it_by_a_few_at_most() {
    let world = World::new().await;
    allow(&world, principals(20)).await;
    let nodes = [Arc::clone(&world.app), world.other_node()];
    let all = (0..120).map(|number| {
        let app = Arc::clone(&nodes[number % 2]);
        async move { create(&app, &call("CreatePrincipal"), &format!("p-{number}")).await }
    });
    let answers = join_all(all).await;
    let made = answers.iter().filter(|answer| answer.is_ok()).count();
    assert!((20..=36).contains(&made), "{made}");
    assert_eq!(used(&world, NOW).await.principals, Some(made as u32), "nothing is counted twice or not at all");
    let (used, limit) = (made as u64, 20);
    assert_eq!(create(&world.app, &call("Create"), "more").await, Err(over(Quota::Principals, used, limit)));
}

/// As in a store of a version that did not count.
async fn forget_counts(world: &World) {
    let counts = world.store.query(&QuotaCount::all_of(&tid("acme"), Quota::Principals), NOW).await.unwrap();
    let reset = counts.records.into_iter().map(|found| {
        let Body::QuotaCount(count) = found.value else { panic!("{found:?}") };
        Write::replace(QuotaCount { number: 0, counted_at: None, ..count }, found.version)
    });
    world.store.transact(transaction(reset)).await.unwrap();
}

#[tokio::test]
async fn what_was_there_before_counts_began_is_counted_and_mended_once_a_week() {
    let world = World::new().await;
    for number in 0..25 {
        world.principal(&format!("p-{number}")).await;
    }
    deletion::delete_principal(&world.app, &call("Delete"), &admin(), &acme(), &pid("p-0")).await.unwrap();
    forget_counts(&world).await;
    allow(&world, principals(24)).await;
    assert_eq!(used(&world, NOW).await.principals, Some(0));

    assert!(recount(&world, NOW).await.done.contains(&"acme: 24 principals".to_owned()));
    let full = create(&world.app, &call("CreatePrincipal"), "more").await;
    assert_eq!(full, Err(over(Quota::Principals, 24, 24)));
    // What goes on is counted as ever, and nothing is looked at again before its time.
    allow(&world, principals(25)).await;
    world.principal("more").await;
    assert_eq!(recount(&world, later(3600)).await, TaskReport::default());
    assert_eq!(used(&world, NOW).await.principals, Some(25));
    let week = NOW.plus(Lifetime::days(7));
    assert!(recount(&world, week).await.done.contains(&"acme: 25 principals".to_owned()));
    assert_eq!(used(&world, week).await.principals, Some(25));
}

/// A week's count by an index that lags is mended a day later, and not a week.
#[tokio::test]
async fn a_count_that_an_index_which_lags_has_lowered_is_looked_at_again_soon() {
    let world = World::new().await;
    world.principal("seen").await;
    let unseen = world.principal("unseen").await;
    world.store.hide(Hidden::Indexed(unseen.key()));
    assert!(recount(&world, NOW).await.done.contains(&"acme: 1 principals".to_owned()));
    assert_eq!(used(&world, NOW).await.principals, Some(1));
    world.store.show_all();
    let acmes = |report: TaskReport| report.done.into_iter().filter(|done| done.starts_with("acme")).count();
    assert_eq!(acmes(recount(&world, NOW.plus(Lifetime::hours(23))).await), 0);
    let day = NOW.plus(Lifetime::days(1));
    assert!(recount(&world, day).await.done.contains(&"acme: 2 principals".to_owned()));
    assert_eq!(used(&world, day).await.principals, Some(2));
    assert_eq!(acmes(recount(&world, day.plus(Lifetime::days(6))).await), 0);
}

/// Lambdas start by the hundred, and each counts once or twice in its life.
#[tokio::test]
async fn processes_that_start_together_begin_with_different_parts() {
    let world = World::new().await;
    for number in 0..16 {
        let call = call_with_id("CreatePrincipal", &format!("create-{number}"));
        create(&world.restarted(100 + number).app, &call, &format!("p-{number}")).await.unwrap();
    }
    let counts = world.store.query(&QuotaCount::all_of(&tid("acme"), Quota::Principals), NOW).await.unwrap();
    assert!(counts.records.len() >= 8, "{counts:?}");
    assert_eq!(used(&world, NOW).await.principals, Some(16));
}

#[tokio::test]
async fn tokens_count_until_they_expire_used_or_not() {
    let world = World::new().await;
    allow(&world, Quotas { join_tokens: Some(2), ..Default::default() }).await;
    let (first, _) = (world.token(new_token()).await, world.token(new_token()).await);
    enrollment::enroll(&world.app, &anonymous("enroll-1"), enrollment(&first, "one", &csr())).await.unwrap();
    tokens::revoke_token(&world.app, &call("RevokeToken"), &admin(), &acme(), &first.token.id).await.unwrap();
    let create = |now| {
        let (app, call) = (&world.app, at(call("CreateToken"), now));
        async move { tokens::create_token(app, &call, &admin(), &acme(), new_token()).await.map(|made| made.token) }
    };
    let refused: Result<EnrollmentToken, Error> = create(NOW).await;
    assert_eq!(refused, Err(over(Quota::JoinTokens, 2, 2)));
    let over = first.token.not_after.plus(Lifetime::hours(1));
    create(over).await.unwrap();
    assert_eq!(used(&world, over).await.join_tokens, Some(1));
}

#[tokio::test]
async fn a_tenant_has_a_limited_number_of_rules() {
    let world = World::new().await;
    let create = |id: &'static str| {
        let app = &world.app;
        async move {
            rules::create_rule(app, &call("CreateEnrollmentRule"), &admin(), &acme(), aws_rule(id)).await.map(drop)
        }
    };
    allow(&world, Quotas { enrollment_rules: Some(2), ..Default::default() }).await;
    create("one").await.unwrap();
    create("two").await.unwrap();
    assert_eq!(create("three").await, Err(over(Quota::EnrollmentRules, 2, 2)));
    let id = "one".parse().unwrap();
    rules::delete_rule(&world.app, &call("DeleteEnrollmentRule"), &admin(), &acme(), &id).await.unwrap();
    create("three").await.unwrap();
}

/// A renewal makes no principal: it reads and writes no count.
#[tokio::test]
async fn certificates_of_principals_that_are_there_touch_no_count() {
    let world = World::new().await;
    world.principal("worker").await;
    let counts =
        |world: &World| world.ledger.written(|write| matches!(write.key().sort.split_once('#'), Some(("always", _))));
    let before = counts(&world);
    assert_eq!(before, 2, "the operator, and this one");
    let held = world.issue("worker").await;
    crate::lineage::renew_at(&world, &held, later(3600)).await.unwrap();
    assert_eq!(counts(&world), before);
}
