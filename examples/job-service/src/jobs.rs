//! Jobs and events, in memory.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::broadcast;

use crate::v1::{Event, Job, JobState};

/// Events that a slow follower may be behind.
const BEHIND: usize = 256;

/// All jobs of the tenant.
#[derive(Debug)]
pub struct Jobs {
    jobs: Mutex<Vec<Job>>,
    events: broadcast::Sender<Event>,
}

/// How many jobs are in which state.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Summary {
    waiting: usize,
    running: usize,
    done: usize,
    cancelled: usize,
}

impl Default for Jobs {
    fn default() -> Self {
        Self { jobs: Mutex::default(), events: broadcast::Sender::new(BEHIND) }
    }
}

impl Jobs {
    fn lock(&self) -> MutexGuard<'_, Vec<Job>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn submit(&self, task: String, submitter: String) -> Job {
        let mut jobs = self.lock();
        let job_id = jobs.len() as u64 + 1;
        let job = Job { job_id, task, state: JobState::Waiting.into(), submitter, worker: String::new() };
        jobs.push(job.clone());
        job
    }

    /// The oldest that waits, for `worker`.
    pub(crate) fn dequeue(&self, worker: String) -> Option<Job> {
        let mut jobs = self.lock();
        let job = jobs.iter_mut().find(|job| job.state() == JobState::Waiting)?;
        (job.worker, job.state) = (worker, JobState::Running.into());
        Some(job.clone())
    }

    pub(crate) fn get(&self, job_id: u64) -> Option<Job> {
        self.lock().iter().find(|job| job.job_id == job_id).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Job> {
        self.lock().clone()
    }

    /// From `from` to `to`; `None` if it is in another state.
    pub(crate) fn turn(&self, job_id: u64, from: &[JobState], to: JobState) -> Option<Job> {
        let mut jobs = self.lock();
        let job = jobs.iter_mut().find(|job| job.job_id == job_id && from.contains(&job.state()))?;
        job.state = to.into();
        Some(job.clone())
    }

    pub(crate) fn publish(&self, event: Event) {
        // That nobody follows is no error.
        let _ = self.events.send(event);
    }

    pub(crate) fn follow(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    pub(crate) fn summary(&self) -> Summary {
        let jobs = self.lock();
        let count = |state| jobs.iter().filter(|job| job.state() == state).count();
        Summary {
            waiting: count(JobState::Waiting),
            running: count(JobState::Running),
            done: count(JobState::Done),
            cancelled: count(JobState::Cancelled),
        }
    }
}
