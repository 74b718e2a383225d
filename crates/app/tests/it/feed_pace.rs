//! How often a node reads the feed: at once for its own commits, but not for each of thousands; less and less often
//! while it cannot load.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use signet_app::{App, Follower, Settings, principals};
use signet_core::{
    Store, Time, Uptime,
    trust::{DEFAULT_STALENESS_LIMIT, Refusal, Trust, WhenStale},
};
use signet_testkit::{
    faulty::{FaultyStore, Op},
    fixtures::NOW,
};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    feed::enrolled,
    nodes::Site,
    world::{acme, admin, call, pid},
};

/// After that nothing is read again that changed before the start.
const ALL_READ: Duration = Duration::from_secs(900);

/// A running node on a store in memory, in paused time.
struct Running {
    app: Arc<App>,
    trust: Arc<Trust>,
    store: Arc<FaultyStore>,
}

impl Running {
    fn start(site: &Site) -> Self {
        let store = FaultyStore::new(Arc::clone(&site.store));
        let app = site.app_on(&(Arc::clone(&store) as Arc<dyn Store>), Settings::default());
        let began = Instant::now();
        let uptime = move || Uptime::from_millis(u64::try_from(began.elapsed().as_millis()).unwrap());
        let trust = Arc::new(Trust::new(DEFAULT_STALENESS_LIMIT, WhenStale::Refuse, uptime));
        let follower = Follower::new(Arc::clone(&app), Arc::clone(&trust));
        let clock =
            move || Time::from_unix_millis(NOW.unix_millis() + i64::try_from(began.elapsed().as_millis()).unwrap());
        tokio::spawn(follower.run(clock, CancellationToken::new()));
        Self { app, trust, store }
    }

    async fn set_suspended(&self, id: &str, suspended: bool) {
        let (call, admin, id) = (call("SuspendPrincipal"), admin(), pid(id));
        let done = match suspended {
            true => principals::suspend_principal(&self.app, &call, &admin, &acme(), &id).await,
            false => principals::activate_principal(&self.app, &call, &admin, &acme(), &id).await,
        };
        done.unwrap();
    }

    /// Polls since `before` queries; each asks all four shards.
    fn polls_since(&self, before: usize) -> usize {
        (self.store.count(&[Op::Query]) - before) / 4
    }
}

#[tokio::test(start_paused = true)]
async fn own_commits_are_heard_within_50_ms_and_a_storm_of_them_makes_no_storm_of_polls() {
    let site = Site::in_memory().await;
    let holder = enrolled(&site, "w").await;
    let node = Running::start(&site);
    sleep(ALL_READ).await;
    let mut polls = BTreeSet::new();
    for number in 0..1000 {
        node.set_suspended("w", number % 2 == 0).await;
        sleep(Duration::from_millis(1)).await;
        let silent = node.trust.staleness_millis().unwrap();
        assert!(silent <= 51 || number < 300, "{silent}");
        polls.insert(node.trust.uptime().as_millis() - silent);
    }
    assert!((18..=26).contains(&polls.len()), "{} polls in a second", polls.len());

    for offset in [3, 60, 120, 240] {
        sleep(Duration::from_millis(1000 + offset)).await;
        node.set_suspended("w", true).await;
        let committed = Instant::now();
        while node.trust.admit(&holder, NOW).is_ok() {
            sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(node.trust.admit(&holder, NOW), Err(Refusal::PrincipalDenied));
        assert!(committed.elapsed() <= Duration::from_millis(50), "{:?}", committed.elapsed());
        node.set_suspended("w", false).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_nobody_wakes_polls_four_times_a_second() {
    let site = Site::in_memory().await;
    let node = Running::start(&site);
    sleep(ALL_READ).await;
    let before = node.store.count(&[Op::Query]);
    sleep(Duration::from_secs(60)).await;
    // Six times it looks back in two shards, which is half of a poll.
    assert_eq!(node.polls_since(before), 240 + 3);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_is_asked_less_and_less_often_by_a_node_that_cannot_load() {
    let site = Site::in_memory().await;
    let node = Running::start(&site);
    node.store.set_down(true);
    sleep(Duration::from_secs(60)).await;
    let polls = node.polls_since(0);
    // After 0, 0.25, 0.75, 1.75, 3.75 and 7.75 seconds, then every four.
    assert_eq!(polls, 19);
    node.store.set_down(false);
    sleep(Duration::from_secs(5)).await;
    assert!(!node.trust.is_stale());
    // Once it has loaded, an outage costs no more than the next poll.
    node.store.set_down(true);
    sleep(Duration::from_secs(20)).await;
    node.store.set_down(false);
    sleep(Duration::from_millis(251)).await;
    assert!(node.trust.staleness_millis().unwrap() <= 250);
}
