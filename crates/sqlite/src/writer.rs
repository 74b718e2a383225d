//! The one thread that writes. It takes what has queued up during the last commit, applies each transaction (in a
//! savepoint of its own, if one must be undone) and commits all of them at once; nobody is answered before that commit
//! is on disk.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    slice,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rusqlite::{Connection, ErrorCode, TransactionBehavior, params_from_iter, types::Value};
use signet_core::{ClockWatch, StoreError, Time, Uptime, store::Table};
use tokio::sync::{mpsc, oneshot};

use crate::{
    error::{OpenError, store_full, write_error},
    original::Original,
    record::{Action, Prepared},
    reserve::Reserve,
    statements::{self, Statements},
};

/// How many transactions share a commit at most.
const GROUP: usize = 64;
/// How long a commit that is shared anyway waits for more; to reach the disk takes some milliseconds.
const LINGER: Duration = Duration::from_millis(1);
/// How many transactions may wait; further callers wait for a place.
const QUEUE: usize = 1024;
/// Expired records are looked for after this many transactions, …
const SWEEP_EVERY: usize = 512;
/// … and at most this many of each table are deleted.
const SWEEP_LIMIT: i64 = 1024;
/// Nobody's clock is so far behind that it still wants to see what expired this long ago.
const SWEEP_GRACE_MILLIS: i64 = 3_600_000;

type Outcome = Result<(), StoreError>;

#[derive(Debug)]
struct Job {
    now: Time,
    writes: Vec<Prepared>,
    /// Whether it suspends or revokes: such a write may use the reserve of a full disk.
    urgent: bool,
    reply: oneshot::Sender<Outcome>,
}

/// The way to the writer. The thread ends after the last handle is dropped and the queue is empty.
#[derive(Debug)]
pub(crate) struct WriterHandle {
    jobs: mpsc::Sender<Job>,
    full: Arc<AtomicBool>,
}

impl WriterHandle {
    /// Whether there is no room but for suspensions and revocations. The writer then looks again.
    pub(crate) fn is_full(&self) -> bool {
        let full = self.full.load(Ordering::Acquire);
        if full {
            let (now, writes, reply) = (Time::from_unix_millis(0), Vec::new(), oneshot::channel().0);
            // If others wait, they make it look.
            let _ = self.jobs.try_send(Job { now, writes, urgent: false, reply });
        }
        full
    }

    pub(crate) async fn apply(&self, now: Time, writes: Vec<Prepared>, urgent: bool) -> Outcome {
        let (reply, outcome) = oneshot::channel();
        let job = Job { now, writes, urgent, reply };
        let stopped = || "the writer has stopped: restart the process".to_owned();
        self.jobs.send(job).await.map_err(|_| StoreError::Unavailable(stopped()))?;
        outcome.await.unwrap_or_else(|_| Err(StoreError::Unknown(stopped())))
    }
}

/// Starts the thread.
pub(crate) fn start(
    original: Original,
    connection: Connection,
    reserve: impl Reserve + 'static,
) -> Result<WriterHandle, OpenError> {
    let (jobs, queue) = mpsc::channel(QUEUE);
    let path = original.path().to_owned();
    let mut writer = Writer::new(original, connection, queue, Box::new(reserve));
    let full = Arc::clone(&writer.full);
    let run = move || while writer.turn() > 0 {};
    thread::Builder::new().name("sqlite-writer".into()).spawn(run).map_err(OpenError::io(&path))?;
    Ok(WriterHandle { jobs, full })
}

struct Writer {
    path: PathBuf,
    original: Original,
    connection: Connection,
    statements: BTreeMap<Table, Statements>,
    queue: mpsc::Receiver<Job>,
    unswept: usize,
    /// How long the writer has been at it, and its callers' clock since.
    uptime: Box<dyn Fn() -> Uptime + Send>,
    clock: Option<ClockWatch>,
    reserve: Box<dyn Reserve>,
    /// No room but for what is urgent, until there is enough again.
    full: Arc<AtomicBool>,
}

