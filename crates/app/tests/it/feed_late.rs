//! What a query shows of a transaction only later: DynamoDB promises no time after which all of it is seen.

use std::{ops::RangeInclusive, sync::Arc};

use signet_app::{App, Follower, Settings, tenants};
use signet_core::{
    Identity, Lifetime, Store, StoreError, Time,
    store::{Entity, Versioned},
    trust::{
        DEFAULT_STALENESS_LIMIT, Refusal, Trust, WhenStale,
        change::{ChangeEntry, ChangeHead},
    },
};
use signet_testkit::{
    faulty::{Fault, FaultyStore, Hidden, Op},
    fixtures::{NOW, later},
    uptime::TestUptime,
};

use crate::{
    feed::{announce, denied, enrolled, suspend, verdict},
    nodes::{Node, Site},
    world::{acme, call, environment, roles, tid},
};

/// A node, its application and its store.
struct Watched {
    node: Node,
    app: Arc<App>,
    store: Arc<FaultyStore>,
}

impl Watched {
    fn new(site: &Site) -> Self {
        let store = FaultyStore::new(Arc::clone(&site.store));
        let app = site.app_on(&(Arc::clone(&store) as Arc<dyn Store>), Settings::default());
        let uptime = TestUptime::default();
        let trust = Arc::new(Trust::new(DEFAULT_STALENESS_LIMIT, WhenStale::Refuse, uptime.clock()));
        let follower = Follower::new(Arc::clone(&app), Arc::clone(&trust));
        Self { node: Node { trust, follower, uptime }, app, store }
    }

    /// Polls; returns how many queries that took.
    async fn poll(&mut self, now: Time) -> usize {
        let before = self.store.count(Op::READS);
        self.node.poll(now).await.unwrap();
        self.store.count(Op::READS) - before
    }
}

fn shard() -> u32 {
    ChangeHead::shard_of(&tid("acme"))
}

/// The last number of `acme`'s shard.
async fn last_number(site: &Site) -> u64 {
    let head: Versioned<ChangeHead> =
        environment().get(&*site.store, &ChangeHead::key_of(shard()), NOW).await.unwrap().unwrap();
    head.value.last
}

/// Queries do not see these entries of `acme`'s shard.
async fn hide(site: &Site, store: &FaultyStore, numbers: RangeInclusive<u64>) {
    let query = ChangeEntry::within(shard(), &numbers);
    let (entries, _) = environment().list::<ChangeEntry>(&*site.store, &query, NOW).await.unwrap();
    assert_eq!(entries.len() as u64, numbers.end() - numbers.start() + 1);
    entries.iter().for_each(|entry| store.hide(Hidden::Record(entry.value.key())));
}

const fn millis(millis: i64) -> Time {
    Time::from_unix_millis(NOW.unix_millis() + millis)
}

/// `w` is suspended, then `x`, and the first of the two entries is not seen.
async fn suspended_unseen(site: &Site, store: &FaultyStore) {
    announce(site, &[denied("w", 864_000), denied("x", 864_000)]).await;
    let number = last_number(site).await - 1;
    hide(site, store, number..=number).await;
}

#[tokio::test]
async fn a_refusal_that_is_seen_half_a_minute_late_is_not_lost() {
    for is_running in [true, false] {
        let site = Site::new().await;
        let holder = enrolled(&site, "w").await;
        let mut watched = Watched::new(&site);
        if is_running {
            watched.poll(NOW).await;
        }
        suspended_unseen(&site, &watched.store).await;
        for quarter in 1..120 {
            watched.poll(millis(quarter * 250)).await;
        }
        assert_eq!(verdict(&watched.node, &holder, later(30)), Ok(roles(&["old"])), "it is hidden");
        watched.store.show_all();
        watched.poll(later(30)).await;
        assert_eq!(verdict(&watched.node, &holder, later(30)), Err(Refusal::PrincipalDenied), "running: {is_running}");
        assert_eq!(watched.app.missing_changes(), 0);
    }
}

#[tokio::test]
async fn what_never_turns_up_is_counted_once_and_then_costs_nothing() {
    let site = Site::new().await;
    let _ = enrolled(&site, "w").await;
    let mut watched = Watched::new(&site);
    watched.poll(NOW).await;
    suspended_unseen(&site, &watched.store).await;
    let mut most = 0;
    for quarter in 1..2804 {
        let queries = watched.poll(millis(quarter * 250)).await;
        most = most.max(queries);
        match (watched.app.missing_changes(), quarter) {
            (0, ..2700) | (1, 2400..) => {}
            (missing, _) => panic!("{missing} after {quarter} polls"),
        }
    }
    // The tenants' table is read once more after a second and after a minute; two tenants were made just before.
    // Two shards have an entry by which they are known again, every ten seconds.
    assert!((5..=4 + 1 + 1 + 2 + 2).contains(&most), "{most}");
    assert_eq!(watched.poll(later(701)).await, 4, "one for each shard");
}

