//! Queues for records that many callers of one process want to change at once: each name has its own, so that nobody
//! waits behind another's. Only a courtesy: what keeps the records right is the compare-and-swap in the store.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::OwnedMutexGuard;

type Queue = Arc<tokio::sync::Mutex<()>>;

#[derive(Debug, Default)]
pub(crate) struct NamedQueues(Mutex<HashMap<String, Queue>>);

/// A place in a queue; the last to leave takes the queue away.
#[derive(Debug)]
pub(crate) struct QueueTurn<'a> {
    turns: &'a NamedQueues,
    name: String,
    /// `Some` until it is dropped.
    queue: Option<Queue>,
    held: Option<OwnedMutexGuard<()>>,
}

impl NamedQueues {
    /// Waits for the turn of `name`, which lasts until it is dropped.
    pub(crate) async fn take(&self, name: String) -> QueueTurn<'_> {
        let queue = Arc::clone(self.queues().entry(name.clone()).or_default());
        let mut turn = QueueTurn { turns: self, name, queue: Some(Arc::clone(&queue)), held: None };
        turn.held = Some(queue.lock_owned().await);
        turn
    }

    /// A poisoned lock means that another thread panicked between two complete steps; the map is whole.
    fn queues(&self) -> MutexGuard<'_, HashMap<String, Queue>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for QueueTurn<'_> {
    fn drop(&mut self) {
        self.held = None;
        let mut queues = self.turns.queues();
        drop(self.queue.take());
        // The map's alone: queues are shared out, and this one was given back, under the map's lock.
        if queues.get(&self.name).is_some_and(|queue| Arc::strong_count(queue) == 1) {
            queues.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, future::join};

    use super::*;

    #[tokio::test]
    async fn each_name_has_a_queue_of_its_own_and_none_is_left() {
        let turns = NamedQueues::default();
        let first = turns.take("a".into()).await;
        assert!(turns.take("a".into()).now_or_never().is_none(), "taken, and given up");
        drop(turns.take("b".into()).now_or_never().unwrap());
        let (second, ()) = join(turns.take("a".into()), async { drop(first) }).await;
        assert_eq!(turns.queues().len(), 1);
        drop(second);
        assert!(turns.queues().is_empty());
    }
}