impl Writer {
    fn new(
        original: Original,
        connection: Connection,
        queue: mpsc::Receiver<Job>,
        mut reserve: Box<dyn Reserve>,
    ) -> Self {
        let full = Arc::new(AtomicBool::new(!reserve.keep(&connection)));
        let (statements, began) = (statements::all(), Instant::now());
        let uptime = move || Uptime::from_millis(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
        let (path, uptime) = (original.path().to_owned(), Box::new(uptime));
        Self { path, original, connection, statements, queue, unswept: 0, uptime, clock: None, reserve, full }
    }

    /// Waits for transactions and answers those that are there; returns how many. 0: there will be no more.
    fn turn(&mut self) -> usize {
        let Some(first) = self.queue.blocking_recv() else { return 0 };
        let now = first.now;
        let mut group = vec![first];
        self.gather(&mut group);
        if (2..GROUP).contains(&group.len()) {
            // Others are about to come, and what they share costs less. Who is alone does not wait.
            thread::sleep(LINGER);
            self.gather(&mut group);
        }
        let answered = group.len();
        let outcomes = self.outcomes(&group);
        for (job, outcome) in group.into_iter().zip(outcomes) {
            // Whoever asked may have stopped waiting.
            let _ = job.reply.send(outcome);
        }
        self.unswept = self.unswept.saturating_add(answered);
        if self.unswept >= SWEEP_EVERY {
            self.unswept = 0;
            self.sweep(now);
        }
        answered
    }

    /// Adds what waits.
    fn gather(&mut self, group: &mut Vec<Job>) {
        while group.len() < GROUP
            && let Ok(next) = self.queue.try_recv()
        {
            group.push(next);
        }
    }

    /// One outcome per transaction. If the disk was full, each is tried alone: one that does not fit must not fail
    /// the others.
    fn outcomes(&mut self, group: &[Job]) -> Vec<Outcome> {
        if let Err(replaced) = self.original.check() {
            return vec![Err(replaced); group.len()];
        }
        if self.is_full() {
            return group.iter().map(|job| self.alone(job)).collect();
        }
        match self.commit(group) {
            Ok(outcomes) => outcomes,
            Err(error) if is_disk_full(&error) => group.iter().map(|job| self.alone(job)).collect(),
            Err(error) => vec![Err(write_error(&self.path, &error)); group.len()],
        }
    }

    /// Whether the disk is still as full as it was.
    fn is_full(&mut self) -> bool {
        let full = self.full.load(Ordering::Acquire) && !self.reserve.keep(&self.connection);
        self.full.store(full, Ordering::Release);
        full
    }

    fn alone(&mut self, job: &Job) -> Outcome {
        if self.full.load(Ordering::Acquire) && !job.urgent {
            return Err(store_full(&self.path));
        }
        let error = match self.commit(slice::from_ref(job)) {
            Ok(outcomes) => return outcomes.into_iter().next().unwrap_or(Ok(())),
            Err(error) => error,
        };
        if !is_disk_full(&error) {
            return Err(write_error(&self.path, &error));
        }
        if !job.urgent {
            self.full.store(!self.reserve.keep(&self.connection), Ordering::Release);
            return Err(write_error(&self.path, &error));
        }
        self.full.store(true, Ordering::Release);
        while self.reserve.release(&self.connection) {
            match self.commit(slice::from_ref(job)) {
                Ok(outcomes) => return outcomes.into_iter().next().unwrap_or(Ok(())),
                Err(error) if is_disk_full(&error) => {}
                Err(error) => return Err(write_error(&self.path, &error)),
            }
        }
        Err(write_error(&self.path, &error))
    }

    /// Applies a group in one commit. `Err`: none of it counts, conflicts included, since these may rest on
    /// transactions that were rolled back.
    fn commit(&mut self, group: &[Job]) -> rusqlite::Result<Vec<Outcome>> {
        // To be ready to undo one transaction of many costs a copy of every page; few are undone.
        match self.commit_whole(group)? {
            Some(outcomes) => Ok(outcomes),
            None => self.commit_each(group),
        }
    }

    /// `None`, and nothing was changed: one must be undone that had begun to write.
    fn commit_whole(&mut self, group: &[Job]) -> rusqlite::Result<Option<Vec<Outcome>>> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut outcomes = Vec::with_capacity(group.len());
        for job in group {
            outcomes.push(match apply(&transaction, &self.statements, job)? {
                None => Ok(()),
                Some(0) => Err(StoreError::Conflict { write: 0 }),
                Some(_) => return Ok(None),
            });
        }
        transaction.commit()?;
        Ok(Some(outcomes))
    }

