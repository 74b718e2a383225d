//! What one node commits, the others know: at once, after an outage, and after a restart.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use signet_app::{
    PrincipalPatch,
    certificates::{self, issuance},
    principals, tenants,
};
use signet_core::{
    Identity, Lifetime, PrincipalType, Role, Store, StoreError, Time,
    audit::AuditEvent,
    store::{
        Versioned,
        commit::{Commit, Write},
    },
    trust::{
        Refusal,
        change::{Change, ChangeEntry, ChangeHead},
    },
};
use signet_testkit::{
    faulty::{Fault, FaultyStore, Hidden, Op},
    fixtures::{NOW, later},
};
use tokio_util::sync::CancellationToken;

use crate::{
    nodes::{Node, Site, eventually},
    world::{acme, admin, at, call, csr, environment, identity, new_principal, pid, roles, tid},
};

/// The identity in a new certificate of the new principal `id`.
pub(crate) async fn enrolled(site: &Site, id: &str) -> Identity {
    let input = new_principal(id, PrincipalType::Worker, &["old"]);
    principals::create_principal(&site.app, &call("CreatePrincipal"), &acme(), input).await.unwrap();
    let leaf =
        issuance::issue_certificate(&site.app, &call("IssueCertificate"), &acme(), &pid(id), &csr()).await.unwrap();
    Identity {
        issuer: leaf.certificate.issuer.clone(),
        serial: leaf.certificate.serial,
        ..identity("acme", id, PrincipalType::Worker, &["old"])
    }
}

pub(crate) async fn revoke(site: &Site, holder: &Identity, now: Time) {
    let reason = signet_core::certificates::RevocationReason::KeyCompromise;
    let call = at(call("RevokeCertificate"), now);
    certificates::revoke_certificate(&site.app, &call, &admin(), &acme(), &holder.issuer, &holder.serial, reason)
        .await
        .unwrap();
}

pub(crate) async fn suspend(site: &Site, id: &str, now: Time) {
    principals::suspend_principal(&site.app, &at(call("SuspendPrincipal"), now), &admin(), &acme(), &pid(id))
        .await
        .unwrap();
}

pub(crate) fn verdict(node: &Node, holder: &Identity, now: Time) -> Result<Vec<Role>, Refusal> {
    node.uptime.follow(now);
    node.trust.admit(holder, now).map(|roles| roles.to_vec())
}

/// Announces `changes` of `acme`, each in a commit of its own.
pub(crate) async fn announce(site: &Site, changes: &[(Change, Time)]) {
    static IDS: AtomicU64 = AtomicU64::new(0);
    for (change, until) in changes {
        let id = format!("{:032x}", IDS.fetch_add(1, Ordering::SeqCst));
        let event = AuditEvent { tenant: tid("acme"), id, at: NOW, payload: "{}".into(), keep_until: later(86_400) };
        let commit = Commit::audited(event, NOW).announce(&tid("acme"), change.clone(), *until);
        let shard = commit.feed_shard().unwrap();
        let head: Option<Versioned<ChangeHead>> =
            environment().get(&*site.store, &ChangeHead::key_of(shard), NOW).await.unwrap();
        site.store.transact(commit.to_transaction(head.as_ref())).await.unwrap();
    }
}

