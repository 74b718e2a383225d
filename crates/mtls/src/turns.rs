//! So many of one source at a time; more of the same source wait for their turn, and for nobody else's.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use signet_core::cidr::source_of;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// See the module's words.
#[derive(Debug)]
pub(crate) struct Turns {
    of_one_source: usize,
    sources: Mutex<HashMap<IpAddr, Arc<Semaphore>>>,
}

/// A turn, or the wait for one; over when dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Arc<Turns>,
    source: IpAddr,
    semaphore: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Turns {
    pub(crate) fn new(of_one_source: usize) -> Arc<Self> {
        Arc::new(Self { of_one_source: of_one_source.max(1), sources: Mutex::default() })
    }

    /// Waits until fewer than the source's share are under way; first come, first served. The caller limits the time.
    pub(crate) async fn wait(self: &Arc<Self>, address: IpAddr) -> Turn {
        let source = source_of(address);
        let fresh = || Arc::new(Semaphore::new(self.of_one_source));
        let semaphore = Arc::clone(self.sources().entry(source).or_insert_with(fresh));
        let mut turn = Turn { turns: Arc::clone(self), source, semaphore, permit: None };
        // Nobody closes it.
        turn.permit = Arc::clone(&turn.semaphore).acquire_owned().await.ok();
        turn
    }

    /// A poisoned lock means that another thread panicked between two map operations; the map is whole.
    fn sources(&self) -> MutexGuard<'_, HashMap<IpAddr, Arc<Semaphore>>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut sources = self.turns.sources();
        self.permit = None;
        // The map's and this one's: nobody else of the source is here.
        if Arc::strong_count(&self.semaphore) <= 2 {
            sources.remove(&self.source);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_source_waits_for_itself_only_and_is_forgotten_when_it_has_gone() {
        let turns = Turns::new(2);
        let (one, other) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let (first, second) = (turns.wait(one).await, turns.wait(one).await);
        assert!(turns.wait(one).now_or_never().is_none());
        let third = turns.wait(other).await;
        drop(first);
        let fourth = turns.wait(one).await;
        assert!(turns.wait(one).now_or_never().is_none());
        drop((second, third, fourth));
        assert!(turns.sources().is_empty());
    }
}
