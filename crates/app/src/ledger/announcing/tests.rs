use signet_core::{
    Serial,
    audit::AuditEvent,
    store::{Body, Entity, Key, Version, commit::Write},
    trust::change::Change,
};
use signet_testkit::{
    entropy::SeededEntropy,
    faulty::{FaultyStore, Hidden},
    fixtures::{NOW, later, tenant, transaction},
    memory_store::MemoryStore,
};
use tokio::task::JoinHandle;

use crate::ledger::announcing::*;

/// One shard's writer over a store.
#[derive(Clone)]
struct Site {
    memory: Arc<MemoryStore>,
    store: Arc<FaultyStore>,
    announcer: Arc<Announcer>,
}

impl Site {
    fn new() -> Self {
        let memory = Arc::new(MemoryStore::default());
        let store = FaultyStore::new(Arc::clone(&memory) as Arc<dyn Store>);
        store.hide(Hidden::FirstPages);
        let announcer = announcer(&store, 1);
        Self { memory, store, announcer }
    }

    /// Of which no transaction is applied before the test lets it.
    fn held() -> Self {
        let site = Self::new();
        site.store.hold();
        site
    }

    fn spawn(&self, commit: Commit) -> JoinHandle<Result<(), StoreError>> {
        let site = self.clone();
        tokio::spawn(async move { site.announcer.commit(0, &commit, NOW).await })
    }

    fn waiting(&self) -> usize {
        self.announcer.writers[0].queue().waiting.len()
    }

    fn asked(&self) -> usize {
        self.store.transactions()
    }

    async fn entries(&self) -> Vec<ChangeEntry> {
        let records = self.memory.query(&ChangeEntry::after(0, 0), NOW).await.unwrap().records;
        records.into_iter().map(|record| ChangeEntry::try_from(record.value).unwrap()).collect()
    }

    async fn version_of(&self, key: &Key) -> Version {
        self.memory.get(key, NOW).await.unwrap().unwrap().version
    }

    /// A commit in the store's hands, so that others must wait.
    async fn busy(&self) -> JoinHandle<Result<(), StoreError>> {
        let first = self.spawn(revokes("acme", 0));
        until(|| self.asked() == 1).await;
        first
    }
}

fn announcer(store: &Arc<FaultyStore>, seed: u64) -> Arc<Announcer> {
    let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(seed));
    Arc::new(Announcer::new(&(Arc::clone(store) as Arc<dyn Store>), &entropy, &Arc::default()))
}

async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        tokio::task::yield_now().await;
    }
}

fn event(of: &str, number: u16) -> AuditEvent {
    let id = format!("{of}-{number}");
    AuditEvent { tenant: of.parse().unwrap(), id, at: NOW, payload: "{}".into(), keep_until: later(86_400) }
}

fn revokes(of: &str, number: u16) -> Commit {
    let mut random = [0; 10];
    random[8..].copy_from_slice(&number.to_be_bytes());
    let change = Change::CertificateRevoked { serial: Serial::new(NOW, random), not_after: later(3600), issuer: None };
    Commit::audited(event(of, number), NOW).announce(&of.parse().unwrap(), change, later(3600))
}

fn suspends(of: &str, number: u16) -> Commit {
    let change = Change::PrincipalDenied { principal: format!("p-{number}").parse().unwrap(), until: later(3600) };
    Commit::audited(event(of, 1000 + number), NOW).announce(&of.parse().unwrap(), change, later(3600))
}

/// Its own second write cannot hold.
fn conflicting(of: &str, number: u16) -> Commit {
    suspends(of, number).write(Write::replace(tenant(&of.parse().unwrap()), Version::new(7)))
}

