//! The refused calls of one principal, after it has proved its key.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use signet_core::{
    Uptime,
    tenants::{FailureLimit, Failures},
};

/// See the module's words.
#[derive(Debug, Default)]
pub(crate) struct FailureCount {
    failures: Mutex<Failures>,
    /// Whether it waits to be suspended, so that a flood waits once.
    is_waiting: AtomicBool,
}

impl FailureCount {
    /// Counts one; whether the limit is reached.
    pub(crate) fn add(&self, now: Uptime, limit: FailureLimit) -> bool {
        !self.is_waiting.load(Ordering::Acquire) && self.failures().count(now, limit)
    }

    /// Sets whether it waits to be suspended: until then nothing counts.
    pub(crate) fn set_waiting(&self, is_waiting: bool) {
        self.is_waiting.store(is_waiting, Ordering::Release);
    }

    /// Whether it must be kept, though its principal has no connection.
    pub(super) fn matters(&self, now: Uptime) -> bool {
        self.failures().matter(now)
    }

    /// A poisoned lock means that another thread panicked between two operations on the list; it is whole.
    fn failures(&self) -> MutexGuard<'_, Failures> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
