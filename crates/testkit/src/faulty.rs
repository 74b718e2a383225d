//! A store and keys that fail when a test says so: the one wrapper of each.
//!
//! Every call yields once before it does anything: a caller may go before anything is sent, as over a network.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use signet_core::{
    KeyError, KeyLabel, KeyManager, KeyRef, PolicyReport, Signer, Store, StoreError, TenantId, Time, WrapLabel,
    WrappedKey,
    store::{Body, Cursor, Key, Page, Query, Table, Transaction, Unreadable, Version, Versioned},
    tenants::Tenant,
    tokens::TokenAlgorithm,
    trust::change::ChangeEntry,
};
use tokio::{
    sync::Semaphore,
    task::yield_now,
    time::{Instant, sleep_until},
};
use zeroize::Zeroizing;

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names of the ports' methods")]
pub enum Op {
    Get,
    Query,
    Transact,
    Create,
    Open,
    Sign,
    End,
}

impl Op {
    /// Those that change nothing.
    pub const READS: &[Self] = &[Self::Get, Self::Query];
    /// All of a store.
    pub const STORE: &[Self] = &[Self::Get, Self::Query, Self::Transact];
    /// All of keys.
    pub const KEYS: &[Self] = &[Self::Create, Self::Open, Self::Sign, Self::End];
}

/// How a call fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault<E> {
    /// It does nothing.
    Before(E),
    /// It does its work; if it could, this is its answer.
    After(E),
    /// The process ends just before: no later call does anything.
    CrashBefore,
    /// The process ends just after.
    CrashAfter,
}

impl Fault<StoreError> {
    /// Not applied, and no answer comes.
    pub fn lost_request() -> Self {
        Self::Before(lost())
    }

    /// Applied, and no answer comes.
    pub fn lost_answer() -> Self {
        Self::After(lost())
    }

    /// What can go wrong with a transaction.
    pub fn of_writes() -> [Self; 4] {
        [Self::CrashBefore, Self::CrashAfter, Self::lost_request(), Self::lost_answer()]
    }
}

fn lost() -> StoreError {
    StoreError::Unknown("lost by the test".into())
}

/// Something that happens at a chosen moment.
pub type Happening = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Which calls fail, and what was called.
struct Plan<E> {
    armed: Vec<Armed<E>>,
    down: Option<E>,
    counts: BTreeMap<Op, usize>,
}

struct Armed<E> {
    ops: &'static [Op],
    /// How many of them go well before.
    left: usize,
    fault: Fault<E>,
}

impl<E> Default for Plan<E> {
    fn default() -> Self {
        Self { armed: Vec::new(), down: None, counts: BTreeMap::new() }
    }
}

impl<E: Clone> Plan<E> {
    fn count(&self, ops: &[Op]) -> usize {
        ops.iter().filter_map(|op| self.counts.get(op)).sum()
    }

    /// Counts a call. `Some`: how it fails.
    fn next(&mut self, op: Op) -> Option<Fault<E>> {
        *self.counts.entry(op).or_default() += 1;
        if let Some(down) = &self.down {
            return Some(Fault::Before(down.clone()));
        }
        let mut due = None;
        for (index, armed) in self.armed.iter_mut().enumerate().filter(|(_, armed)| armed.ops.contains(&op)) {
            match armed.left.checked_sub(1) {
                Some(left) => armed.left = left,
                None => due = due.or(Some(index)),
            }
        }
        due.map(|index| self.armed.remove(index).fault)
    }

    /// Mends all. Returns whether all faults have happened.
    fn mend(&mut self) -> bool {
        self.down = None;
        std::mem::take(&mut self.armed).is_empty()
    }
}

/// What queries leave out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hidden {
    /// Every index: all of it.
    Indexes,
    /// Every index: the record with this key.
    Indexed(Key),
    /// The next answer that has it: the entry of this feed shard with this number.
    EntryOnce(u32, u64),
    /// Every query: this record, which is there when it is read by its key.
    Record(Key),
    /// The first page of every partition, as DynamoDB answers where all of it has expired and is not deleted yet.
    FirstPages,
}

type Refuses = Box<dyn Fn(&Transaction) -> Option<StoreError> + Send>;

