//! Connections that read, on blocking threads. A thread goes on for as long as reads wait: to wake one for each would
//! cost more than the read.
//!
//! Reads of a kind have a pool of their own, so that pages of listings, however many are asked for, hold up neither
//! the changes feed, on which every revocation waits, nor single records, which every operation needs.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    thread,
};

use rusqlite::Connection;
use signet_core::StoreError;
use tokio::{sync::oneshot, task::spawn_blocking};

use crate::{error::store_error, file, original::Original};

/// How many reads run at once, by lane.
const FEED_CONNECTIONS: usize = 1;
const RECORD_CONNECTIONS: usize = 3;
const PAGE_CONNECTIONS: usize = 2;
/// How many reads of a lane wait; more are refused.
const WAITING: usize = 2048;
/// How often a worker without work lets others run before it leaves.
const YIELDS: u32 = 4;

/// What is read, and so with whom it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// The changes feed.
    Feed,
    /// Single records, and the few of one tenant's configuration.
    Records,
    /// Pages.
    Pages,
}

/// A read that answers by itself, also that there is no connection.
type Read = Box<dyn FnOnce(Result<&Connection, StoreError>) + Send>;

struct Job {
    read: Read,
    /// Gone once nobody waits for the answer.
    asker: Weak<()>,
}

impl Job {
    fn is_wanted(&self) -> bool {
        self.asker.strong_count() > 0
    }
}

#[derive(Debug)]
pub(crate) struct Readers {
    feed: Arc<Pool>,
    records: Arc<Pool>,
    pages: Arc<Pool>,
}

struct Pool {
    original: Original,
    connections: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    idle: Vec<Connection>,
    /// Threads at work, or about to be.
    workers: usize,
}

impl State {
    /// The next read that somebody still waits for.
    fn next(&mut self) -> Option<Job> {
        loop {
            let job = self.waiting.pop_front()?;
            if job.is_wanted() {
                return Some(job);
            }
        }
    }

    /// Whether there is room for one more, those left out whose askers are gone.
    fn has_room(&mut self) -> bool {
        if self.waiting.len() >= WAITING {
            self.waiting.retain(Job::is_wanted);
        }
        self.waiting.len() < WAITING
    }
}

impl Readers {
    pub(crate) fn new(original: &Original) -> Self {
        let pool = |connections| Arc::new(Pool { original: original.clone(), connections, state: Mutex::default() });
        Self { feed: pool(FEED_CONNECTIONS), records: pool(RECORD_CONNECTIONS), pages: pool(PAGE_CONNECTIONS) }
    }

    /// Runs `read` away from the async threads. It sees every transaction that had answered before. A read that nobody
    /// waits for any more when its turn comes is left out.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        lane: Lane,
        read: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let pool = match lane {
            Lane::Feed => &self.feed,
            Lane::Records => &self.records,
            Lane::Pages => &self.pages,
        };
        let (reply, answer) = oneshot::channel();
        let waits = Arc::new(());
        let job = Job {
            read: Box::new(move |connection| {
                // Whoever asked may have stopped waiting.
                let _ = reply.send(connection.and_then(read));
            }),
            asker: Arc::downgrade(&waits),
        };
        let needs_worker = {
            let mut state = pool.state();
            if !state.has_room() {
                return Err(StoreError::Unavailable(format!("{WAITING} reads are already waiting; retry")));
            }
            state.waiting.push_back(job);
            state.workers < pool.connections && {
                state.workers = state.workers.saturating_add(1);
                true
            }
        };
        if needs_worker {
            let worker = Worker { pool: Arc::clone(pool), counted: true };
            spawn_blocking(move || worker.run());
        }
        let answer = answer.await.unwrap_or_else(|_| Err(StoreError::Unavailable("the store is closing".into())));
        drop(waits);
        answer
    }
}

impl Pool {
    /// A poisoned lock means that another thread panicked between two complete steps; the state is whole.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connection(&self) -> Result<Connection, StoreError> {
        let idle = self.state().idle.pop();
        let path = self.original.path();
        idle.map_or_else(|| file::open_reader(path).map_err(|error| store_error(path, &error)), Ok)
    }
}

/// One of the workers that are counted; no more once it found nothing to do or, having never run, is dropped.
struct Worker {
    pool: Arc<Pool>,
    counted: bool,
}

impl Worker {
    fn run(mut self) {
        let mut held = None;
        while let Some(job) = self.soon().or_else(|| self.next(&mut held)) {
            let connection = held.take().map_or_else(|| self.pool.connection(), Ok);
            // After the connection is open, which may be to another file.
            let checked = self.pool.original.check().and_then(|()| connection.as_ref().map_err(Clone::clone));
            // A panic is its asker's: the others are still to be answered.
            let _ = catch_unwind(AssertUnwindSafe(|| (job.read)(checked)));
            held = connection.ok();
        }
    }

