//! The purge of deleted tenants: what is gone, what stays, and that it ends well wherever it is cut off.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use signet_app::{
    App, Chore, CreateTenant, Follower, IssuedLeaf, TaskReport, authorities,
    enrollment::{self, out_of_band, rules},
    purge::{self, PURGE},
    tenants::{self, deletion},
};
use signet_core::{
    Error, Identity, KeyManager, KeyRef, PrincipalType, Store, Time,
    audit::Severity,
    certificates::CertificateState,
    store::{Body, Query, Segment, Table, Write},
    tenants::{Isolation, Purge, Tenant},
    trust::{DEFAULT_STALENESS_LIMIT, Refusal, Trust, WhenStale},
};
use signet_sqlite::SqliteStore;
use signet_testkit::{
    drops::dropped_after,
    faulty::{Fault, Op},
    fixtures::{NOW, later, unique},
    memory_store::MemoryStore,
    uptime::TestUptime,
};

use crate::{
    lineage::{signed, worker},
    publication::{Bucket, publish},
    restore::by_hand,
    rules::oidc_rule,
    tenant_deletion::GRACE,
    world::*,
};

/// When the purge is due.
pub(crate) fn due() -> Time {
    later(GRACE)
}

pub(crate) async fn purged_by(app: &App, bucket: Option<&Bucket>, now: Time) -> TaskReport {
    let bucket = bucket.map(|bucket| bucket as &dyn signet_app::ObjectStore);
    purge::purge_tenants(app, &Chore::new(PURGE, now), bucket, &|| Some(now)).await.unwrap()
}

/// What is on record of the tenant `acme`, by kind; without what ends by itself.
pub(crate) async fn left(store: &dyn Store) -> BTreeSet<&'static str> {
    let mut kinds = BTreeSet::new();
    for table in Table::ALL {
        let mut query = Query::segment(table, Segment { number: 0, of: 1 });
        loop {
            let page = store.query(&query, due()).await.unwrap();
            kinds.extend(page.records.iter().filter(|found| found.value.tenant() == &tid("acme")).filter_map(
                |found| match &found.value {
                    Body::Tenant(_) => Some("tenant"),
                    Body::Ca(_) => Some("CA"),
                    Body::Principal(_) => Some("principal"),
                    Body::Rule(_) => Some("rule"),
                    Body::QuotaCount(_) => Some("count"),
                    other => other.expires_at().is_none().then_some("other"),
                },
            ));
            query.after = page.next;
            if query.after.is_none() {
                break;
            }
        }
    }
    kinds
}

/// `acme` with all that a tenant has, deleted.
async fn doomed(world: &World, isolation: Isolation) -> IssuedLeaf {
    let leaf = furnished(world, isolation).await;
    world.delete_tenant("acme").await;
    leaf
}

/// `acme` with all that a tenant has, and another one.
pub(crate) async fn furnished(world: &World, isolation: Isolation) -> IssuedLeaf {
    world.bootstrap().await.unwrap();
    let input = CreateTenant { isolation, ..new_tenant("acme") };
    tenants::create_tenant(&world.app, &call("CreateTenant"), &environment(), input).await.unwrap();
    world.tenant("globex").await;
    for number in 0..3 {
        world.principal(&format!("worker-{number}")).await;
    }
    rules::create_rule(&world.app, &call("CreateEnrollmentRule"), &admin(), &acme(), oidc_rule("ci")).await.unwrap();
    world.token(new_token()).await;
    let (_, leaf) = worker(world, "holder").await;
    if isolation == Isolation::Dedicated {
        let prepare = signet_app::RotationAction::Prepare;
        let kind = signet_core::authorities::CaKind::Tenant;
        authorities::rotate_ca(&world.app, &call("Rotate"), &acme(), kind, prepare).await.unwrap();
    }
    leaf
}

async fn record(world: &World) -> Tenant {
    tenants::get_tenant(&world.app, &at(call("GetTenant"), due()), &acme()).await.unwrap()
}

async fn opens(world: &World, key: &str) -> bool {
    let key: KeyRef = key.parse().unwrap();
    world.keys.open(&key).await.is_ok()
}

/// Nothing but the tombstone, and what ends by itself, is left; each thing was done once, and said.
async fn assert_purged(world: &World, keys: u64, case: &str) {
    let tenant = record(world).await;
    let Some(Purge { done_at: Some(done_at), keys: ended, records, .. }) = tenant.purge().cloned() else {
        panic!("{case}: {tenant:?}")
    };
    assert_eq!(left(&*world.ledger).await, ["tenant"].into(), "{case}");
    assert_eq!((done_at, ended), (due(), keys), "{case}");
    let deleted = world.ledger.written(|write| match write {
        Write::Delete(key, _) => key.partition.starts_with("acme") && key.table != Table::Requests,
        _ => false,
    });
    assert_eq!(deleted as u64, records, "{case}");
    assert_eq!(Severity::of(PURGE, "OK"), Severity::High);
    let ends = world.ledger.events().into_iter().filter(|event| event.payload.contains(PURGE));
    let ends: Vec<_> = ends.filter(|event| event.payload.contains("\"kind\":\"tenant\"")).collect();
    let of =
        |state: &str| ends.iter().filter(|event| event.payload.contains(&format!("\"state\":\"{state}\""))).count();
    assert_eq!((of("begun"), of("done")), (1, 1), "{case}");
    assert!(ends.iter().all(|event| event.tenant.is_system()), "{case}");
    assert!(!opens(world, "memory:acme.1").await && !opens(world, "memory:acme.2").await, "{case}");
    assert!(opens(world, "memory:globex.1").await && opens(world, "memory:shared.1").await, "{case}");
}

