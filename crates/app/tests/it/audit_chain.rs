//! The chain of checkpoints: the end of a log cannot be cut off without a trace.

use signet_app::{
    App, Call, Chore, PageRequest, Settings,
    audit::{checkpoints, events, sealing},
    trust::publication,
};
use signet_core::{
    TenantId, Time,
    audit::{
        SealHead,
        checkpoint::{ChainFinding, Checkpoint, Head, verify_chain},
    },
    store::scope::Housekeeper,
    store::{Entity, Versioned, commit::Write},
};
use signet_testkit::fixtures::NOW;

use crate::{
    audit::{ALL, Log, due, minutes, process},
    publication::Bucket,
    world::{environment, tid},
};

/// The sealed minutes of acme: 0 to 3.
async fn four_minutes() -> (Log, Time) {
    let log = Log::new().await;
    for minute in 0..4 {
        log.happens("acme", minutes(minute)).await;
        log.happens("globex", minutes(minute)).await;
        log.seal(due(minutes(minute))).await;
    }
    let now = due(minutes(4));
    log.seal(now).await;
    (log, now)
}

impl Log {
    /// Somebody removes the tenant's events and seals of `minute` and later.
    async fn cut_off(&self, tenant: &str, minute: i64, now: Time) {
        let scope = Housekeeper::appoint().tenant(&tid(tenant));
        let page = PageRequest { size: 1000, token: String::new() };
        let found = events::list_audit_events(&self.site.app, &process(now), &scope, &ALL, &page).await.unwrap();
        for event in found.events.iter().filter(|event| event.at.minute() >= minute) {
            let victim = self.versioned(event, now).await;
            self.tamper(vec![Write::Delete(event.key(), victim.version)], now).await;
        }
        for seal in self.seals(tenant, now).await.iter().filter(|seal| seal.value.statement.minute >= minute) {
            self.tamper(vec![Write::Delete(seal.value.key(), seal.version.clone())], now).await;
        }
    }

    async fn checkpoints(&self, now: Time) -> Vec<Versioned<Checkpoint>> {
        environment().list(&*self.site.store, &Checkpoint::newest_first().limit(1000), now).await.unwrap().0
    }
}

#[tokio::test]
async fn the_end_of_a_tenants_log_cannot_be_cut_off() {
    for kept in 0..4 {
        let (log, now) = four_minutes().await;
        assert_eq!(log.verify("acme", now).await.chain, []);
        log.cut_off("acme", NOW.minute() + kept, now).await;
        let removed = ChainFinding::SealRemoved { minute: NOW.minute() + kept };
        assert_eq!(log.verify("acme", now).await.chain, std::slice::from_ref(&removed));
        // It goes on as if nothing had been, and is found all the same.
        log.happens("acme", minutes(8)).await;
        log.seal(due(minutes(8))).await;
        assert_eq!(log.verify("acme", due(minutes(8))).await.chain, [removed]);
        assert_eq!(log.verify("globex", due(minutes(8))).await.chain, [], "others are not blamed");
    }
}

#[tokio::test]
async fn a_checkpoint_cannot_be_removed_or_changed() {
    let (log, now) = four_minutes().await;
    let chain = log.checkpoints(now).await;
    assert_eq!(chain.iter().map(|found| found.value.sequence).collect::<Vec<_>>(), [4, 3, 2, 1]);
    let victim = &chain[1];
    log.tamper(vec![Write::Delete(victim.value.key(), victim.version.clone())], now).await;
    let broken = ChainFinding::BrokenCheckpointChain { sequence: 4, minute: NOW.minute() + 3 };
    assert_eq!(log.verify("acme", now).await.chain, std::slice::from_ref(&broken));
    let tags = vec![0; victim.value.tags.len()];
    log.tamper(vec![Write::create(Checkpoint { tags, ..victim.value.clone() })], now).await;
    let forged = ChainFinding::BadCheckpointSignature { sequence: 3, minute: NOW.minute() + 2 };
    assert_eq!(log.verify("acme", now).await.chain, [forged, broken]);
}

/// As after a restore of the audit table beside what is newer.
#[tokio::test]
async fn a_seal_head_that_was_put_back_stops_no_sealing() {
    let (log, now) = four_minutes().await;
    let key = SealHead::key_of();
    let found: Versioned<SealHead> = environment().get(&*log.site.store, &key, now).await.unwrap().unwrap();
    let old = SealHead { minute: NOW.minute() + 1, ..found.value };
    log.tamper(vec![Write::replace(old, found.version)], now).await;
    log.happens("acme", minutes(6)).await;
    assert_eq!(log.seal(due(minutes(6))).await, 1);
    let report = log.verify("acme", due(minutes(6))).await;
    assert_eq!((report.findings, report.chain), (vec![], vec![]));
}

