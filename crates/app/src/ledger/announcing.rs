//! How announcements get into the changes feed: what waits for one shard is committed together.
//!
//! A shard's head is one item, so its commits come one after the other, a round trip each; in groups of many they take
//! as long as one. One task a shard writes while anything waits. It does not belong to a caller: who gives up takes its
//! own commit out of the queue, if it is still there, and disturbs no other. Other nodes are met by compare-and-swap.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::future::try_join;
use signet_core::{
    Entropy, Store, StoreError, TenantId, Time,
    authorities::signer::random,
    store::{
        Query,
        commit::{Commit, FeedEnd, Group, Obstacle},
        scope::Books,
    },
    trust::change::{ChangeEntry, ChangeHead, FEED_SHARDS},
};
use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, sleep},
};

/// How long a commit waits for its turn and for the shard's head: half of a request's time.
const GIVE_UP_AFTER: Duration = Duration::from_secs(5);
/// Longest pause after the first attempt; a round trip to the store takes about as long.
const SHORTEST_PAUSE_MILLIS: u64 = 5;
/// Longest pause of all: with it the attempts take less than two seconds of a request's ten.
const LONGEST_PAUSE_MILLIS: u64 = 200;
/// Most writes of a group: as many as a transaction holds (DynamoDB `TransactWriteItems`).
const MOST_WRITES: usize = 100;
/// After each group another node has as long to write as the group took, but not longer than this.
const LONGEST_REST: Duration = Duration::from_millis(50);

/// One writer per feed shard.
pub(crate) struct Announcer {
    writers: [Arc<Writer>; FEED_SHARDS as usize],
    give_up_after: Duration,
}

struct Writer {
    shard: u32,
    store: Arc<dyn Store>,
    entropy: Arc<dyn Entropy>,
    /// Wakes this node's own feed reader.
    committed: Arc<Notify>,
    queue: Mutex<Queue>,
    /// How often the head was found behind the entries.
    mended: AtomicU64,
}

#[derive(Default)]
struct Queue {
    /// In the order in which they came.
    waiting: Vec<Waiting>,
    /// Whether a task looks after the queue.
    served: bool,
}

/// A commit whose caller waits for the outcome.
struct Waiting {
    commit: Commit,
    now: Time,
    give_up_at: Instant,
    answer: oneshot::Sender<Result<(), StoreError>>,
}

impl Announcer {
    /// Writers for all shards of `store`. They notify `committed` after each group.
    pub(crate) fn new(store: &Arc<dyn Store>, entropy: &Arc<dyn Entropy>, committed: &Arc<Notify>) -> Self {
        let writers = std::array::from_fn(|shard| {
            Arc::new(Writer {
                shard: u32::try_from(shard).unwrap_or(0),
                store: Arc::clone(store),
                entropy: Arc::clone(entropy),
                committed: Arc::clone(committed),
                queue: Mutex::default(),
                mended: AtomicU64::new(0),
            })
        });
        Self { writers, give_up_after: GIVE_UP_AFTER }
    }

    /// How often a head was found behind the entries of its shard.
    pub(crate) fn mended(&self) -> u64 {
        self.writers.iter().map(|writer| writer.mended.load(Ordering::Relaxed)).fold(0, u64::saturating_add)
    }

    /// Applies a commit that announces in `shard`. `Conflict` is about the commit's own writes. `Unavailable` also if
    /// the shard's head could not be had in time; then nothing was applied. A caller that goes away before its turn
    /// has written nothing; after that its commit is applied or not, as a whole.
    pub(crate) async fn commit(&self, shard: u32, commit: &Commit, now: Time) -> Result<(), StoreError> {
        let Some(writer) = self.writers.get(shard as usize) else {
            return Err(StoreError::Unavailable(format!("there is no feed shard {shard}")));
        };
        let (answer, answered) = oneshot::channel();
        let give_up_at = Instant::now() + self.give_up_after;
        let must_serve = {
            let mut queue = writer.queue();
            queue.waiting.push(Waiting { commit: commit.clone(), now, give_up_at, answer });
            !std::mem::replace(&mut queue.served, true)
        };
        if must_serve {
            tokio::spawn(Arc::clone(writer).serve());
        }
        answered.await.unwrap_or_else(|_| Err(StoreError::Unknown("the process is ending".into())))
    }
}