async fn whole_life(store: Arc<dyn Store>, isolation: Isolation) {
    let world = World::on(store);
    let leaf = doomed(&world, isolation).await;
    let bucket = Bucket::default();
    publish(&world, &bucket, NOW).await;
    assert_ne!(bucket.content("bundles/acme.pem"), b"");
    let early = purged_by(&world.app, Some(&bucket), later(GRACE - 1)).await;
    assert_eq!((early.done, early.unfinished), (vec![], false), "not before its time");
    assert_eq!(record(&world).await.purge(), None);

    let report = purged_by(&world.app, Some(&bucket), due()).await;
    let (keys, case) = (if isolation == Isolation::Dedicated { 2 } else { 0 }, format!("{isolation:?}"));
    assert_eq!((report.failed, report.done.len()), (vec![], 1), "{case}");
    assert_purged(&world, keys, &case).await;
    assert_eq!(purged_by(&world.app, Some(&bucket), due()).await, TaskReport::default(), "nothing is left to do");

    // Verifiers trust nobody of it, and a run of the publication leaves it so.
    publish(&world, &bucket, due()).await;
    assert_eq!(bucket.content("bundles/acme.pem"), b"", "{case}");
    let json = String::from_utf8(bucket.content("bundles/acme.json")).unwrap();
    assert!(json.contains("17179869180"), "a number above all before: {json}");
    refused_for_good(&world, &leaf, &case).await;
    let record = world.record(&leaf.certificate.issuer, &leaf.certificate.serial).await;
    assert_eq!(record.state, CertificateState::Issued, "{case}: its record ends by itself");
}

async fn refused_for_good(world: &World, leaf: &IssuedLeaf, case: &str) {
    let uptime = TestUptime::default();
    let trust = Arc::new(Trust::new(DEFAULT_STALENESS_LIMIT, WhenStale::Refuse, uptime.clock()));
    uptime.follow(due());
    Follower::new(Arc::clone(&world.app), Arc::clone(&trust)).poll(due()).await.unwrap();
    let record = &leaf.certificate;
    let (issuer, serial, not_after) = (record.issuer.clone(), record.serial, later(GRACE + 3600));
    let holder = identity("acme", record.principal.as_str(), PrincipalType::Worker, &[]);
    let holder = Identity { issuer, serial, not_after, ..holder };
    assert_eq!(trust.admit(&holder, due()), Err(Refusal::TenantSuspended), "{case}");
    assert!(trust.tenant(&tid("acme")).unwrap().anchors.is_empty(), "{case}");
    for (again, what) in [(call("CreateTenant"), "at once"), (at(call("CreateTenant"), later(u32::MAX)), "later")] {
        let taken = tenants::create_tenant(&world.app, &again, &environment(), new_tenant("acme")).await.unwrap_err();
        assert!(taken.reason() == "TENANT_PURGED" && taken.to_string().contains("never given again"), "{case} {what}");
    }
    let late = deletion::undelete_tenant(&world.app, &at(call("Undelete"), due()), &environment(), &tid("acme")).await;
    assert_eq!(late.unwrap_err().reason(), "TENANT_PURGED", "{case}");
}

#[tokio::test]
async fn a_purged_tenant_leaves_its_id_and_what_ends_by_itself() {
    for isolation in [Isolation::Dedicated, Isolation::Shared] {
        whole_life(Arc::new(MemoryStore::default()), isolation).await;
        let folder = tempfile::tempdir().unwrap();
        whole_life(Arc::new(SqliteStore::open(&folder.path().join("store")).unwrap()), isolation).await;
    }
}

/// Its certificates and tokens open nothing, at no door, though their own time is not over.
#[tokio::test]
async fn invariant_14_nothing_of_a_purged_tenant_opens_a_door() {
    for isolation in [Isolation::Dedicated, Isolation::Shared] {
        let world = World::empty();
        furnished(&world, isolation).await;
        let (key, leaf) = worker(&world, "late").await;
        let token = world.token(new_token()).await;
        world.delete_tenant("acme").await;
        purged_by(&world.app, None, due()).await;
        let joined = enrollment::enroll(&world.app, &anonymous("join"), enrollment(&token, "later", &csr())).await;
        assert!(matches!(joined, Err(Error::ProofRefused { .. })), "{isolation:?}: {joined:?}");
        let request = unique("request-");
        let renewed = signed(&world, &key, &leaf, &request, NOW);
        let renewed = out_of_band::renew_out_of_band(&world.app, &anonymous(&request), &renewed).await;
        assert!(renewed.is_err(), "{isolation:?}: {renewed:?}");
    }
}