#[tokio::test]
async fn a_node_that_has_seen_the_end_of_the_chain_does_not_seal_another() {
    let (log, now) = four_minutes().await;
    let chain = log.checkpoints(now).await;
    let (last, head) = (&chain[0], SealHead { tenant: TenantId::system(), minute: NOW.minute() + 2 });
    for tenant in ["acme", "globex", "system"] {
        log.cut_off(tenant, NOW.minute() + 3, now).await;
    }
    let found: Versioned<SealHead> = environment().get(&*log.site.store, &head.key(), now).await.unwrap().unwrap();
    let delete = Write::Delete(last.value.key(), last.version.clone());
    log.tamper(vec![delete, Write::replace(head, found.version)], now).await;
    log.happens("acme", minutes(5)).await;
    let refused = sealing::seal_due(&log.site.app, &process(due(minutes(5))), &log.key).await.unwrap_err();
    assert_eq!(refused.reason(), "AUDIT_LOG_CUT_OFF");
    // A node that has seen nothing goes on, and whoever remembers the end finds out.
    let fresh = log.site.app_on(&log.site.store, Settings::default());
    sealing::seal_due(&fresh, &process(due(minutes(5))), &log.key).await.unwrap();
    let mut chain: Vec<Checkpoint> = log.checkpoints(now).await.into_iter().map(|found| found.value).collect();
    chain.reverse();
    let check = |message: &[u8], signature: &[u8]| log.site.keys.check(&log.key, message, signature);
    let forked = ChainFinding::ChainForked { seen: 4, minute: NOW.minute() + 3 };
    assert_eq!(verify_chain(&chain, &[last.value.head()], &check), [forked]);
    chain.pop();
    let rewound = ChainFinding::ChainRewound { seen: 4, minute: NOW.minute() + 3 };
    assert_eq!(verify_chain(&chain, &[last.value.head()], &check), [rewound]);
    assert_eq!(sealing::seal_due(&log.site.app, &process(due(minutes(6))), &log.key).await.unwrap_err(), refused);
}

/// A writer of the store takes the newest minute back, and lets a sealer seal what is left.
#[tokio::test]
async fn a_minute_that_is_sealed_again_without_an_event_is_another_end_of_the_chain() {
    for is_removed in [false, true] {
        let (log, mut now) = four_minutes().await;
        log.happens("acme", minutes(5)).await;
        log.happens("acme", minutes(5)).await;
        let key = SealHead::key_of();
        let before: Versioned<SealHead> = environment().get(&*log.site.store, &key, now).await.unwrap().unwrap();
        now = due(minutes(5));
        log.seal(now).await;
        let end = log.checkpoints(now).await.remove(0);
        let head: Versioned<SealHead> = environment().get(&*log.site.store, &key, now).await.unwrap().unwrap();
        let seal = log.seals("acme", now).await.pop().unwrap();
        let mut writes = vec![
            Write::replace(before.value, head.version),
            Write::Delete(seal.value.key(), seal.version),
            Write::Delete(end.value.key(), end.version),
        ];
        if is_removed {
            let event = log.events(now).await.pop().unwrap();
            let victim = log.versioned(&event, now).await;
            writes.push(Write::Delete(event.key(), victim.version));
        }
        log.tamper(writes, now).await;
        let fresh = log.site.app_on(&log.site.store, Settings::default());
        assert_eq!(sealing::seal_due(&fresh, &process(now), &log.key).await, Ok(1));
        let again = log.checkpoints(now).await.remove(0).value;
        assert_eq!(again.sequence, end.value.sequence);
        assert_eq!(again.head() != end.value.head(), is_removed);
    }
}

#[tokio::test]
async fn the_published_end_of_the_chain_never_goes_back() {
    let (log, now) = four_minutes().await;
    let bucket = Bucket::default();
    let published = || serde_json::from_slice::<Head>(&bucket.content("audit/head.json")).unwrap();
    let publish = async |app: &App, now| {
        publication::publish(app, &Chore::new("publish", now), &bucket, &|| Some(now)).await.unwrap()
    };
    assert!(publish(&log.site.app, now).await.done.contains(&"audit/head.json".to_owned()));
    assert_eq!((published().sequence, published().minute), (4, NOW.minute() + 3));
    assert!(publish(&log.site.app, now).await.done.is_empty(), "once");

    let last = &log.checkpoints(now).await[0];
    log.tamper(vec![Write::Delete(last.value.key(), last.version.clone())], now).await;
    // A process that has seen nothing of it: the next run of the Lambda.
    let fresh = log.site.app_on(&log.site.store, Settings::default());
    let refused = publish(&fresh, now).await.failed;
    let reasons: Vec<_> = refused.iter().map(|(what, error)| (what.as_str(), error.reason())).collect();
    assert_eq!(reasons, [("audit/head.json", "AUDIT_LOG_CUT_OFF")]);
    assert_eq!(published().sequence, 4);
    // The nodes go on with another chain, which does not get published either.
    log.happens("acme", minutes(8)).await;
    sealing::seal_due(&fresh, &process(due(minutes(8))), &log.key).await.unwrap();
    assert_eq!(publish(&fresh, due(minutes(8))).await.failed.len(), 1);
    assert_eq!(published().minute, NOW.minute() + 3);
    // The operator says that it is meant to be so, to a function that has seen the old end.
    assert_eq!(publish(&log.site.app, due(minutes(8))).await.failed.len(), 1);
    let accepted = checkpoints::accept_audit_head(&log.site.app, &Call::process("accept", due(minutes(8))), &bucket)
        .await
        .unwrap();
    assert_eq!((accepted, published().minute), (vec!["audit/head.json".to_owned()], NOW.minute() + 8));
    assert_eq!(publish(&fresh, due(minutes(8))).await.failed, []);
}