impl Writer {
    /// Commits group after group until nobody waits.
    async fn serve(self: Arc<Self>) {
        let mut unfinished = Unfinished { writer: &self, over: false };
        let mut state = Serving::default();
        while let Some(pack) = self.next(&mut state) {
            let now = pack.iter().map(|waiting| waiting.now).max();
            let end = match (state.end.clone(), now) {
                (Some(end), _) => Ok(end),
                (None, now) => self.end(now.unwrap_or(Time::from_unix_millis(0))).await,
            };
            match end {
                Ok(end) => self.write(pack, end, &mut state).await,
                Err(error) => answer_all(pack, &Err(error)),
            }
        }
        unfinished.over = true;
    }

    /// Takes the next group out of the queue; `None`: nobody waits, and this task is over.
    fn next(&self, state: &mut Serving) -> Option<Vec<Waiting>> {
        let now = Instant::now();
        let mut queue = self.queue();
        let (late, mut waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut queue.waiting).into_iter().partition(|waiting| waiting.give_up_at <= now);
        let gone = "the changes feed is busy; too many others write to it";
        answer_all(late, &Err(StoreError::Unavailable(gone.into())));
        waiting.retain(|waiting| !waiting.answer.is_closed());
        let commits: Vec<&Commit> = waiting.iter().map(|waiting| &waiting.commit).collect();
        let picked = pick(&commits, &mut state.held_back, state.most.unwrap_or(usize::MAX));
        let (mut pack, mut rest) = (Vec::with_capacity(picked.len()), Vec::new());
        for (index, waiting) in waiting.into_iter().enumerate() {
            if picked.contains(&index) { pack.push(waiting) } else { rest.push(waiting) }
        }
        queue.waiting = rest;
        queue.served = !pack.is_empty();
        queue.served.then_some(pack)
    }

    /// Writes a group. Who is not to blame for a conflict gets another turn.
    async fn write(&self, mut pack: Vec<Waiting>, end: FeedEnd, state: &mut Serving) {
        let group = Group::new(self.shard, pack.iter().map(|waiting| &waiting.commit), end.clone());
        let began = Instant::now();
        match self.store.transact(group.transaction.clone()).await {
            Ok(()) => {
                *state = Serving { end: Some(group.end), ..Serving::default() };
                self.committed.notify_one();
                answer_all(pack, &Ok(()));
                if !self.queue().waiting.is_empty() {
                    // Else a node with much to write would always be faster than one that must read the head first.
                    sleep(began.elapsed().min(LONGEST_REST)).await;
                }
            }
            Err(StoreError::Conflict { write }) => match group.obstacle(write) {
                Obstacle::Commit { index, write } => {
                    state.end = Some(end);
                    let loser = pack.remove(index);
                    state.held_back.extend(loser.commit.announces_for().cloned());
                    answer_all(vec![loser], &Err(StoreError::Conflict { write }));
                    self.put_back(pack);
                }
                Obstacle::Feed => {
                    state.end = None;
                    self.put_back(pack);
                    sleep(full_jitter(&*self.entropy, state.missed)).await;
                    state.missed = state.missed.saturating_add(1);
                }
            },
            // Perhaps it is one commit's fault: what it writes is damaged, throttled, refused or too large.
            Err(
                StoreError::TooLarge(_)
                | StoreError::Unavailable(_)
                | StoreError::Refused(_)
                | StoreError::Corrupt { .. },
            ) if pack.len() > 1 => {
                (state.end, state.most) = (Some(end), Some(pack.len() / 2));
                self.put_back(pack);
            }
            Err(error) => {
                state.end = None;
                self.committed.notify_one();
                answer_all(pack, &Err(error));
            }
        }
    }

    /// They came before all who wait now.
    fn put_back(&self, mut pack: Vec<Waiting>) {
        let mut queue = self.queue();
        pack.append(&mut queue.waiting);
        queue.waiting = pack;
    }

