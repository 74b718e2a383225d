//! Connections that read, on blocking threads. A thread goes on for as long as reads wait: to wake one for each would
//! cost more than the read.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use rusqlite::Connection;
use signet_core::StoreError;
use tokio::{sync::oneshot, task::spawn_blocking};

use crate::{error::store_error, file};

/// How many reads run at once.
const CONNECTIONS: usize = 4;
/// How often a worker without work lets others run before it leaves.
const YIELDS: u32 = 4;

/// A read that answers by itself, also that there is no connection.
type Job = Box<dyn FnOnce(Result<&Connection, StoreError>) + Send>;

#[derive(Debug)]
pub(crate) struct Readers(Arc<Pool>);

struct Pool {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    idle: Vec<Connection>,
    /// Threads at work, or about to be.
    workers: usize,
}

impl Readers {
    pub(crate) fn new(path: &Path) -> Self {
        Self(Arc::new(Pool { path: path.to_owned(), state: Mutex::default() }))
    }

    /// Runs `read` away from the async threads. It sees every transaction that had answered before.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            // Whoever asked may have stopped waiting.
            let _ = reply.send(connection.and_then(read));
        });
        let needs_worker = {
            let mut state = self.0.state();
            state.waiting.push_back(job);
            state.workers < CONNECTIONS && {
                state.workers = state.workers.saturating_add(1);
                true
            }
        };
        if needs_worker {
            let worker = Worker { pool: Arc::clone(&self.0), counted: true };
            spawn_blocking(move || worker.run());
        }
        answer.await.unwrap_or_else(|_| Err(StoreError::Unavailable("the store is closing".into())))
    }
}

impl Pool {
    /// A poisoned lock means that another thread panicked between two complete steps; the state is whole.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connection(&self) -> Result<Connection, StoreError> {
        let idle = self.state().idle.pop();
        idle.map_or_else(|| file::open_reader(&self.path).map_err(|error| store_error(&self.path, &error)), Ok)
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
            // A panic is its asker's: the others are still to be answered.
            let _ = catch_unwind(AssertUnwindSafe(|| job(connection.as_ref().map_err(Clone::clone))));
            held = connection.ok();
        }
    }

    /// The next read, if there is one or others that run now are about to ask: to be woken costs more than to wait for that.
    fn soon(&self) -> Option<Job> {
        for _ in 0..YIELDS {
            if let Some(job) = self.pool.state().waiting.pop_front() {
                return Some(job);
            }
            thread::yield_now();
        }
        None
    }

    /// The next read. If there is none the worker leaves, under the lock that told so: who asks next starts another.
    fn next(&mut self, held: &mut Option<Connection>) -> Option<Job> {
        let mut state = self.pool.state();
        let job = state.waiting.pop_front();
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
        f.debug_struct("Pool").field("path", &self.path).finish_non_exhaustive()
    }
}
