//! After a restore: what the records say and what the feed said last may differ, and the feed may be shorter than what
//! a running node has read of it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use signet_app::{
    IssuedLeaf, Settings,
    certificates::{self, issuance, renewal},
    principals::{self, deletion},
    tenants,
};
use signet_core::{
    Identity, PrincipalType, Store, Time,
    audit::AuditEvent,
    certificates::RevocationReason,
    store::{
        Entity, Version,
        commit::{Commit, Write},
    },
    trust::{
        DEFAULT_STALENESS_LIMIT, Refusal, Trust, WhenStale,
        change::{Change, ChangeEntry, ChangeHead, FEED_SHARDS},
    },
};
use signet_testkit::{
    faulty::FaultyStore,
    fixtures::{NOW, later},
    memory_store::MemoryStore,
    uptime::TestUptime,
};

use crate::{
    feed::{announce, denied, enrolled, revoke, suspend, verdict},
    nodes::{Node, Site},
    world::{acme, admin, at, call, csr, environment, identity, new_principal, pid, renewal_of, roles, tid},
};

/// The feed's entries of all shards, in order.
async fn entries(store: &dyn Store) -> Vec<ChangeEntry> {
    let mut all = Vec::new();
    for shard in 0..FEED_SHARDS {
        let (found, _) = environment().list::<ChangeEntry>(store, &ChangeEntry::after(shard, 0), NOW).await.unwrap();
        all.extend(found.into_iter().map(|found| found.value));
    }
    all
}

/// Takes the entries out of the feed that came after those `before`: a restore that went by halves.
async fn lose(site: &Site, before: &[ChangeEntry]) {
    static IDS: AtomicU64 = AtomicU64::new(1 << 32);
    let new = entries(&*site.store).await.into_iter().filter(|entry| !before.contains(entry));
    let id = format!("{:032x}", IDS.fetch_add(1, Ordering::SeqCst));
    let event = AuditEvent { tenant: tid("acme"), id, at: NOW, payload: "{}".into(), keep_until: later(1) };
    let gone = Commit::audited(event, NOW).writes(new.map(|entry| Write::Delete(entry.key(), Version::new(1))));
    site.store.transact(gone.to_transaction(None)).await.unwrap();
}