pub(crate) fn denied(id: &str, seconds: u32) -> (Change, Time) {
    (Change::PrincipalDenied { principal: pid(id), until: later(seconds) }, later(seconds))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn running_nodes_see_each_others_changes() {
    let site = Site::new().await;
    let holder = enrolled(&site, "w").await;
    let shutdown = CancellationToken::new();
    let (mut trusts, mut listeners, mut runs) = (Vec::new(), Vec::new(), Vec::new());
    for node in [site.node(), site.node()] {
        listeners.push(node.follower.epochs());
        runs.push(tokio::spawn(node.follower.run(|| NOW, shutdown.clone())));
        trusts.push(node.trust);
    }
    let all = |expected: Result<Vec<Role>, Refusal>| {
        let (trusts, holder) = (&trusts, &holder);
        move || trusts.iter().all(|trust| trust.admit(holder, NOW).map(|roles| roles.to_vec()) == expected)
    };
    eventually("the worker is admitted", all(Ok(roles(&["old"])))).await;

    let patch = PrincipalPatch { roles: Some(roles(&["new"])), ..PrincipalPatch::default() };
    principals::update_principal(&site.app, &call("UpdatePrincipal"), &acme(), &pid("w"), patch).await.unwrap();
    eventually("the new roles hold", all(Ok(roles(&["new"])))).await;

    suspend(&site, "w", NOW).await;
    eventually("the suspension holds", all(Err(Refusal::PrincipalDenied))).await;
    principals::activate_principal(&site.app, &call("ActivatePrincipal"), &admin(), &acme(), &pid("w")).await.unwrap();
    eventually("the suspension is lifted", all(Ok(roles(&["new"])))).await;

    tenants::suspend_tenant(&site.app, &call("SuspendTenant"), &environment(), &tid("acme")).await.unwrap();
    eventually("the tenant is suspended", all(Err(Refusal::TenantSuspended))).await;
    tenants::activate_tenant(&site.app, &call("ActivateTenant"), &environment(), &tid("acme")).await.unwrap();
    eventually("the tenant is active", all(Ok(roles(&["new"])))).await;

    let told: Vec<u64> = listeners.iter_mut().map(|epochs| *epochs.borrow_and_update()).collect();
    revoke(&site, &holder, NOW).await;
    let took = eventually("the revocation holds", all(Err(Refusal::Revoked))).await;
    println!("refused on both nodes {took:?} after the commit");
    for ((trust, epochs), told) in trusts.iter().zip(&mut listeners).zip(told) {
        tokio::time::timeout(Duration::from_secs(10), epochs.changed()).await.unwrap().unwrap();
        assert!(*epochs.borrow() > told && *epochs.borrow() == trust.epoch(), "listeners are told");
    }
    shutdown.cancel();
    for run in runs {
        tokio::time::timeout(Duration::from_secs(10), run).await.expect("ends at shutdown").unwrap();
    }
}

#[tokio::test]
async fn a_node_that_starts_later_knows_all_that_was_decided_before() {
    let site = Site::new().await;
    let (revoked, suspended, fine) =
        (enrolled(&site, "r").await, enrolled(&site, "s").await, enrolled(&site, "f").await);
    revoke(&site, &revoked, NOW).await;
    suspend(&site, "s", NOW).await;
    let patch = PrincipalPatch { roles: Some(roles(&["new"])), ..PrincipalPatch::default() };
    principals::update_principal(&site.app, &call("UpdatePrincipal"), &acme(), &pid("f"), patch).await.unwrap();
    for _ in 0..2 {
        let mut node = site.node();
        assert_eq!(verdict(&node, &fine, NOW), Err(Refusal::Stale), "before it has heard");
        node.poll(NOW).await.unwrap();
        assert_eq!(verdict(&node, &revoked, NOW), Err(Refusal::Revoked));
        assert_eq!(verdict(&node, &suspended, NOW), Err(Refusal::PrincipalDenied));
        assert_eq!(verdict(&node, &fine, NOW), Ok(roles(&["new"])));
    }
}

#[tokio::test]
async fn an_outage_makes_a_node_stale_and_costs_it_no_change() {
    let site = Site::new().await;
    let (holder, other) = (enrolled(&site, "w").await, enrolled(&site, "o").await);
    let flaky = FaultyStore::new(Arc::clone(&site.store));
    let mut node = site.node_on(&(Arc::clone(&flaky) as Arc<dyn Store>));
    node.poll(NOW).await.unwrap();
    flaky.set_down(true);
    revoke(&site, &holder, later(1)).await;
    node.poll(later(2)).await.unwrap_err();
    assert_eq!(
        verdict(&node, &holder, later(30)),
        Ok(roles(&["old"])),
        "within the limit it goes on with what it knows"
    );
    node.poll(later(31)).await.unwrap_err();
    assert!(node.trust.is_stale());
    assert_eq!(verdict(&node, &other, later(31)), Err(Refusal::Stale));
    flaky.set_down(false);
    node.poll(later(32)).await.unwrap();
    assert_eq!(verdict(&node, &holder, later(32)), Err(Refusal::Revoked));
    assert_eq!(verdict(&node, &other, later(32)), Ok(roles(&["old"])));
}

#[tokio::test]
async fn no_failing_read_makes_a_node_miss_anything() {
    let site = Site::new().await;
    let (revoked, suspended) = (enrolled(&site, "r").await, enrolled(&site, "s").await);
    revoke(&site, &revoked, NOW).await;
    for number in 0.. {
        let flaky = FaultyStore::new(Arc::clone(&site.store));
        let mut node = site.node_on(&(Arc::clone(&flaky) as Arc<dyn Store>));
        // Either the load fails at this read, or the poll after it.
        flaky.fail(Op::READS, number, Fault::Before(StoreError::Unavailable("switched off".into())));
        let loaded = node.poll(NOW).await.is_ok();
        assert_eq!(verdict(&node, &revoked, NOW), Err(if loaded { Refusal::Revoked } else { Refusal::Stale }));
        suspend(&site, "s", later(1)).await;
        tenants::suspend_tenant(&site.app, &at(call("SuspendTenant"), later(1)), &environment(), &tid("acme"))
            .await
            .unwrap();
        let heard = node.poll(later(1)).await.is_ok();
        assert_eq!(node.trust.staleness_millis() == Some(0), heard, "says so only if it knows all");
        let never_failed = !flaky.restart();
        node.poll(later(2)).await.unwrap();
        assert_eq!(verdict(&node, &suspended, later(2)), Err(Refusal::TenantSuspended), "read {number}");
        tenants::activate_tenant(&site.app, &at(call("ActivateTenant"), later(3)), &environment(), &tid("acme"))
            .await
            .unwrap();
        node.poll(later(3)).await.unwrap();
        assert_eq!(verdict(&node, &suspended, later(3)), Err(Refusal::PrincipalDenied), "read {number}");
        assert_eq!(verdict(&node, &revoked, later(3)), Err(Refusal::Revoked), "read {number}");
        let call = at(call("ActivatePrincipal"), later(3));
        principals::activate_principal(&site.app, &call, &admin(), &acme(), &pid("s")).await.unwrap();
        if never_failed {
            assert!(number > 10, "all reads of a load and a poll were tried");
            return;
        }
    }
}

/// A query may see the head of a transaction and not yet its entry, which then turns up behind others.
#[tokio::test]
async fn an_entry_that_turns_up_late_is_not_taken_for_expired() {
    for from_the_last in 0..3 {
        let site = Site::new().await;
        let holder = enrolled(&site, "w").await;
        let flaky = FaultyStore::new(Arc::clone(&site.store));
        let mut node = site.node_on(&(Arc::clone(&flaky) as Arc<dyn Store>));
        let mut late = site.node_on(&(Arc::clone(&flaky) as Arc<dyn Store>));
        node.poll(NOW).await.unwrap();
        announce(&site, &[denied("x", 3600), denied("y", 3600), denied("w", 3600)]).await;
        announce(&site, &vec![denied("z", 3600); from_the_last]).await;
        let shard = ChangeHead::shard_of(&tid("acme"));
        let head: Versioned<ChangeHead> =
            environment().get(&*site.store, &ChangeHead::key_of(shard), NOW).await.unwrap().unwrap();
        let entry = head.value.last - u64::try_from(from_the_last).unwrap();
        for (node, then) in [(&mut node, NOW), (&mut late, later(10))] {
            flaky.hide(Hidden::EntryOnce(shard, entry));
            node.poll(then).await.unwrap();
            assert_eq!(verdict(node, &holder, then), Ok(roles(&["old"])), "it is hidden");
            let epoch = node.trust.epoch();
            let soon = Time::from_unix_millis(then.unix_millis() + 900);
            node.poll(soon).await.unwrap();
            assert_eq!(verdict(node, &holder, soon), Err(Refusal::PrincipalDenied));
            assert_eq!(node.trust.epoch(), epoch + 1, "nothing is applied twice");
        }
    }
}

#[tokio::test]
async fn a_clock_that_is_set_forward_and_back_brings_nobody_back() {
    let site = Site::new().await;
    let ids = ["before", "suspended", "meanwhile", "again"];
    let holders = futures::future::join_all(ids.map(|id| enrolled(&site, id))).await;
    revoke(&site, &holders[0], NOW).await;
    suspend(&site, "suspended", NOW).await;
    suspend(&site, "again", NOW).await;
    let mut node = site.node();
    node.poll(NOW).await.unwrap();
    // For two hours it is a month ahead; enough polls for all that has expired to be thrown away.
    let ahead = NOW.plus(Lifetime::days(30));
    node.follower.poll(ahead).await.unwrap();
    suspend(&site, "meanwhile", NOW).await;
    principals::activate_principal(&site.app, &call("ActivatePrincipal"), &admin(), &acme(), &pid("again"))
        .await
        .unwrap();
    suspend(&site, "again", NOW).await;
    for minutes in 1..=120 {
        node.uptime.advance(60_000);
        for _ in 0..10 {
            node.follower.poll(ahead.plus(Lifetime::minutes(minutes))).await.unwrap();
        }
    }
    assert_eq!(node.trust.revoked_len(), 0, "what has expired for so long is forgotten");
    let now = NOW.plus(Lifetime::hours(2));
    node.follower.poll(now).await.unwrap();
    let expected = [Refusal::Revoked, Refusal::PrincipalDenied, Refusal::PrincipalDenied, Refusal::PrincipalDenied];
    for (holder, expected) in holders.iter().zip(expected) {
        assert_eq!(node.trust.admit(holder, now).map(|_| ()), Err(expected), "{}", holder.principal);
    }
}

#[tokio::test]
async fn a_node_that_was_away_for_days_reads_everything_again() {
    let site = Site::new().await;
    let holder = enrolled(&site, "w").await;
    let mut node = site.node();
    node.poll(NOW).await.unwrap();
    tenants::suspend_tenant(&site.app, &call("SuspendTenant"), &environment(), &tid("acme")).await.unwrap();
    let now = NOW.plus(Lifetime::days(3));
    let shard = ChangeHead::shard_of(&tid("acme"));
    let (left, _) = environment().list::<ChangeEntry>(&*site.store, &ChangeEntry::after(shard, 0), now).await.unwrap();
    assert_eq!(left, [], "the feed has forgotten it");
    node.poll(now).await.unwrap();
    let holder = Identity { not_after: now.plus(Lifetime::hours(1)), ..holder };
    assert_eq!(verdict(&node, &holder, now), Err(Refusal::TenantSuspended));
}

#[tokio::test]
async fn a_clock_that_was_just_set_forward_lets_nothing_be_forgotten() {
    let site = Site::new().await;
    let holder = enrolled(&site, "w").await;
    revoke(&site, &holder, NOW).await;
    let mut node = site.node();
    node.poll(NOW).await.unwrap();
    for minute in 0..59 {
        for _ in 0..10 {
            node.follower.poll(NOW.plus(Lifetime::days(30)).plus(Lifetime::minutes(minute))).await.unwrap();
        }
        node.uptime.advance(60_000);
    }
    assert_eq!(node.trust.revoked_len(), 1);
}

/// A query may see the entry of a transaction and not yet the tenant that it changed.
#[tokio::test]
async fn a_tenant_that_was_read_as_it_was_before_its_change_is_read_again() {
    let site = Site::new().await;
    let holder = enrolled(&site, "w").await;
    let flaky = FaultyStore::new(Arc::clone(&site.store));
    let mut node = site.node_on(&(Arc::clone(&flaky) as Arc<dyn Store>));
    let mut late = site.node_on(&(Arc::clone(&flaky) as Arc<dyn Store>));
    for second in 0..10 {
        node.poll(later(second)).await.unwrap();
    }
    let before = tenants::get_tenant(&site.app, &call("GetTenant"), &acme()).await.unwrap();
    tenants::suspend_tenant(&site.app, &call("SuspendTenant"), &environment(), &tid("acme")).await.unwrap();
    // The one runs, the other loads.
    for node in [&mut node, &mut late] {
        flaky.show_earlier(before.clone());
        node.poll(later(20)).await.unwrap();
        for second in 21..25 {
            node.poll(later(second)).await.unwrap();
        }
        assert_eq!(verdict(node, &holder, later(25)), Err(Refusal::TenantSuspended));
        let epoch = node.trust.epoch();
        node.poll(later(25)).await.unwrap();
        assert_eq!(node.trust.epoch(), epoch, "what is read again is no change");
    }
}

#[tokio::test]
async fn entries_that_have_expired_hold_nothing_up() {
    let site = Site::new().await;
    let mut early = site.node();
    early.poll(NOW).await.unwrap();
    let (a, b, c) = (enrolled(&site, "a").await, enrolled(&site, "b").await, enrolled(&site, "c").await);
    announce(&site, &[denied("a", 5), denied("b", 3600), denied("c", 5)]).await;
    let mut late = site.node();
    for node in [&mut early, &mut late] {
        node.poll(later(10)).await.unwrap();
        assert_eq!(verdict(node, &a, later(10)), Ok(roles(&["old"])));
        assert_eq!(verdict(node, &b, later(10)), Err(Refusal::PrincipalDenied));
        assert_eq!(verdict(node, &c, later(10)), Ok(roles(&["old"])));
    }
    announce(&site, &[denied("x", 11), denied("c", 3600)]).await;
    for node in [&mut early, &mut late] {
        node.poll(later(12)).await.unwrap();
        assert_eq!(verdict(node, &c, later(12)), Err(Refusal::PrincipalDenied));
    }
}

#[tokio::test]
async fn more_entries_than_a_page_holds_are_all_applied() {
    let site = Site::new().await;
    let holder = enrolled(&site, "w").await;
    let mut node = site.node();
    node.poll(NOW).await.unwrap();
    let many: Vec<(Change, Time)> = (0..1100).map(|n| denied(&format!("p{n}"), 3600)).collect();
    announce(&site, &many).await;
    announce(&site, &[denied("w", 3600)]).await;
    let mut late = site.node();
    for node in [&mut node, &mut late] {
        node.poll(NOW).await.unwrap();
        assert_eq!(verdict(node, &holder, NOW), Err(Refusal::PrincipalDenied));
        let first = Identity { principal: pid("p0"), ..holder.clone() };
        assert_eq!(verdict(node, &first, NOW), Err(Refusal::PrincipalDenied));
    }
}

#[tokio::test]
async fn a_tenant_that_no_index_shows_yet_is_known_from_the_feed() {
    let site = Site::new().await;
    let holder = enrolled(&site, "w").await;
    let flaky = FaultyStore::new(Arc::clone(&site.store));
    flaky.hide(Hidden::Indexes);
    let mut node = site.node_on(&(Arc::clone(&flaky) as Arc<dyn Store>));
    node.poll(NOW).await.unwrap();
    assert_eq!(verdict(&node, &holder, NOW), Ok(roles(&["old"])));
}

#[tokio::test]
async fn a_tenant_older_than_the_feed_remembers_is_known_from_the_index() {
    let site = Site::new().await;
    let mut node = site.node();
    let now = NOW.plus(Lifetime::days(365));
    let shard = ChangeHead::shard_of(&tid("acme"));
    let (left, _) = environment().list::<ChangeEntry>(&*site.store, &ChangeEntry::after(shard, 0), now).await.unwrap();
    assert_eq!(left, [], "the feed has forgotten it");
    node.poll(now).await.unwrap();
    assert!(node.trust.tenant(&tid("acme")).is_some() && node.trust.tenant(&tid("system")).is_some());
}

/// As after a restore: the head is an earlier one, and of what came after it something has expired.
#[tokio::test]
async fn a_head_that_was_put_back_does_not_hold_up_a_reader_for_ever() {
    let site = Site::new().await;
    let holder = enrolled(&site, "w").await;
    let shard = ChangeHead::shard_of(&tid("acme"));
    let key = ChangeHead::key_of(shard);
    let before: Versioned<ChangeHead> = environment().get(&*site.store, &key, NOW).await.unwrap().unwrap();
    let allowed = |id: &str| Change::PrincipalAllowed { principal: pid(id) };
    announce(&site, &[(allowed("x"), later(10)), (allowed("y"), later(10))]).await;
    suspend(&site, "w", NOW).await;
    let now: Versioned<ChangeHead> = environment().get(&*site.store, &key, NOW).await.unwrap().unwrap();
    let restore = Commit::bookkeeping(NOW).write(Write::replace(before.value, now.version));
    site.store.transact(restore.to_transaction(None)).await.unwrap();
    let mut node = site.node();
    node.poll(later(60)).await.unwrap();
    assert_eq!(verdict(&node, &holder, later(60)), Err(Refusal::PrincipalDenied));
}

#[tokio::test]
async fn refusals_are_forgotten_once_they_cannot_matter() {
    let site = Site::new().await;
    let holder = enrolled(&site, "w").await;
    revoke(&site, &holder, NOW).await;
    let mut node = site.node();
    node.poll(NOW).await.unwrap();
    assert_eq!(node.trust.revoked_len(), 1);
    let expired = NOW.plus(Lifetime::days(2));
    // A few at a time, so that nobody waits for it.
    for _ in 0..10_000 {
        node.poll(expired).await.unwrap();
        if node.trust.revoked_len() == 0 {
            return;
        }
    }
    panic!("it is not forgotten");
}