/// A store that fails, hides, holds and damages when told to, around a real one.
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    plan: Mutex<Plan<StoreError>>,
    first: Mutex<Option<(usize, Happening)>>,
    hidden: Mutex<Vec<Hidden>>,
    damaged: Mutex<BTreeSet<Key>>,
    earlier: Mutex<Option<Tenant>>,
    refuses: Mutex<Option<Refuses>>,
    panics: Mutex<Option<Table>>,
    takes: Mutex<Duration>,
    /// Transactions that may be applied.
    turns: Semaphore,
    waiting: AtomicUsize,
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyStore").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl FaultyStore {
    /// Nothing fails yet.
    pub fn new(inner: Arc<dyn Store>) -> Arc<Self> {
        let (plan, first, hidden, damaged, earlier, refuses, panics, takes, waiting) = Default::default();
        let turns = Semaphore::new(Semaphore::MAX_PERMITS);
        Arc::new(Self { inner, plan, first, hidden, damaged, earlier, refuses, panics, takes, turns, waiting })
    }

    /// Lets the `number`-th of `ops` from now on (from 0) fail.
    pub fn fail(&self, ops: &'static [Op], number: usize, fault: Fault<StoreError>) {
        self.plan.lock().unwrap().armed.push(Armed { ops, left: number, fault });
    }

    /// Lets the `number`-th transaction from now on (from 0) fail.
    pub fn arm(&self, number: usize, fault: Fault<StoreError>) {
        self.fail(&[Op::Transact], number, fault);
    }

    /// No call fails any more; a process that ended starts again. Returns whether all faults had happened.
    pub fn restart(&self) -> bool {
        self.plan.lock().unwrap().mend()
    }

    /// Lets every call fail from now on, or none.
    pub fn set_down(&self, down: bool) {
        self.plan.lock().unwrap().down = down.then(|| StoreError::Unavailable("switched off by the test".into()));
    }

    /// How many of `ops` were tried.
    pub fn count(&self, ops: &[Op]) -> usize {
        self.plan.lock().unwrap().count(ops)
    }

    /// How many reads and transactions were tried.
    pub fn calls(&self) -> usize {
        self.count(Op::STORE)
    }

    /// How many transactions were tried.
    pub fn transactions(&self) -> usize {
        self.count(&[Op::Transact])
    }

    /// Lets something else happen just before the `number`-th transaction from now on (from 0).
    pub fn before(&self, number: usize, first: Happening) {
        *self.first.lock().unwrap() = Some((number, first));
    }

    /// Leaves this out, too.
    pub fn hide(&self, hidden: Hidden) {
        self.hidden.lock().unwrap().push(hidden);
    }

    /// Hides nothing any more, and shows nothing as it was.
    pub fn show_all(&self) {
        *self.earlier.lock().unwrap() = None;
        self.hidden.lock().unwrap().clear();
    }

    /// Lets the record at `key` be one that cannot be read.
    pub fn damage(&self, key: Key) {
        self.damaged.lock().unwrap().insert(key);
    }

    /// Lets every record be read again.
    pub fn mend_all(&self) {
        self.damaged.lock().unwrap().clear();
    }

    /// Lets the next query that finds this tenant see it as it was.
    pub fn show_earlier(&self, tenant: Tenant) {
        *self.earlier.lock().unwrap() = Some(tenant);
    }

    /// Lets transactions fail of which `refuses` says so; nothing of them is applied.
    pub fn refuse(&self, refuses: impl Fn(&Transaction) -> Option<StoreError> + Send + 'static) {
        *self.refuses.lock().unwrap() = Some(Box::new(refuses));
    }

    /// Refuses nothing any more.
    pub fn refuse_none(&self) {
        *self.refuses.lock().unwrap() = None;
    }

    /// Lets whoever reads a record of `table` by its key panic.
    pub fn panic_on(&self, table: Option<Table>) {
        *self.panics.lock().unwrap() = table;
    }

    /// How long each transaction and each read of one record takes; half of it before it takes effect. For paused time.
    pub fn take(&self, time: Duration) {
        *self.takes.lock().unwrap() = time;
    }

    /// Lets transactions wait from now on.
    pub fn hold(&self) {
        self.turns.forget_permits(Semaphore::MAX_PERMITS);
    }

    /// Lets that many more transactions go on.
    pub fn let_through(&self, transactions: usize) {
        self.turns.add_permits(transactions);
    }

    /// Lets all transactions go on.
    pub fn release(&self) {
        self.turns.add_permits(Semaphore::MAX_PERMITS - self.turns.available_permits());
    }

    /// How many transactions were sent and have no answer yet.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    /// Half of the time that a call takes.
    async fn pass_half(&self) {
        let half = *self.takes.lock().unwrap() / 2;
        if !half.is_zero() {
            sleep_until(Instant::now() + half).await;
        }
    }

    async fn begin(&self, op: Op) -> Option<Fault<StoreError>> {
        let fault = self.plan.lock().unwrap().next(op);
        yield_now().await;
        if op != Op::Query {
            self.pass_half().await;
        }
        fault
    }

    /// The process ends.
    fn end(&self) -> StoreError {
        let ended = StoreError::Unavailable("the process has ended".into());
        self.plan.lock().unwrap().down = Some(ended.clone());
        ended
    }

    /// Reads do nothing: whether they fail before or after is the same to all.
    async fn begin_read(&self, op: Op) -> Result<(), StoreError> {
        match self.begin(op).await {
            None => Ok(()),
            Some(Fault::Before(error) | Fault::After(error)) => Err(error),
            Some(Fault::CrashBefore | Fault::CrashAfter) => Err(self.end()),
        }
    }

    fn shows(&self, body: &Body, index: bool) -> bool {
        let mut hidden = self.hidden.lock().unwrap();
        let hides = |hidden: &Hidden| match (hidden, body) {
            (Hidden::Indexes, _) => index,
            (Hidden::Indexed(key), body) => index && body.key() == *key,
            (Hidden::Record(key), body) => body.key() == *key,
            (Hidden::EntryOnce(of, number), Body::Change(ChangeEntry { shard, sequence, .. })) => {
                (of, number) == (shard, sequence)
            }
            _ => false,
        };
        let Some(found) = hidden.iter().position(hides) else { return true };
        if matches!(hidden[found], Hidden::EntryOnce(..)) {
            hidden.remove(found);
        }
        false
    }

    fn hides_first_page(&self, query: &Query) -> bool {
        let own = query.index.is_none() && query.segment.is_none() && query.after.is_none();
        own && self.hidden.lock().unwrap().contains(&Hidden::FirstPages)
    }
}