    fn commit_each(&mut self, group: &[Job]) -> rusqlite::Result<Vec<Outcome>> {
        let Self { connection, statements, .. } = self;
        let mut transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut outcomes = Vec::with_capacity(group.len());
        for job in group {
            let savepoint = transaction.savepoint()?;
            outcomes.push(match apply(&savepoint, statements, job)? {
                None => savepoint.commit().map(Ok)?,
                Some(write) => savepoint.finish().map(|()| Err(StoreError::Conflict { write }))?,
            });
        }
        transaction.commit()?;
        Ok(outcomes)
    }

    /// Deletes some records that expired long before `now`; they are absent for every call anyway. Not while the clock
    /// may have been set: what it brings to an end would be gone when it is set right.
    fn sweep(&mut self, now: Time) {
        let uptime = (self.uptime)();
        let clock = self.clock.get_or_insert(ClockWatch::new(now, uptime));
        clock.was_set_back(now, uptime);
        if !clock.is_even(uptime) {
            return;
        }
        let cutoff = now.unix_millis().saturating_sub(SWEEP_GRACE_MILLIS);
        if let Err(error) = self.delete_expired(cutoff) {
            tracing::warn!(%error, path = %self.path.display(), "expired records could not be deleted; will try again");
        }
    }

    fn delete_expired(&mut self, cutoff: i64) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for statements in self.statements.values() {
            transaction.prepare_cached(&statements.sweep)?.execute([cutoff, SWEEP_LIMIT])?;
        }
        transaction.commit()
    }
}

fn is_disk_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