    /// Where the shard ends: at its head, or at its last entry if the head was put back to an earlier state. What is
    /// written between the two nobody would read who has read further.
    async fn end(&self, now: Time) -> Result<FeedEnd, StoreError> {
        let (mut end, last) = try_join(self.head(now), self.last_entry(now)).await?;
        if last > end.last {
            self.mended.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                shard = self.shard,
                head = end.last,
                last,
                "the feed head went backwards or cannot be read; continuing after the last entry"
            );
            end.last = last;
        }
        Ok(end)
    }

    /// Where the head says that the shard ends. One that cannot be read says nothing, and is written anew with the next
    /// entry.
    async fn head(&self, now: Time) -> Result<FeedEnd, StoreError> {
        let (store, key) = (&*self.store, ChangeHead::key_of(self.shard));
        let unreadable = match Books.get::<ChangeHead>(store, &key, now).await {
            Ok(head) => return Ok(head.as_ref().map_or_else(FeedEnd::default, FeedEnd::from)),
            Err(error @ StoreError::Corrupt { .. }) => error,
            Err(error) => return Err(error),
        };
        // Its version stands beside its body, and only a page shows it.
        let page = Books.page::<ChangeHead>(store, &Query::table(key.table, key.partition), now).await?;
        let readable = page.records.first().map(FeedEnd::from);
        let version = page.unreadable.into_iter().find_map(|head| head.version);
        let anew = version.map(|version| FeedEnd { version: Some(version), last: 0 });
        readable.or(anew).ok_or(unreadable)
    }

    /// The number of the last entry that has not expired; 0: there is none.
    async fn last_entry(&self, now: Time) -> Result<u64, StoreError> {
        let mut after = None;
        loop {
            let query = ChangeEntry::newest_first(self.shard).after(after);
            let page = Books.page::<ChangeEntry>(&*self.store, &query, now).await?;
            let unreadable = page.unreadable.iter().filter_map(|entry| Some(ChangeEntry::place(&entry.key)?.0));
            let last = page.records.iter().map(|entry| entry.value.sequence).chain(unreadable).max();
            after = page.next;
            // A page may hold nothing but what has expired.
            if last.is_some() || after.is_none() {
                return Ok(last.unwrap_or(0));
            }
        }
    }

    /// A poisoned lock means that another thread panicked between two complete steps; the queue is whole.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the writing task knows from one group to the next.
#[derive(Default)]
struct Serving {
    /// Where the shard ends, if this task wrote last.
    end: Option<FeedEnd>,
    /// Groups in a row that met another node's.
    missed: u32,
    /// Most commits of a group, after one that was too large.
    most: Option<usize>,
    /// Tenants whose commits stood in a group's way since the last that succeeded: the others go first.
    held_back: BTreeSet<TenantId>,
}

/// Tells those who wait if the task ends before its time: the runtime stops, or the store panicked.
struct Unfinished<'a> {
    writer: &'a Writer,
    over: bool,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if !self.over {
            *self.writer.queue() = Queue::default();
        }
    }
}

/// Which of the `waiting` commits, in the order in which they came, go into the next group: tenants in turns, in each
/// turn suspensions and the like first, no key twice, nobody `held_back` while others wait, at most `most`.
fn pick(waiting: &[&Commit], held_back: &mut BTreeSet<TenantId>, most: usize) -> BTreeSet<usize> {
    let is_held =
        |held: &BTreeSet<TenantId>, commit: &Commit| commit.announces_for().is_some_and(|it| held.contains(it));
    if waiting.iter().all(|commit| is_held(held_back, commit)) {
        held_back.clear();
    }
    let mut turns: BTreeMap<(Option<&TenantId>, bool), usize> = BTreeMap::new();
    let mut order: Vec<(usize, bool, usize)> = Vec::with_capacity(waiting.len());
    for (index, commit) in waiting.iter().enumerate().filter(|(_, commit)| !is_held(held_back, commit)) {
        let turn = turns.entry((commit.announces_for(), commit.only_revokes())).or_default();
        order.push((*turn, commit.only_revokes(), index));
        *turn = turn.saturating_add(1);
    }
    order.sort_unstable();
    let (mut picked, mut keys, mut tenants) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    // The head.
    let mut writes = 1;
    for commit in order.into_iter().filter_map(|(_, _, index)| Some((index, waiting.get(index)?))) {
        let (index, commit) = commit;
        let own: BTreeSet<_> = commit.keys().collect();
        let entry = usize::from(!tenants.contains(&commit.announces_for()));
        let more = own.len().saturating_add(entry);
        let fits = picked.is_empty() || (picked.len() < most && writes + more <= MOST_WRITES);
        if !fits || !keys.is_disjoint(&own) {
            continue;
        }
        writes += more;
        keys.extend(own);
        tenants.insert(commit.announces_for());
        picked.insert(index);
    }
    picked
}

fn answer_all(pack: Vec<Waiting>, outcome: &Result<(), StoreError>) {
    for waiting in pack {
        // Nobody is there any more: nobody need know.
        let _ = waiting.answer.send(outcome.clone());
    }
}

impl fmt::Debug for Announcer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Announcer")
    }
}

/// A pause after `failed` + 1 attempts: anything up to a longest that doubles, so that those who met spread.
pub(crate) fn full_jitter(entropy: &dyn Entropy, failed: u32) -> Duration {
    let longest = SHORTEST_PAUSE_MILLIS.checked_shl(failed).unwrap_or(u64::MAX).min(LONGEST_PAUSE_MILLIS);
    let drawn = u64::from_be_bytes(random(entropy)).checked_rem(longest.saturating_add(1));
    Duration::from_millis(drawn.unwrap_or(longest))
}

#[cfg(test)]
mod tests;