fn unreadable(record: &Versioned<Body>) -> Unreadable {
    let (key, expires_at) = (record.value.key(), record.value.expires_at());
    let version = Some(Version::new(record.version.number()));
    Unreadable { key, expires_at, version, reason: "damaged by the test".into() }
}

/// Counted until it is dropped.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn new(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::SeqCst);
        Self(waiting)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Store for FaultyStore {
    async fn get(&self, key: &Key, now: Time) -> Result<Option<Versioned<Body>>, StoreError> {
        self.begin_read(Op::Get).await?;
        assert!(*self.panics.lock().unwrap() != Some(key.table), "told to panic");
        let found = self.inner.get(key, now).await?;
        self.pass_half().await;
        let damaged = self.damaged.lock().unwrap().contains(key);
        found.map(|record| if damaged { Err(unreadable(&record).into()) } else { Ok(record) }).transpose()
    }

    async fn query(&self, query: &Query, now: Time) -> Result<Page, StoreError> {
        self.begin_read(Op::Query).await?;
        if self.hides_first_page(query) {
            let sort = if query.descending { "\u{10ffff}".into() } else { String::new() };
            return Ok(Page { next: Some(Cursor { sort, key: None }), ..Page::default() });
        }
        let mut page = self.inner.query(query, now).await?;
        page.records.retain(|record| self.shows(&record.value, query.index.is_some()));
        for record in &mut page.records {
            let Body::Tenant(tenant) = &mut record.value else { continue };
            let earlier = self.earlier.lock().unwrap().take_if(|earlier| earlier.id == tenant.id);
            *tenant = earlier.unwrap_or_else(|| tenant.clone());
        }
        let damaged = self.damaged.lock().unwrap();
        let is_damaged = |record: &mut Versioned<Body>| damaged.contains(&record.value.key());
        page.unreadable.extend(page.records.extract_if(.., is_damaged).map(|record| unreadable(&record)));
        Ok(page)
    }

    async fn transact(&self, transaction: Transaction) -> Result<(), StoreError> {
        let _waits = Waits::new(&self.waiting);
        let first = match &mut *self.first.lock().unwrap() {
            Some((left @ 1.., _)) => {
                *left -= 1;
                None
            }
            due => due.take(),
        };
        let fault = self.begin(Op::Transact).await;
        self.turns.acquire().await.unwrap().forget();
        if let Some((_, first)) = first {
            first.await;
        }
        if let Some(error) = self.refuses.lock().unwrap().as_ref().and_then(|refuses| refuses(&transaction)) {
            return Err(error);
        }
        match fault {
            Some(Fault::Before(error)) => return Err(error),
            Some(Fault::CrashBefore) => return Err(self.end()),
            _ => self.inner.transact(transaction).await?,
        }
        self.pass_half().await;
        match fault {
            Some(Fault::After(error)) => Err(error),
            Some(_) => Err(self.end()),
            None => Ok(()),
        }
    }

    async fn settle(&self) -> Result<(), StoreError> {
        self.inner.settle().await
    }
}