#[tokio::test]
async fn what_waits_while_a_group_is_written_is_the_next_group() {
    let site = Site::held();
    let first = site.busy().await;
    let rest: Vec<_> = (1..=40).map(|number| site.spawn(revokes("acme", number))).collect();
    until(|| site.waiting() == 40).await;
    site.store.let_through(2);
    assert_eq!(first.await.unwrap(), Ok(()));
    for waited in rest {
        assert_eq!(waited.await.unwrap(), Ok(()));
    }
    assert_eq!(site.asked(), 2, "forty in one transaction");
    let entries = site.entries().await;
    assert_eq!(
        entries.iter().map(|entry| (entry.sequence, entry.changes.len())).collect::<Vec<_>>(),
        [(1, 1), (2, 40)]
    );
}

#[tokio::test]
async fn a_conflict_of_one_is_its_own_and_fails_no_other() {
    let site = Site::held();
    let first = site.busy().await;
    let good: Vec<_> = (1..=20).map(|number| site.spawn(revokes("acme", number))).collect();
    let bad = site.spawn(conflicting("globex", 1));
    let other = site.spawn(suspends("initech", 1));
    until(|| site.waiting() == 22).await;
    site.store.release();
    assert_eq!(bad.await.unwrap(), Err(StoreError::Conflict { write: 1 }), "the index in its own commit");
    for waited in good.into_iter().chain([first, other]) {
        assert_eq!(waited.await.unwrap(), Ok(()));
    }
    assert_eq!(site.asked(), 3, "the first, the group with the bad one, and without it");
    let sequences: Vec<_> = site.entries().await.iter().map(|entry| entry.sequence).collect();
    assert_eq!(sequences, [1, 2, 3], "no gap");
}