#[tokio::test]
async fn what_has_expired_is_neither_counted_nor_asked_for() {
    let site = Site::new().await;
    let _ = enrolled(&site, "w").await;
    announce(&site, &[denied("a", 864_000), denied("b", 5), denied("c", 864_000)]).await;
    let mut early = Watched::new(&site);
    early.poll(NOW).await;
    let now = NOW.plus(Lifetime::hours(2));
    let entries = ChangeEntry::after(shard(), 0);
    let (left, _) = environment().list::<ChangeEntry>(&*site.store, &entries, now).await.unwrap();
    let numbers: Vec<u64> = left.iter().map(|entry| entry.value.sequence).collect();
    assert_eq!(numbers.last().unwrap() - numbers[numbers.len() - 2], 2, "one has expired");
    let mut late = Watched::new(&site);
    for watched in [&mut early, &mut late] {
        watched.poll(now).await;
        watched.poll(now.plus(Lifetime::seconds(1))).await;
        watched.poll(now.plus(Lifetime::seconds(61))).await;
        for second in 62..70 {
            watched.poll(now.plus(Lifetime::seconds(second))).await;
        }
        assert_eq!(watched.poll(now.plus(Lifetime::seconds(70))).await, 4);
        assert_eq!(watched.poll(now.plus(Lifetime::minutes(20))).await, 4 + 2, "with a look back");
        assert_eq!(watched.app.missing_changes(), 0);
    }
}

/// For all that a node that starts can tell, what is missing before a young entry may be late: it asks, and counts
/// nothing.
#[tokio::test]
async fn a_node_that_starts_asks_for_what_may_be_late_and_does_not_call_it_missing() {
    let site = Site::new().await;
    let holder = enrolled(&site, "w").await;
    announce(&site, &[denied("w", 864_000)]).await;
    let now = NOW.plus(Lifetime::hours(3));
    let later = |seconds| now.plus(Lifetime::seconds(seconds));
    let (hidden, mut watched) = (last_number(&site).await, Watched::new(&site));
    suspend(&site, "w", now).await;
    hide(&site, &watched.store, 1..=hidden).await;
    watched.poll(now).await;
    let asks = watched.poll(later(1)).await;
    assert!(asks > 4, "{asks}");
    for second in 2..701 {
        watched.poll(later(second)).await;
    }
    assert_eq!((watched.poll(later(701)).await, watched.app.missing_changes()), (4, 0));
    assert_eq!(verdict(&watched.node, &holder, later(701)), Err(Refusal::PrincipalDenied));
}

#[tokio::test]
async fn a_tenant_that_is_seen_as_it_was_for_half_a_minute_is_read_until_it_is_seen_as_it_is() {
    let site = Site::new().await;
    let holder = enrolled(&site, "w").await;
    let mut watched = Watched::new(&site);
    // What a node that starts reads again is read.
    for second in 0..70 {
        watched.poll(later(second)).await;
    }
    let before = tenants::get_tenant(&site.app, &call("GetTenant"), &acme()).await.unwrap();
    tenants::suspend_tenant(&site.app, &call("SuspendTenant"), &environment(), &tid("acme")).await.unwrap();
    let mut refused_at = None;
    for quarter in 1..240 {
        match quarter {
            ..=120 => watched.store.show_earlier(before.clone()),
            _ => watched.store.show_all(),
        }
        let now = millis(70_000 + quarter * 250);
        watched.poll(now).await;
        let is_refused = verdict(&watched.node, &holder, now) == Err(Refusal::TenantSuspended);
        refused_at = refused_at.or(is_refused.then_some(quarter));
    }
    let refused_at = refused_at.expect("it is read again");
    assert!((121..=165).contains(&refused_at), "after {refused_at} polls: no longer than a third of 30 s");
}

/// Whatever read fails first, the load goes on there: only the ends of the four shards are read again.
#[tokio::test]
async fn a_load_that_fails_half_way_goes_on_where_it_was() {
    let site = Site::new().await;
    let holder = enrolled(&site, "w").await;
    let many: Vec<_> = (0..2100).map(|n| denied(&format!("p{n}"), 864_000)).collect();
    announce(&site, &many).await;
    suspend(&site, "w", NOW).await;
    let undisturbed = Watched::new(&site).poll(NOW).await;
    assert!(undisturbed > 10, "three pages, four shards, four parts of the tenants' table, and one of them again");
    for number in 0..undisturbed {
        let mut watched = Watched::new(&site);
        let unavailable = || Fault::Before(StoreError::Unavailable("switched off".into()));
        watched.store.fail(Op::READS, number, unavailable());
        watched.node.poll(NOW).await.unwrap_err();
        watched.poll(later(1)).await;
        let reads = watched.store.count(Op::READS);
        // The one that failed, the shards, and what was seen as changed.
        assert!(reads <= undisturbed + 1 + 4 + 2, "read {number}: {reads} instead of {undisturbed}");
        assert_eq!(verdict(&watched.node, &holder, later(1)), Err(Refusal::PrincipalDenied), "read {number}");
        let first = Identity { principal: "p0".parse().unwrap(), ..holder.clone() };
        assert_eq!(verdict(&watched.node, &first, later(1)), Err(Refusal::PrincipalDenied), "read {number}");
    }
}