/// Applies the writes in order up to the first whose condition does not hold, and returns which that is.
fn apply(
    connection: &Connection,
    statements: &BTreeMap<Table, Statements>,
    job: &Job,
) -> rusqlite::Result<Option<usize>> {
    let now = Value::Integer(job.now.unix_millis());
    for (index, write) in job.writes.iter().enumerate() {
        let Some(sql) = statements.get(&write.table) else { return Ok(Some(index)) };
        let parameters = params_from_iter(write.parameters.iter().chain([&now]));
        let holds = match write.action {
            Action::Create => connection.prepare_cached(&sql.create)?.execute(parameters)? == 1,
            Action::Replace => connection.prepare_cached(&sql.replace)?.execute(parameters)? == 1,
            Action::Delete => connection.prepare_cached(&sql.delete)?.execute(parameters)? == 1,
            Action::Check => connection.prepare_cached(&sql.check)?.exists(parameters)?,
        };
        if !holds {
            return Ok(Some(index));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::atomic::AtomicU32};

    use signet_core::{
        Lifetime, Serial, Store,
        principals::Principal,
        store::{Entity, Write},
        trust::change::{Change, ChangeEntry},
    };
    use signet_testkit::{
        fixtures::{NOW, event, principal, seal, transaction, unique_tenant},
        uptime::TestUptime,
    };

    use super::*;
    use crate::{
        SqliteStore, file, record,
        reserve::{ReserveFile, ReservePages},
    };

    fn job(writes: impl IntoIterator<Item = Write>) -> (Job, oneshot::Receiver<Outcome>) {
        let writes: Vec<Write> = writes.into_iter().collect();
        let (reply, outcome) = oneshot::channel();
        (Job { now: NOW, writes: record::prepare(&writes).unwrap(), urgent: false, reply }, outcome)
    }

    fn writer_at(path: &Path, connection: Connection, queue: mpsc::Receiver<Job>, reserve: Box<dyn Reserve>) -> Writer {
        Writer::new(Original::at(path).unwrap(), connection, queue, reserve)
    }

    #[test]
    fn what_has_queued_up_shares_a_commit_and_conflicts_stay_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let (jobs, queue) = mpsc::channel(QUEUE);
        let reserve = Box::new(ReserveFile::beside(&path));
        let mut writer = writer_at(&path, file::open(&path).unwrap(), queue, reserve);
        let tenant = unique_tenant();
        let mut outcomes = Vec::new();
        for number in 0..GROUP + 2 {
            // Every third one takes the name of the one before it, after a write that must be undone.
            let name = format!("n{}", number - usize::from(number % 3 == 2));
            let mark = event(&tenant, &format!("{number}"));
            let (job, outcome) = job([Write::create(mark), Write::create(principal(&tenant, &name))]);
            jobs.try_send(job).unwrap();
            outcomes.push(outcome);
        }
        drop(jobs);
        assert_eq!([writer.turn(), writer.turn(), writer.turn()], [GROUP, 2, 0]);
        for (number, mut outcome) in outcomes.into_iter().enumerate() {
            let expected = if number % 3 == 2 { Err(StoreError::Conflict { write: 1 }) } else { Ok(()) };
            assert_eq!(outcome.try_recv().unwrap(), expected, "{number}");
            let found = crate::query::get(&writer.connection, &event(&tenant, &format!("{number}")).key(), NOW);
            assert_eq!(found.unwrap().is_some(), expected.is_ok(), "{number}");
        }
    }

    #[test]
    fn what_does_not_fit_on_the_disk_fails_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let connection = file::open(&path).unwrap();
        connection.pragma_update(None, "max_page_count", 80).unwrap();
        let (jobs, queue) = mpsc::channel(QUEUE);
        let reserve = Box::new(ReserveFile::beside(&path));
        let mut writer = writer_at(&path, connection, queue, reserve);
        let tenant = unique_tenant();
        let small = |name: &str| principal(&tenant, name);
        let mut large = event(&tenant, "large");
        large.payload = "x".repeat(350_000);
        let writes: [Vec<Write>; 3] = [
            vec![Write::create(small("before"))],
            vec![Write::create(small("beside")), Write::create(large)],
            vec![Write::create(small("after"))],
        ];
        let outcomes = writes.map(|writes| {
            let (job, outcome) = job(writes);
            jobs.try_send(job).unwrap();
            outcome
        });
        assert_eq!(writer.turn(), 3);
        let [before, full, after] = outcomes.map(|mut outcome| outcome.try_recv().unwrap());
        assert_eq!((before, after), (Ok(()), Ok(())));
        let Err(StoreError::Unavailable(text)) = full else { panic!("{full:?}") };
        assert!(text.contains("free some disk space"), "{text}");
        for (name, kept) in [("before", true), ("beside", false), ("after", true)] {
            let found = crate::query::get(&writer.connection, &small(name).key(), NOW);
            assert_eq!(found.unwrap().is_some(), kept, "{name}");
        }
    }

    #[tokio::test]
    async fn a_full_disk_is_reported_and_still_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let store = SqliteStore::open_tuned(&path, |c| c.pragma_update(None, "max_page_count", 80)).unwrap();
        let tenant = unique_tenant();
        let mut kept = 0;
        let full = loop {
            match store.transact(transaction([Write::create(seal(&tenant, kept))])).await {
                Ok(()) => kept += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(&full, StoreError::Unavailable(text) if text.contains("free some disk space")), "{full}");
        assert!(kept > 10 && store.get(&seal(&tenant, kept - 1).key(), NOW).await.unwrap().is_some());
        assert_eq!(store.get(&seal(&tenant, kept).key(), NOW).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_full_disk_still_takes_suspensions_and_revocations() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let disk = Arc::new(AtomicU32::new(200));
        let reserve = ReservePages { disk: Arc::clone(&disk), reserve: 110, left: 0, margin: 10 };
        let store = SqliteStore::open_on(&path, reserve).unwrap();
        let tenant = unique_tenant();
        let mut kept = 0;
        while store.transact(transaction([Write::create(seal(&tenant, kept))])).await.is_ok() {
            kept += 1;
        }
        assert!(kept > 10 && store.is_full());
        let mut suspended = 0;
        let urgent = [
            Change::TenantChanged,
            Change::PrincipalDenied { principal: "w-1".parse().unwrap(), until: NOW },
            Change::CertificateRevoked { serial: Serial::new(NOW, [7; 10]), not_after: NOW, issuer: None },
        ];
        for change in urgent.iter().cycle().take(30) {
            suspended += 1;
            let entry = ChangeEntry {
                shard: 0,
                sequence: suspended,
                tenant: tenant.clone(),
                at: NOW,
                until: NOW.plus(Lifetime::days(1)),
                changes: vec![change.clone()],
                notices: Vec::new(),
            };
            // The first one needs more than a slice.
            let many = if suspended == 1 { 99 } else { 1 };
            let beside = (0..many).map(|i| seal(&tenant, 100_000 + i64::try_from(suspended).unwrap() * 1000 + i));
            store.transact(transaction(beside.map(Write::create).chain([Write::create(entry)]))).await.unwrap();
        }
        // Nothing else gets into that room.
        let refused = store.transact(transaction([Write::create(principal(&tenant, "a"))])).await.unwrap_err();
        assert!(
            matches!(&refused, StoreError::Unavailable(text) if text.contains("free some disk space")),
            "{refused}"
        );
        assert!(store.is_full());
        assert!(store.get(&seal(&tenant, 0).key(), NOW).await.unwrap().is_some());
        // With more room all goes on by itself.
        disk.store(1000, Ordering::Release);
        store.transact(transaction([Write::create(principal(&tenant, "a"))])).await.unwrap();
        assert!(!store.is_full());
    }

    /// One has expired for long at the end, another within the hour: another process' clock may be behind.
    #[test]
    fn what_has_expired_for_long_is_deleted_in_passing_unless_the_clock_was_set() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let (jobs, queue) = mpsc::channel(QUEUE);
        let reserve = Box::new(ReserveFile::beside(&path));
        let mut writer = writer_at(&path, file::open(&path).unwrap(), queue, reserve);
        let uptime = TestUptime::default();
        writer.uptime = Box::new(uptime.clock());
        let tenant = unique_tenant();
        let mut at = |now: Time, writes: Vec<Write>| {
            let (job, _) = job(writes);
            jobs.try_send(Job { now, ..job }).unwrap();
            writer.turn()
        };
        let mortal = |id: &str, minutes| {
            Write::create(Principal { free_at: Some(NOW.plus(Lifetime::minutes(minutes))), ..principal(&tenant, id) })
        };
        at(NOW, vec![mortal("long", 60), mortal("recent", 750)]);
        let left = || {
            let reader = Connection::open(&path).unwrap();
            let mut names = reader.prepare("SELECT listing_sk FROM principals ORDER BY 1").unwrap();
            names.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect::<Vec<String>>()
        };
        // Wrong at first by ten years, then right, then wrong again for less than an hour.
        let (right, wrong) = (NOW.plus(Lifetime::hours(12)), NOW.plus(Lifetime::days(3650)));
        for now in [wrong, right, wrong] {
            (0..SWEEP_EVERY).for_each(|_| assert_eq!(at(now, Vec::new()), 1));
            assert_eq!(left(), ["long", "recent"]);
            uptime.advance(3_599_000);
        }
        for now in [right, right.plus(Lifetime::hours(1))] {
            (0..SWEEP_EVERY).for_each(|_| assert_eq!(at(now, Vec::new()), 1));
            uptime.advance(3_600_000);
        }
        assert_eq!(left(), ["recent"]);
    }

    #[tokio::test]
    async fn another_process_may_keep_the_lock_for_a_while() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let store = SqliteStore::open_tuned(&path, |c| c.busy_timeout(Duration::from_millis(50))).unwrap();
        let tenant = unique_tenant();
        let write = |id| store.transact(transaction([Write::create(principal(&tenant, id))]));
        let other = file::open(&path).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let (a, b) = tokio::join!(write("a"), write("b"));
        assert_eq!(a, b);
        assert!(matches!(&a, Err(StoreError::Unavailable(text)) if text.contains("another process")), "{a:?}");
        other.execute_batch("ROLLBACK").unwrap();
        assert_eq!(write("a").await, Ok(()));
    }

    #[tokio::test]
    async fn a_read_only_database_is_reported_and_still_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let worker = principal(&unique_tenant(), "a");
        let write = || transaction([Write::create(worker.clone())]);
        SqliteStore::open(&path).unwrap().transact(write()).await.unwrap();
        let store = SqliteStore::open_tuned(&path, |c| c.pragma_update(None, "query_only", true)).unwrap();
        let refused = store.transact(write()).await;
        let Err(StoreError::Unavailable(text)) = refused else { panic!("{refused:?}") };
        assert!(text.contains("must be able to write"), "{text}");
        assert!(store.get(&worker.key(), NOW).await.unwrap().is_some());
    }
}
