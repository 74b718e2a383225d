use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use signet_core::{
    Serial,
    audit::AuditEvent,
    change::Change,
    commit::Write,
    store::{Body, Cursor, Entity, Key, Page, Query, SortRange, Table, Transaction, Version, Versioned},
};
use signet_testkit::{
    entropy::SeededEntropy,
    fixtures::{NOW, later, tenant},
};
use tokio::{sync::Semaphore, task::JoinHandle};

use super::*;

/// A store in memory that applies a transaction when the test lets it.
#[derive(Debug)]
struct Memory {
    records: Mutex<BTreeMap<Key, Versioned<Body>>>,
    /// Transactions that may be applied.
    turns: Semaphore,
    /// How many were asked for, applied or not.
    asked: AtomicU64,
    /// Another node is always faster.
    busy: AtomicBool,
    /// How long each call takes; half of it before it takes effect.
    millis: u64,
    /// What cannot be written.
    damaged: Option<Key>,
}

impl Memory {
    fn apply(&self, transaction: &Transaction) -> Result<(), StoreError> {
        let mut records = self.records.lock().unwrap();
        for (index, write) in transaction.writes().iter().enumerate() {
            let present = records.get(&write.key()).map(|record| record.version.clone());
            let holds = match write {
                Write::Create(body) => {
                    let busy = self.busy.load(Ordering::SeqCst) && matches!(body, Body::ChangeHead(_));
                    present.is_none() && !busy
                }
                Write::Replace(_, version) | Write::Delete(_, version) | Write::Check(_, version) => {
                    present.as_ref() == Some(version)
                }
            };
            if !holds {
                return Err(StoreError::Conflict { write: index });
            }
        }
        for write in transaction.writes() {
            if let Write::Create(body) | Write::Replace(body, _) = write {
                let version = records.get(&body.key()).map_or(1, |record| record.version.number() + 1);
                records.insert(body.key(), Versioned { value: body.clone(), version: Version::new(version) });
            }
        }
        Ok(())
    }

    fn entries(&self) -> Vec<ChangeEntry> {
        let records = self.records.lock().unwrap();
        records.values().filter_map(|record| ChangeEntry::try_from(record.value.clone()).ok()).collect()
    }
}

#[async_trait]
impl Store for Memory {
    async fn get(&self, key: &Key, _: Time) -> Result<Option<Versioned<Body>>, StoreError> {
        let half = Duration::from_millis(self.millis / 2);
        sleep(half).await;
        let found = self.records.lock().unwrap().get(key).cloned();
        sleep(half).await;
        Ok(found)
    }

    async fn query(&self, query: &Query, _: Time) -> Result<Page, StoreError> {
        assert!(query.descending && query.range == SortRange::All, "asks for the last entry");
        if query.after.is_none() {
            // As DynamoDB answers where the newest have expired and are not deleted yet.
            let next = Some(Cursor { sort: "~".into(), key: None });
            return Ok(Page { records: Vec::new(), unreadable: Vec::new(), next });
        }
        let records = self.records.lock().unwrap();
        let within = |key: &&Key| key.table == Table::Changes && key.partition == query.partition;
        let last = records.keys().rev().find(within).and_then(|key| records.get(key)).cloned();
        Ok(Page { records: last.into_iter().collect(), unreadable: Vec::new(), next: None })
    }

    async fn transact(&self, transaction: Transaction) -> Result<(), StoreError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.turns.acquire().await.unwrap().forget();
        if transaction.writes().iter().any(|write| Some(write.key()) == self.damaged) {
            return Err(StoreError::Unavailable("throttled by the test".into()));
        }
        let half = Duration::from_millis(self.millis / 2);
        sleep(half).await;
        let outcome = self.apply(&transaction);
        sleep(half).await;
        outcome
    }
}

/// One shard's writer over a store.
#[derive(Clone)]
struct Site {
    store: Arc<Memory>,
    announcer: Arc<Announcer>,
}

impl Site {
    fn new(turns: usize) -> Self {
        Self::over(turns, 0, None)
    }