/// Wherever a run is dropped, the next one completes it.
#[tokio::test]
async fn invariant_12_a_purge_may_be_cut_off_at_every_point() {
    for waits in 1.. {
        let world = World::empty();
        doomed(&world, Isolation::Dedicated).await;
        let bucket = Bucket::default();
        let first = dropped_after(waits, purged_by(&world.app, Some(&bucket), due())).await;
        signet_app::sync::detached::wait_detached(&world.app).await;
        world.ledger.settled().await;
        let report = purged_by(&world.other_node(), Some(&bucket), due()).await;
        assert_eq!(report.failed, [], "cut off at {waits}");
        assert_purged(&world, 2, &format!("cut off at {waits}")).await;
        if first.is_some() {
            assert!(waits > 20, "it does not wait for the store");
            return;
        }
    }
}

/// Whatever a write or a key answers, the run or the next one completes it.
#[tokio::test]
async fn invariant_5_a_purge_survives_a_fault_at_every_write_and_key() {
    let whole = World::empty();
    doomed(&whole, Isolation::Dedicated).await;
    let before = whole.store.transactions();
    purged_by(&whole.app, None, due()).await;
    let points = whole.store.transactions() - before;
    assert!(points > 8, "{points}");
    for (point, fault) in (0..points).flat_map(|point| Fault::of_writes().map(|fault| (point, fault))) {
        let (world, case) = (World::empty(), format!("write {point} {fault:?}"));
        doomed(&world, Isolation::Dedicated).await;
        world.store.arm(point, fault);
        let _ = purge::purge_tenants(&world.app, &Chore::new(PURGE, due()), None, &|| Some(due())).await;
        assert!(world.store.restart(), "{case}: the fault did not happen");
        assert_eq!(purged_by(&world.app, None, due()).await.failed, [], "{case}");
        assert_purged(&world, 2, &case).await;
    }
    for number in 0..2 {
        let world = World::empty();
        doomed(&world, Isolation::Dedicated).await;
        world.key_faults.fail(&[Op::End], number, Fault::CrashAfter);
        let first = purged_by(&world.app, None, due()).await;
        assert_eq!((first.failed.len(), first.done.len()), (1, 0), "key {number}: {first:?}");
        assert!(!record(&world).await.is_purged(), "a key that may be there keeps the tenant on record");
        assert!(world.key_faults.mend(), "key {number}");
        assert_eq!(purged_by(&world.app, None, due()).await.failed, [], "key {number}");
        assert_purged(&world, 2, &format!("key {number}")).await;
    }
}

#[tokio::test]
async fn two_purges_at_once_do_it_once() {
    let world = World::empty();
    doomed(&world, Isolation::Dedicated).await;
    let other = world.other_node();
    let (one, two) = tokio::join!(purged_by(&world.app, None, due()), purged_by(&other, None, due()));
    assert_eq!((one.failed, two.failed), (vec![], vec![]));
    assert_eq!(one.done.len() + two.done.len(), 1, "one of them ends it");
    assert_purged(&world, 2, "two at once").await;
}

/// However little time a run has.
#[tokio::test]
async fn a_purge_goes_on_step_by_step() {
    let world = World::empty();
    doomed(&world, Isolation::Dedicated).await;
    for runs in 1.. {
        let steps = AtomicUsize::new(0);
        let go_on = || (steps.fetch_add(1, Ordering::Relaxed) == 0).then_some(due());
        let report = purge::purge_tenants(&world.app, &Chore::new(PURGE, due()), None, &go_on).await.unwrap();
        assert_eq!(report.failed, []);
        if !report.unfinished {
            assert!(runs > 6, "{runs}");
            break;
        }
    }
    assert_purged(&world, 2, "step by step").await;
}

/// More than one commit takes, of everything.
#[tokio::test]
async fn a_large_tenant_is_purged_page_by_page() {
    let world = World::empty();
    doomed(&world, Isolation::Dedicated).await;
    let many = (0..400).map(|number| {
        let principal = signet_testkit::fixtures::principal(&tid("acme"), &format!("more-{number}"));
        Write::create(principal)
    });
    for piece in many.collect::<Vec<_>>().chunks(80) {
        by_hand(&*world.ledger, piece.to_vec()).await;
    }
    assert_eq!(purged_by(&world.app, None, due()).await.failed, []);
    assert_purged(&world, 2, "large").await;
}

/// Its key would be paid for, and nothing would name it any more.
#[tokio::test]
async fn a_ca_that_cannot_be_read_keeps_the_tenant_on_record() {
    let world = World::empty();
    doomed(&world, Isolation::Dedicated).await;
    let key = signet_core::authorities::Ca::key_of(&tid("acme"), &"acme.1".parse().unwrap());
    world.store.damage(key);
    let report = purged_by(&world.app, None, due()).await;
    assert_eq!(report.failed.len(), 1, "{report:?}");
    assert!(!record(&world).await.is_purged());
}