/// Keys that fail when told to, and their signers.
#[derive(Clone, Debug)]
pub struct FaultyKeys {
    inner: Arc<dyn KeyManager>,
    plan: KeyPlan,
}

#[derive(Clone, Default)]
struct KeyPlan(Arc<Mutex<Plan<KeyError>>>);

impl fmt::Debug for KeyPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPlan").finish_non_exhaustive()
    }
}

impl FaultyKeys {
    /// Nothing fails yet.
    pub fn new(inner: Arc<dyn KeyManager>) -> Arc<Self> {
        Arc::new(Self { inner, plan: KeyPlan::default() })
    }

    /// Lets the `number`-th of `ops` from now on (from 0) fail. (Keys know no crash: it is the store that sees one.)
    pub fn fail(&self, ops: &'static [Op], number: usize, fault: Fault<KeyError>) {
        self.plan.0.lock().unwrap().armed.push(Armed { ops, left: number, fault });
    }

    /// No call fails any more. Returns whether all faults had happened.
    pub fn mend(&self) -> bool {
        self.plan.0.lock().unwrap().mend()
    }

    /// Lets every call fail from now on, or none.
    pub fn set_down(&self, down: bool) {
        self.plan.0.lock().unwrap().down = down.then(away);
    }

    /// How many of `ops` were tried.
    pub fn count(&self, ops: &[Op]) -> usize {
        self.plan.0.lock().unwrap().count(ops)
    }
}

fn away() -> KeyError {
    KeyError::Unavailable("switched off by the test".into())
}

impl KeyPlan {
    /// Does `work` as the plan says.
    async fn run<T>(&self, op: Op, work: impl Future<Output = Result<T, KeyError>>) -> Result<T, KeyError> {
        let fault = self.0.lock().unwrap().next(op);
        yield_now().await;
        match fault {
            None => work.await,
            Some(Fault::Before(error)) => Err(error),
            Some(Fault::CrashBefore) => Err(away()),
            Some(Fault::After(error)) => work.await.and(Err(error)),
            Some(Fault::CrashAfter) => work.await.and(Err(away())),
        }
    }
}

#[async_trait]
impl KeyManager for FaultyKeys {
    async fn create(&self, label: &KeyLabel) -> Result<KeyRef, KeyError> {
        self.plan.run(Op::Create, self.inner.create(label)).await
    }

    async fn open(&self, key: &KeyRef) -> Result<Arc<dyn Signer>, KeyError> {
        let inner = self.plan.run(Op::Open, self.inner.open(key)).await?;
        Ok(Arc::new(FaultySigner { inner, plan: self.plan.clone() }))
    }

    async fn end(&self, key: &KeyRef, tenant: &TenantId) -> Result<(), KeyError> {
        self.plan.run(Op::End, self.inner.end(key, tenant)).await
    }

    async fn make_wrapped(&self, label: &WrapLabel, algorithm: TokenAlgorithm) -> Result<WrappedKey, KeyError> {
        self.plan.run(Op::Create, self.inner.make_wrapped(label, algorithm)).await
    }

    async fn make_data_key(&self, label: &WrapLabel) -> Result<Vec<u8>, KeyError> {
        self.plan.run(Op::Create, self.inner.make_data_key(label)).await
    }

    async fn unwrap(&self, label: &WrapLabel, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        self.plan.run(Op::Open, self.inner.unwrap(label, wrapped)).await
    }

    async fn unnamed(&self, now: Time) -> Result<Vec<KeyRef>, KeyError> {
        self.inner.unnamed(now).await
    }

    async fn apply_policies(&self, from: Option<&str>) -> Result<PolicyReport, KeyError> {
        self.inner.apply_policies(from).await
    }
}

#[derive(Debug)]
struct FaultySigner {
    inner: Arc<dyn Signer>,
    plan: KeyPlan,
}

#[async_trait]
impl Signer for FaultySigner {
    fn spki_der(&self) -> &[u8] {
        self.inner.spki_der()
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.plan.run(Op::Sign, self.inner.sign(message)).await
    }
}

#[cfg(test)]
mod tests;
