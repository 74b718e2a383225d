//! One read for all who wait for the same: whoever asks gets the answer of a read that began after it had asked, so
//! that nothing is older than if each had read alone.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, PoisonError},
};

use tokio::sync::Mutex;

/// Reads of `V`, by what is read.
#[derive(Debug)]
pub(crate) struct SingleFlight<K: Clone + Eq + Hash, V>(std::sync::Mutex<HashMap<K, Slot<V>>>);

#[derive(Debug)]
struct Slot<V> {
    /// How many have asked so far.
    asked: u64,
    /// How many of them are still here.
    here: usize,
    /// The last answer, with how many had asked when its read began.
    last: Arc<Mutex<Option<(u64, V)>>>,
}

impl<K: Clone + Eq + Hash, V> Default for SingleFlight<K, V> {
    fn default() -> Self {
        Self(std::sync::Mutex::default())
    }
}

impl<K: Clone + Eq + Hash, V: Clone> SingleFlight<K, V> {
    /// What `read` answers, or what it just answered another one.
    pub(crate) async fn read<F: Future<Output = V>>(&self, key: &K, read: impl FnOnce() -> F) -> V {
        let seat = Seat::take(self, key);
        let mut last = seat.last.lock().await;
        match &*last {
            Some((asked, answer)) if *asked > seat.number => answer.clone(),
            _ => {
                let asked = self.with(|slots| slots.get(key).map_or(0, |slot| slot.asked));
                let answer = read().await;
                *last = Some((asked, answer.clone()));
                answer
            }
        }
    }
}

impl<K: Clone + Eq + Hash, V> SingleFlight<K, V> {
    /// A poisoned lock means that another thread panicked between two complete steps; the map is whole.
    fn with<T>(&self, then: impl FnOnce(&mut HashMap<K, Slot<V>>) -> T) -> T {
        then(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One who asks. The last to leave forgets the answer.
struct Seat<'a, K: Clone + Eq + Hash, V> {
    all: &'a SingleFlight<K, V>,
    key: &'a K,
    number: u64,
    last: Arc<Mutex<Option<(u64, V)>>>,
}

impl<'a, K: Clone + Eq + Hash, V> Seat<'a, K, V> {
    fn take(all: &'a SingleFlight<K, V>, key: &'a K) -> Self {
        all.with(|slots| {
            let slot = slots.entry(key.clone()).or_insert_with(|| Slot { asked: 0, here: 0, last: Arc::default() });
            let number = slot.asked;
            slot.asked = slot.asked.saturating_add(1);
            slot.here = slot.here.saturating_add(1);
            Self { all, key, number, last: Arc::clone(&slot.last) }
        })
    }
}

impl<K: Clone + Eq + Hash, V> Drop for Seat<'_, K, V> {
    fn drop(&mut self) {
        self.all.with(|slots| {
            let Some(slot) = slots.get_mut(self.key) else { return };
            slot.here = slot.here.saturating_sub(1);
            if slot.here == 0 {
                slots.remove(self.key);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures::future::join_all;
    use tokio::task::yield_now;

    use super::*;

    #[tokio::test]
    async fn who_waits_shares_the_next_read_and_never_one_that_had_begun() {
        let (together, reads) = (SingleFlight::<&str, u32>::default(), AtomicU32::new(0));
        let read = || async {
            let number = reads.fetch_add(1, Ordering::SeqCst);
            yield_now().await;
            number
        };
        let answers = join_all((0..10).map(|_| together.read(&"a", read))).await;
        // The others came while the first was reading.
        assert_eq!(answers, [0, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
        assert_eq!(together.read(&"a", read).await, 2);
        assert!(together.with(|slots| slots.is_empty()), "an answer is kept");
    }

    #[tokio::test]
    async fn who_gives_up_holds_up_nobody() {
        let together = SingleFlight::<&str, u32>::default();
        let stuck =
            tokio::time::timeout(std::time::Duration::from_millis(1), together.read(&"a", std::future::pending));
        let (stuck, answer) = tokio::join!(stuck, together.read(&"a", || async { 7 }));
        assert!(stuck.is_err());
        assert_eq!((answer, together.read(&"b", || async { 8 }).await), (7, 8));
        assert!(together.with(|slots| slots.is_empty()));
    }
}
