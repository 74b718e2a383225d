//! How many requests or connections a server behind gets at once; of one principal an eighth, so that what it holds
//! leaves room to the others.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::StatusCode;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::shares::{Share, Shares};
use crate::refusal::Refusal;

/// One principal gets this part.
const OF_ONE: usize = 8;

/// See the module's words.
pub(crate) struct Places {
    most: usize,
    permits: Arc<Semaphore>,
    shares: Arc<Shares>,
    waiting: AtomicUsize,
    max_waiting: usize,
    patience: Duration,
}

/// One of them, until it is dropped.
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
    _share: Share,
}

impl Places {
    /// `max_waiting` may wait for one to be given back, each for `patience`.
    pub(crate) fn new(most: usize, max_waiting: usize, patience: Duration) -> Self {
        let most = most.min(Semaphore::MAX_PERMITS);
        let (permits, shares) = (Arc::new(Semaphore::new(most)), Shares::new(most / OF_ONE));
        Self { most, permits, shares, waiting: AtomicUsize::new(0), max_waiting, patience }
    }

    /// One for a principal.
    pub(crate) async fn take(&self, whose: &Arc<str>) -> Result<Place, Refusal> {
        let own_full = || Refusal::too_many("you have as many under way as one may", 1);
        let share = self.shares.take(whose).ok_or_else(own_full)?;
        Ok(Place { _permit: self.permit().await?, _share: share })
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Ok(permit);
        }
        let title = "the server behind has as many as it may; try again";
        let full = || Refusal::upstream(StatusCode::SERVICE_UNAVAILABLE, "UPSTREAM_FULL", title);
        let waits = Waits::new(&self.waiting);
        if waits.before >= self.max_waiting {
            return Err(full());
        }
        let permit = timeout(self.patience, Arc::clone(&self.permits).acquire_owned()).await;
        permit.ok().and_then(Result::ok).ok_or_else(full)
    }

    /// How many are taken.
    pub(crate) fn taken(&self) -> usize {
        self.most.saturating_sub(self.permits.available_permits())
    }
}

struct Waits<'a> {
    count: &'a AtomicUsize,
    before: usize,
}

impl<'a> Waits<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        Self { count, before: count.fetch_add(1, Ordering::AcqRel) }
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::AcqRel);
    }
}
