//! A sealer whose queries do not see yet what another one has just written, and one whose clock is ahead of the
//! writers'.

use std::sync::Arc;

use signet_app::{Settings, audit::sealing};
use signet_core::{
    Lifetime, Store, Uptime,
    audit::checkpoint::Checkpoint,
    store::{Entity, Key},
};
use signet_testkit::{
    faulty::{FaultyStore, Hidden},
    fixtures::{NOW, later},
};

use crate::{
    audit::{Log, due, minutes, process},
    world::environment,
};

/// The keys of what the sealer before wrote: acme's and globex's seals and the checkpoints, the last first.
async fn written(log: &Log) -> Vec<[Key; 3]> {
    let now = due(minutes(4));
    let (acme, globex) = (log.seals("acme", now).await, log.seals("globex", now).await);
    let points = Checkpoint::newest_first().limit(1000);
    let (points, _) = environment().list::<Checkpoint>(&*log.site.store, &points, now).await.unwrap();
    let seals = acme.iter().rev().zip(globex.iter().rev());
    seals.zip(&points).map(|((a, g), point)| [a.value.key(), g.value.key(), point.value.key()]).collect()
}

#[tokio::test]
async fn a_sealer_that_sees_the_last_seals_late_breaks_no_chain() {
    for hidden in 1_usize..64 {
        let log = Log::new().await;
        for minute in 0..4 {
            log.happens("acme", minutes(minute)).await;
            log.happens("globex", minutes(minute)).await;
            log.seal(due(minutes(minute))).await;
        }
        let store = FaultyStore::new(Arc::clone(&log.site.store));
        let other = log.site.app_on(&(Arc::clone(&store) as Arc<dyn Store>), Settings::default());
        // Any of what the last two minutes' transactions wrote.
        let keys = written(&log).await.into_iter().take(2).flatten().enumerate();
        let late = keys.filter(|(number, _)| hidden & (1 << number) != 0).map(|(_, key)| key);
        late.for_each(|key| store.hide(Hidden::Record(key)));
        let now = due(minutes(5));
        log.happens("acme", minutes(4)).await;
        // One that comes after its minute was sealed must be named, and those that the hidden seals cover must not.
        log.happens("globex", minutes(3)).await;
        assert_eq!(sealing::seal_due(&other, &process(now), &log.key).await.unwrap(), 1, "hidden: {hidden:b}");
        for tenant in ["acme", "globex"] {
            let report = log.verify(tenant, due(minutes(20))).await;
            assert_eq!((report.findings, report.chain), (vec![], vec![]), "hidden: {hidden:b}, {tenant}");
        }
    }
}

/// The first head stands where nothing was written; what the first sealer leaves others can still name as late.
#[tokio::test]
async fn a_first_sealer_whose_clock_is_ahead_leaves_no_event_behind() {
    for seconds in (0..900).step_by(30) {
        let log = Log::new().await;
        log.happens("acme", NOW).await;
        let ahead = NOW.plus(Lifetime::seconds(seconds));
        sealing::seal_beside_others(&log.site.app, &process(ahead), &log.key, Uptime::from_millis(1), true)
            .await
            .unwrap();
        log.happens("acme", later(30)).await;
        log.seal(due(minutes(20))).await;
        assert_eq!(log.verify("acme", due(minutes(20))).await.findings, [], "{seconds} s ahead");
    }
}