    /// The next read, if there is one or others that run now are about to ask: to be woken costs more than to wait for
    /// that.
    fn soon(&self) -> Option<Job> {
        for _ in 0..YIELDS {
            if let Some(job) = self.pool.state().next() {
                return Some(job);
            }
            thread::yield_now();
        }
        None
    }

    /// The next read. If there is none the worker leaves, under the lock that told so: who asks next starts another.
    fn next(&mut self, held: &mut Option<Connection>) -> Option<Job> {
        let mut state = self.pool.state();
        let job = state.next();
        if job.is_none() {
            state.idle.extend(held.take());
            state.workers = state.workers.saturating_sub(1);
            self.counted = false;
        }
        job
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.counted {
            let mut state = self.pool.state();
            state.workers = state.workers.saturating_sub(1);
        }
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("original", &self.original).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::poll_fn,
        pin::Pin,
        sync::{
            atomic::{AtomicUsize, Ordering},
            mpsc::{Receiver, Sender, channel},
        },
        task::Poll,
    };

    use tempfile::TempDir;

    use super::*;

    type Answer = Pin<Box<dyn Future<Output = Result<(), StoreError>>>>;

    fn readers() -> (Arc<Readers>, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        drop(file::open(&path).unwrap());
        (Arc::new(Readers::new(&Original::at(&path).unwrap())), folder)
    }

    /// Asks, and does not wait.
    async fn begin(
        readers: &Arc<Readers>,
        lane: Lane,
        read: impl FnOnce() + Send + 'static,
    ) -> (Answer, Poll<Result<(), StoreError>>) {
        let readers = Arc::clone(readers);
        let mut answer: Answer = Box::pin(async move {
            readers
                .read(lane, |_| {
                    read();
                    Ok(())
                })
                .await
        });
        let polled = poll_fn(|cx| Poll::Ready(answer.as_mut().poll(cx))).await;
        (answer, polled)
    }

    /// Keeps all of the lane's connections at work until the sender is dropped.
    async fn occupy(readers: &Arc<Readers>, lane: Lane, connections: usize) -> (Vec<Answer>, Vec<Sender<()>>) {
        let (mut answers, mut senders) = (Vec::new(), Vec::new());
        for _ in 0..connections {
            let (sender, end): (_, Receiver<()>) = channel();
            answers.push(begin(readers, lane, move || end.recv().unwrap_or_default()).await.0);
            senders.push(sender);
        }
        (answers, senders)
    }

    #[tokio::test]
    async fn pages_hold_up_neither_the_feed_nor_single_records() {
        let (readers, _folder) = readers();
        let (busy, ends) = occupy(&readers, Lane::Pages, PAGE_CONNECTIONS).await;
        let waits = begin(&readers, Lane::Pages, || ()).await;
        assert_eq!(waits.1, Poll::Pending);
        for lane in [Lane::Feed, Lane::Records] {
            assert_eq!(readers.read(lane, |_| Ok(7)).await, Ok(7));
        }
        drop(ends);
        for answer in busy.into_iter().chain([waits.0]) {
            assert_eq!(answer.await, Ok(()));
        }
    }

    #[tokio::test]
    async fn reads_that_nobody_waits_for_are_left_out_and_so_many_may_wait() {
        let (readers, _folder) = readers();
        let (busy, ends) = occupy(&readers, Lane::Pages, PAGE_CONNECTIONS).await;
        let ran = Arc::new(AtomicUsize::new(0));
        let mut waiting = Vec::new();
        let refused = loop {
            let ran = Arc::clone(&ran);
            let (answer, polled) = begin(&readers, Lane::Pages, move || {
                let _: usize = ran.fetch_add(1, Ordering::AcqRel);
            })
            .await;
            if let Poll::Ready(refused) = polled {
                break refused.unwrap_err();
            }
            waiting.push(answer);
        };
        assert!(matches!(&refused, StoreError::Unavailable(text) if text.contains("2048")), "{refused}");
        // All but one give up: there is room again, and theirs are not read.
        waiting.truncate(1);
        let last = begin(&readers, Lane::Pages, || ()).await;
        assert_eq!(last.1, Poll::Pending);
        drop(ends);
        for answer in busy.into_iter().chain(waiting).chain([last.0]) {
            assert_eq!(answer.await, Ok(()));
        }
        assert_eq!(ran.load(Ordering::Acquire), 1);
    }
}