async fn activate(site: &Site, id: &str, now: Time) {
    principals::activate_principal(&site.app, &at(call("ActivatePrincipal"), now), &admin(), &acme(), &pid(id))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_suspension_of_who_is_suspended_is_announced_again_and_so_is_an_activation() {
    let site = Site::new().await;
    let holder = enrolled(&site, "w").await;
    suspend(&site, "w", NOW).await;
    announce(&site, &[(Change::PrincipalAllowed { principal: pid("w") }, later(86_400))]).await;
    let mut node = site.node();
    node.poll(NOW).await.unwrap();
    assert_eq!(verdict(&node, &holder, NOW), Ok(roles(&["old"])), "the feed's last word");
    suspend(&site, "w", later(1)).await;
    node.poll(later(1)).await.unwrap();
    assert_eq!(verdict(&node, &holder, later(1)), Err(Refusal::PrincipalDenied));
    activate(&site, "w", later(2)).await;
    announce(&site, &[denied("w", 86_400)]).await;
    node.poll(later(2)).await.unwrap();
    assert_eq!(verdict(&node, &holder, later(2)), Err(Refusal::PrincipalDenied), "the feed's last word");
    activate(&site, "w", later(3)).await;
    node.poll(later(3)).await.unwrap();
    assert_eq!(verdict(&node, &holder, later(3)), Ok(roles(&["old"])));
}

#[tokio::test]
async fn the_deletion_of_who_is_deleted_is_announced_again_and_counts_once() {
    let site = Site::new().await;
    let holder = enrolled(&site, "w").await;
    let mut node = site.node();
    node.poll(NOW).await.unwrap();
    let before = entries(&*site.store).await;
    let delete = async |now| {
        let call = at(call("DeletePrincipal"), now);
        deletion::delete_principal(&site.app, &call, &admin(), &acme(), &pid("w")).await.unwrap()
    };
    let first = delete(NOW).await;
    lose(&site, &before).await;
    node.poll(later(1)).await.unwrap();
    assert_eq!(verdict(&node, &holder, later(1)), Ok(roles(&["old"])), "nobody told it");
    let again = delete(later(1)).await;
    assert_eq!(again.free_at, first.free_at);
    node.poll(later(2)).await.unwrap();
    assert_eq!(verdict(&node, &holder, later(2)), Err(Refusal::PrincipalDenied));
}

#[tokio::test]
async fn the_suspension_of_a_suspended_tenant_is_announced_again_and_so_is_its_activation() {
    let site = Site::new().await;
    let holder = enrolled(&site, "w").await;
    let mut node = site.node();
    // A tenant that has just changed, as this one was made, is read again for ten minutes.
    for second in [0, 1, 700, 1400] {
        node.poll(later(second)).await.unwrap();
    }
    let before = entries(&*site.store).await;
    let suspend = async || {
        tenants::suspend_tenant(&site.app, &call("SuspendTenant"), &environment(), &tid("acme")).await.unwrap()
    };
    let activate = async || {
        tenants::activate_tenant(&site.app, &call("ActivateTenant"), &environment(), &tid("acme")).await.unwrap()
    };
    suspend().await;
    lose(&site, &before).await;
    node.poll(later(1401)).await.unwrap();
    assert_eq!(verdict(&node, &holder, later(1401)), Ok(roles(&["old"])), "nobody told it");
    suspend().await;
    node.poll(later(1402)).await.unwrap();
    assert_eq!(verdict(&node, &holder, later(1402)), Err(Refusal::TenantSuspended));
    activate().await;
    let before = entries(&*site.store).await.len();
    activate().await;
    assert_eq!(entries(&*site.store).await.len(), before + 1);
}

fn holder_of(leaf: &IssuedLeaf) -> Identity {
    let (issuer, serial) = (leaf.certificate.issuer.clone(), leaf.certificate.serial);
    Identity { issuer, serial, ..identity("acme", "w", PrincipalType::Worker, &[]) }
}

async fn revoke_for(site: &Site, leaf: &Identity, reason: RevocationReason, now: Time) {
    let call = at(call("RevokeCertificate"), now);
    certificates::revoke_certificate(&site.app, &call, &admin(), &acme(), &leaf.issuer, &leaf.serial, reason)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_revocation_of_what_is_revoked_is_announced_again_for_a_compromised_key_of_its_whole_instance() {
    for reason in [RevocationReason::Superseded, RevocationReason::KeyCompromise] {
        let site = Site::new().await;
        let input = new_principal("w", PrincipalType::Worker, &[]);
        principals::create_principal(&site.app, &call("CreatePrincipal"), &acme(), input).await.unwrap();
        let first = issuance::issue_certificate(&site.app, &call("IssueCertificate"), &acme(), &pid("w"), &csr())
            .await
            .unwrap();
        let (renew, permit) = (at(call("RenewCertificate"), later(60)), renewal_of(&first));
        let second = renewal::renew_certificate(&site.app, &renew, &permit, &acme(), &csr()).await.unwrap();
        // Of another instance.
        let issue = at(call("IssueCertificate"), later(61));
        let other = issuance::issue_certificate(&site.app, &issue, &acme(), &pid("w"), &csr()).await.unwrap();
        let [first, second, other] = [&first, &second, &other].map(holder_of);
        let mut node = site.node();
        node.poll(later(90)).await.unwrap();
        let before = entries(&*site.store).await;
        revoke_for(&site, &first, reason, later(100)).await;
        lose(&site, &before).await;
        node.poll(later(101)).await.unwrap();
        assert_eq!(verdict(&node, &first, later(101)), Ok(roles(&[])), "nobody told it");
        let record = async || {
            let call = call("GetCertificate");
            certificates::get_certificate(&site.app, &call, &acme(), &first.issuer, &first.serial).await.unwrap().state
        };
        let state = record().await;
        revoke_for(&site, &first, reason, later(102)).await;
        assert_eq!(record().await, state, "it was revoked when it was revoked");
        node.poll(later(103)).await.unwrap();
        let whole = if reason == RevocationReason::KeyCompromise { Err(Refusal::Revoked) } else { Ok(roles(&[])) };
        let verdicts = [&first, &second, &other].map(|leaf| verdict(&node, leaf, later(103)));
        assert_eq!(verdicts, [Err(Refusal::Revoked), whole, Ok(roles(&[]))], "{reason:?}");
    }
}

/// A running node and its application, on a store that can be taken back.
struct Running {
    site: Site,
    store: Arc<MemoryStore>,
    node: Node,
    missing: Box<dyn Fn() -> u64>,
}

impl Running {
    async fn new() -> Self {
        let store = Arc::new(MemoryStore::default());
        let site = Site::on(Arc::<MemoryStore>::clone(&store)).await;
        let app = site.app_on(&(FaultyStore::new(Arc::clone(&site.store)) as Arc<dyn Store>), Settings::default());
        let uptime = TestUptime::default();
        let trust = Arc::new(Trust::new(DEFAULT_STALENESS_LIMIT, WhenStale::Refuse, uptime.clock()));
        let follower = signet_app::Follower::new(Arc::clone(&app), Arc::clone(&trust));
        let missing = Box::new(move || app.missing_changes());
        Self { site, store, node: Node { trust, follower, uptime }, missing }
    }

    /// Polls four times a second.
    async fn polls(&mut self, seconds: std::ops::Range<i64>) {
        for quarter in seconds.start * 4..=seconds.end * 4 {
            self.node.poll(Time::from_unix_millis(NOW.unix_millis() + quarter * 250)).await.unwrap();
        }
    }

    async fn last(&self) -> u64 {
        let key = ChangeHead::key_of(ChangeHead::shard_of(&tid("acme")));
        environment().get::<ChangeHead>(&*self.site.store, &key, NOW).await.unwrap().unwrap().value.last
    }
}

/// What is written after the restore has numbers that the node has read already, and it has a ruling with a higher one.
#[tokio::test]
async fn a_node_that_has_read_further_than_a_restored_feed_hears_what_is_decided_after() {
    // Few enough that the feed stays behind, as many as were lost, and more.
    for decisions in [1, 4, 6] {
        let mut running = Running::new().await;
        let (holder, other) = (enrolled(&running.site, "w").await, enrolled(&running.site, "x").await);
        running.polls(0..1).await;
        let backup = running.store.copy();
        for _ in 0..2 {
            suspend(&running.site, "w", later(1)).await;
            activate(&running.site, "w", later(1)).await;
        }
        running.polls(1..12).await;
        assert_eq!(verdict(&running.node, &holder, later(12)), Ok(roles(&["old"])));
        running.store.restore(&backup);
        suspend(&running.site, "w", later(13)).await;
        for _ in 1..decisions {
            suspend(&running.site, "x", later(13)).await;
        }
        running.polls(13..24).await;
        assert_eq!(verdict(&running.node, &holder, later(24)), Err(Refusal::PrincipalDenied), "{decisions}");
        assert_eq!(verdict(&running.node, &other, later(24)).is_ok(), decisions == 1, "{decisions}");
        assert!((running.missing)() > 0, "somebody is told");
        let told = (running.missing)();
        running.polls(24..60).await;
        assert_eq!((running.missing)(), told, "once");
    }
}

/// The head alone, put back by hand: who announces goes on behind the last entry, and nothing was lost.
#[tokio::test]
async fn a_head_that_alone_was_put_back_makes_no_node_start_over() {
    let mut running = Running::new().await;
    let holder = enrolled(&running.site, "w").await;
    let key = ChangeHead::key_of(ChangeHead::shard_of(&tid("acme")));
    let head = running.store.body_of(&key).unwrap();
    for _ in 0..2 {
        suspend(&running.site, "w", NOW).await;
        activate(&running.site, "w", NOW).await;
    }
    let last = running.last().await;
    running.polls(0..12).await;
    running.store.put_body(&key, &head);
    assert!(running.last().await < last);
    running.polls(12..40).await;
    assert_eq!((running.missing)(), 0);
    suspend(&running.site, "w", later(40)).await;
    running.polls(40..41).await;
    assert_eq!(verdict(&running.node, &holder, later(41)), Err(Refusal::PrincipalDenied));
    assert_eq!(running.last().await, last + 1);
}

/// What a node refused before a restore it goes on to refuse, whatever the restored feed says of it.
#[tokio::test]
async fn a_node_that_starts_over_forgets_no_refusal() {
    let mut running = Running::new().await;
    let (revoked, suspended) = (enrolled(&running.site, "r").await, enrolled(&running.site, "s").await);
    running.polls(0..1).await;
    let backup = running.store.copy();
    revoke(&running.site, &revoked, later(1)).await;
    suspend(&running.site, "s", later(1)).await;
    running.polls(1..12).await;
    running.store.restore(&backup);
    running.polls(12..24).await;
    assert!((running.missing)() > 0);
    assert_eq!(verdict(&running.node, &revoked, later(24)), Err(Refusal::Revoked));
    assert_eq!(verdict(&running.node, &suspended, later(24)), Err(Refusal::PrincipalDenied));
}

/// Stores delete what has expired by their own clock.
#[tokio::test]
async fn an_entry_that_is_about_to_expire_may_be_gone() {
    let mut running = Running::new().await;
    let _ = enrolled(&running.site, "w").await;
    let before = entries(&*running.site.store).await;
    announce(&running.site, &[denied("w", 3601)]).await;
    running.polls(0..12).await;
    lose(&running.site, &before).await;
    running.polls(12..40).await;
    assert_eq!((running.missing)(), 0);
    announce(&running.site, &[denied("w", 7200)]).await;
    let before = entries(&*running.site.store).await.len();
    running.polls(40..52).await;
    lose(&running.site, &entries(&*running.site.store).await[..before - 1]).await;
    running.polls(52..80).await;
    assert!((running.missing)() > 0, "this one is not");
}