    fn over(turns: usize, millis: u64, damaged: Option<Key>) -> Self {
        let (records, asked, busy) = Default::default();
        Self::another(&Arc::new(Memory { records, turns: Semaphore::new(turns), asked, busy, millis, damaged }), 1)
    }

    /// Another node, over the same store.
    fn another(store: &Arc<Memory>, seed: u64) -> Self {
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(seed));
        let announcer = Announcer::new(&(Arc::clone(store) as Arc<dyn Store>), &entropy, &Arc::default());
        Self { store: Arc::clone(store), announcer: Arc::new(announcer) }
    }

    fn spawn(&self, commit: Commit) -> JoinHandle<Result<(), StoreError>> {
        let site = self.clone();
        tokio::spawn(async move { site.announcer.commit(0, &commit, NOW).await })
    }

    fn waiting(&self) -> usize {
        self.announcer.writers[0].queue().waiting.len()
    }

    fn asked(&self) -> u64 {
        self.store.asked.load(Ordering::SeqCst)
    }

    /// A commit in the store's hands, so that others must wait.
    async fn busy(&self) -> JoinHandle<Result<(), StoreError>> {
        let first = self.spawn(revokes("acme", 0));
        until(|| self.asked() == 1).await;
        first
    }
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
    let change = Change::CertificateRevoked { serial: Serial::new(NOW, random), not_after: later(3600) };
    Commit::audited(event(of, number)).announce(&of.parse().unwrap(), change, later(3600))
}

fn suspends(of: &str, number: u16) -> Commit {
    let change = Change::PrincipalDenied { principal: format!("p-{number}").parse().unwrap(), until: later(3600) };
    Commit::audited(event(of, 1000 + number)).announce(&of.parse().unwrap(), change, later(3600))
}

/// Its own second write cannot hold.
fn conflicting(of: &str, number: u16) -> Commit {
    suspends(of, number).write(Write::replace(tenant(&of.parse().unwrap()), Version::new(7)))
}

#[tokio::test]
async fn what_waits_while_a_group_is_written_is_the_next_group() {
    let site = Site::new(0);
    let first = site.busy().await;
    let rest: Vec<_> = (1..=40).map(|number| site.spawn(revokes("acme", number))).collect();
    until(|| site.waiting() == 40).await;
    site.store.turns.add_permits(2);
    assert_eq!(first.await.unwrap(), Ok(()));
    for waited in rest {
        assert_eq!(waited.await.unwrap(), Ok(()));
    }
    assert_eq!(site.asked(), 2, "forty in one transaction");
    let entries = site.store.entries();
    assert_eq!(
        entries.iter().map(|entry| (entry.sequence, entry.changes.len())).collect::<Vec<_>>(),
        [(1, 1), (2, 40)]
    );
}

#[tokio::test]
async fn a_conflict_of_one_is_its_own_and_fails_no_other() {
    let site = Site::new(0);
    let first = site.busy().await;
    let good: Vec<_> = (1..=20).map(|number| site.spawn(revokes("acme", number))).collect();
    let bad = site.spawn(conflicting("globex", 1));
    let other = site.spawn(suspends("initech", 1));
    until(|| site.waiting() == 22).await;
    site.store.turns.add_permits(100);
    assert_eq!(bad.await.unwrap(), Err(StoreError::Conflict { write: 1 }), "the index in its own commit");
    for waited in good.into_iter().chain([first, other]) {
        assert_eq!(waited.await.unwrap(), Ok(()));
    }
    assert_eq!(site.asked(), 3, "the first, the group with the bad one, and without it");
    let sequences: Vec<_> = site.store.entries().iter().map(|entry| entry.sequence).collect();
    assert_eq!(sequences, [1, 2, 3], "no gap");
}