#[tokio::test]
async fn what_the_store_does_not_take_of_one_fails_no_other() {
    for error in [StoreError::Unavailable("by the test".into()), StoreError::Refused("by the test".into())] {
        let (site, damaged, refused) = (Site::held(), event("globex", 1001).key(), error.clone());
        site.store.refuse(move |transaction| {
            transaction.writes().iter().any(|write| write.key() == damaged).then(|| refused.clone())
        });
        let first = site.busy().await;
        let good: Vec<_> = (1..=20).map(|number| site.spawn(revokes("acme", number))).collect();
        let bad = site.spawn(suspends("globex", 1));
        let other = site.spawn(suspends("initech", 1));
        until(|| site.waiting() == 22).await;
        site.store.release();
        assert_eq!(bad.await.unwrap(), Err(error));
        for waited in good.into_iter().chain([first, other]) {
            assert_eq!(waited.await.unwrap(), Ok(()));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_with_much_to_write_leaves_others_their_turns() {
    let busy = Site::new();
    busy.store.take(Duration::from_millis(16));
    let storm: Vec<_> = (0..4000).map(|number| busy.spawn(revokes("acme", number))).collect();
    let mut longest = Duration::ZERO;
    for number in 0..10 {
        let node = announcer(&busy.store, u64::from(number) + 2);
        let began = Instant::now();
        assert_eq!(node.commit(0, &suspends("globex", number), NOW).await, Ok(()));
        longest = longest.max(began.elapsed());
    }
    assert!(storm.iter().any(|revocation| !revocation.is_finished()), "the storm lasted");
    assert!(longest < Duration::from_secs(1), "{longest:?}");
}

#[tokio::test]
async fn who_goes_away_disturbs_no_other() {
    let site = Site::held();
    let (in_hand, stays) = (site.busy().await, site.spawn(revokes("acme", 1)));
    let waits = site.spawn(revokes("acme", 2));
    until(|| site.waiting() == 2).await;
    in_hand.abort();
    waits.abort();
    assert!(in_hand.await.is_err() && waits.await.is_err());
    site.store.release();
    assert_eq!(stays.await.unwrap(), Ok(()));
    let kept = |number: u16| site.memory.body_of(&event("acme", number).key()).is_some();
    assert_eq!([kept(0), kept(1), kept(2)], [true, true, false], "as a whole or not at all");
}

#[tokio::test]
async fn a_head_that_others_always_move_is_given_up_in_time() {
    let mut site = Site::new();
    // Another node is always faster.
    site.store.refuse(|transaction| {
        let head = |write: &Write| matches!(write, Write::Create(Body::ChangeHead(_)));
        transaction.writes().iter().position(head).map(|write| StoreError::Conflict { write })
    });
    for millis in [0, 30] {
        Arc::get_mut(&mut site.announcer).unwrap().give_up_after = Duration::from_millis(millis);
        let refused = site.announcer.commit(0, &revokes("acme", 1), NOW).await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    }
    assert!(site.asked() > 0, "not without a try");
    Arc::get_mut(&mut site.announcer).unwrap().give_up_after = GIVE_UP_AFTER;
    site.store.refuse_none();
    assert_eq!(site.announcer.commit(0, &revokes("acme", 2), NOW).await, Ok(()));
}

#[tokio::test]
async fn a_head_that_was_put_back_to_an_earlier_state_blocks_nothing() {
    let site = Site::new();
    let head = ChangeHead::key_of(0);
    site.announcer.commit(0, &revokes("acme", 1), NOW).await.unwrap();
    let restored = site.memory.get(&head, NOW).await.unwrap().unwrap().value;
    for number in 2..=9 {
        site.announcer.commit(0, &revokes("acme", number), NOW).await.unwrap();
    }
    let put_back = Write::Replace(restored, site.version_of(&head).await);
    site.memory.transact(transaction([put_back])).await.unwrap();
    // Of another tenant than the entry that has the number already.
    assert_eq!(site.announcer.commit(0, &suspends("globex", 1), NOW).await, Ok(()));
    assert_eq!(site.entries().await.last().map(|entry| entry.sequence), Some(10));
    let lose = Write::Delete(head.clone(), site.version_of(&head).await);
    site.memory.transact(transaction([lose])).await.unwrap();
    assert_eq!(site.announcer.commit(0, &suspends("acme", 2), NOW).await, Ok(()), "the head is lost");
    assert_eq!(site.entries().await.last().map(|entry| entry.sequence), Some(11));
}

#[test]
fn suspensions_go_first_and_tenants_take_turns() {
    let mut all: Vec<Commit> = (0..200).map(|number| revokes("acme", number)).collect();
    all.extend((0..3).map(|number| revokes("globex", number)));
    all.extend([suspends("initech", 1), suspends("initech", 1)]);
    let waiting: Vec<&Commit> = all.iter().collect();
    let picked = pick(&waiting, &mut BTreeSet::new(), usize::MAX);
    for late in [200, 201, 202, 203] {
        assert!(picked.contains(&late), "{late} did not get in");
    }
    assert!(!picked.contains(&204), "the same event twice in one transaction");
    let group = Group::new(0, picked.iter().map(|index| waiting[*index]), FeedEnd::default());
    assert_eq!(group.transaction.writes().len(), MOST_WRITES);
    assert_eq!(pick(&waiting, &mut BTreeSet::new(), 1), BTreeSet::from([203]));
    let mut held_back = BTreeSet::from(["initech".parse().unwrap(), "acme".parse().unwrap()]);
    assert_eq!(pick(&waiting, &mut held_back, usize::MAX), BTreeSet::from([200, 201, 202]));
    let only_held = &waiting[203..];
    assert_eq!(pick(only_held, &mut held_back, usize::MAX), BTreeSet::from([0]), "rather than nobody");
    assert!(held_back.is_empty());
}

#[tokio::test]
async fn tenants_that_conflict_again_and_again_hold_up_no_other() {
    let site = Site::held();
    let first = site.busy().await;
    let storm: Vec<_> = (1..=30).map(|number| site.spawn(conflicting("globex", number))).collect();
    let honest = site.spawn(suspends("initech", 1));
    until(|| site.waiting() == 31).await;
    site.store.let_through(3);
    assert_eq!((first.await.unwrap(), honest.await.unwrap()), (Ok(()), Ok(())), "in the second try");
    site.store.release();
    for conflict in storm {
        assert_eq!(conflict.await.unwrap(), Err(StoreError::Conflict { write: 1 }));
    }
}
