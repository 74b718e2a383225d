//! Answers that the other end has not taken yet: with a window of nothing it could have them kept for as long as the
//! connection lasts.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// The answers of one connection that wait, oldest first.
#[derive(Default)]
pub struct Unread(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    next: u64,
    since: Vec<(u64, Instant)>,
}

/// An answer that waits until this is dropped.
#[derive(Debug)]
pub struct UnreadAnswer {
    of: Arc<Unread>,
    number: u64,
}

impl Unread {
    /// An answer was made; drop what this returns when its bytes are gone.
    pub fn begin(self: &Arc<Self>) -> UnreadAnswer {
        let mut waiting = self.waiting();
        let number = waiting.next;
        waiting.next = number.wrapping_add(1);
        waiting.since.push((number, Instant::now()));
        UnreadAnswer { of: Arc::clone(self), number }
    }

    /// Whether an answer has waited for longer than `limit` at `instant`.
    pub(crate) fn is_overdue(&self, limit: Duration, instant: Instant) -> bool {
        self.waiting().since.first().is_some_and(|(_, since)| instant.saturating_duration_since(*since) > limit)
    }

    /// A poisoned lock means that another thread panicked between two operations; the list is whole.
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for UnreadAnswer {
    fn drop(&mut self) {
        // As many as the connection has streams, and in order.
        self.of.waiting().since.retain(|(number, _)| *number != self.number);
    }
}

impl fmt::Debug for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unread").field("answers", &self.waiting().since.len()).finish()
    }
}