#[tokio::test]
async fn what_the_store_does_not_take_of_one_fails_no_other() {
    let site = Site::over(0, 0, Some(event("globex", 1001).key()));
    let first = site.busy().await;
    let good: Vec<_> = (1..=20).map(|number| site.spawn(revokes("acme", number))).collect();
    let bad = site.spawn(suspends("globex", 1));
    let other = site.spawn(suspends("initech", 1));
    until(|| site.waiting() == 22).await;
    site.store.turns.add_permits(100);
    assert!(matches!(bad.await.unwrap(), Err(StoreError::Unavailable(_))));
    for waited in good.into_iter().chain([first, other]) {
        assert_eq!(waited.await.unwrap(), Ok(()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_with_much_to_write_leaves_others_their_turns() {
    let busy = Site::over(usize::MAX >> 4, 16, None);
    let storm: Vec<_> = (0..4000).map(|number| busy.spawn(revokes("acme", number))).collect();
    let mut longest = Duration::ZERO;
    for number in 0..10 {
        let node = Site::another(&busy.store, u64::from(number) + 2);
        let began = Instant::now();
        assert_eq!(node.announcer.commit(0, &suspends("globex", number), NOW).await, Ok(()));
        longest = longest.max(began.elapsed());
    }
    assert!(storm.iter().any(|revocation| !revocation.is_finished()), "the storm lasted");
    assert!(longest < Duration::from_secs(1), "{longest:?}");
}

#[tokio::test]
async fn who_goes_away_disturbs_no_other() {
    let site = Site::new(0);
    let (in_hand, stays) = (site.busy().await, site.spawn(revokes("acme", 1)));
    let waits = site.spawn(revokes("acme", 2));
    until(|| site.waiting() == 2).await;
    in_hand.abort();
    waits.abort();
    assert!(in_hand.await.is_err() && waits.await.is_err());
    site.store.turns.add_permits(100);
    assert_eq!(stays.await.unwrap(), Ok(()));
    let kept = |number: u16| {
        let key = event("acme", number).key();
        site.store.records.lock().unwrap().contains_key(&key)
    };
    assert_eq!([kept(0), kept(1), kept(2)], [true, true, false], "as a whole or not at all");
}

#[tokio::test]
async fn a_head_that_others_always_move_is_given_up_in_time() {
    let mut site = Site::new(usize::MAX >> 4);
    site.store.busy.store(true, Ordering::SeqCst);
    for millis in [0, 30] {
        Arc::get_mut(&mut site.announcer).unwrap().give_up_after = Duration::from_millis(millis);
        let refused = site.announcer.commit(0, &revokes("acme", 1), NOW).await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    }
    assert!(site.asked() > 0, "not without a try");
    Arc::get_mut(&mut site.announcer).unwrap().give_up_after = GIVE_UP_AFTER;
    site.store.busy.store(false, Ordering::SeqCst);
    assert_eq!(site.announcer.commit(0, &revokes("acme", 2), NOW).await, Ok(()));
}

#[tokio::test]
async fn a_head_that_was_put_back_to_an_earlier_state_blocks_nothing() {
    let site = Site::new(100);
    let head = ChangeHead::key_of(0);
    site.announcer.commit(0, &revokes("acme", 1), NOW).await.unwrap();
    let restored = site.store.get(&head, NOW).await.unwrap().unwrap();
    for number in 2..=9 {
        site.announcer.commit(0, &revokes("acme", number), NOW).await.unwrap();
    }
    site.store.records.lock().unwrap().insert(head.clone(), restored);
    // Of another tenant than the entry that has the number already.
    assert_eq!(site.announcer.commit(0, &suspends("globex", 1), NOW).await, Ok(()));
    assert_eq!(site.store.entries().last().map(|entry| entry.sequence), Some(10));
    site.store.records.lock().unwrap().remove(&head);
    assert_eq!(site.announcer.commit(0, &suspends("acme", 2), NOW).await, Ok(()), "the head is lost");
    assert_eq!(site.store.entries().last().map(|entry| entry.sequence), Some(11));
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
    let site = Site::new(0);
    let first = site.busy().await;
    let storm: Vec<_> = (1..=30).map(|number| site.spawn(conflicting("globex", number))).collect();
    let honest = site.spawn(suspends("initech", 1));
    until(|| site.waiting() == 31).await;
    site.store.turns.add_permits(3);
    assert_eq!((first.await.unwrap(), honest.await.unwrap()), (Ok(()), Ok(())), "in the second try");
    site.store.turns.add_permits(100);
    for conflict in storm {
        assert_eq!(conflict.await.unwrap(), Err(StoreError::Conflict { write: 1 }));
    }
}
