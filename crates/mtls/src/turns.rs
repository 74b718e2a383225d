//! So many handshakes of one source at a time. More of the same source wait for their turn, and for nobody else's; the
//! first of them gets the turn of whoever has kept the server waiting.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use signet_core::cidr::source_of;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until},
};

use crate::{budget::Place, switch::Switch};

/// Whoever lets the server wait for longer loses the turn when another wants it. A source may open 50 connections a
/// second by default and has 32 turns, so that nobody can fill them faster than they become free.
const PATIENCE: Duration = Duration::from_millis(500);

/// See the module's words.
#[derive(Debug)]
pub(crate) struct Turns {
    of_one_source: usize,
    patience: Duration,
    sources: Mutex<HashMap<IpAddr, Known>>,
}

#[derive(Debug)]
struct Known {
    /// Turns and waits for one; the source is forgotten with the last.
    users: usize,
    source: Arc<Source>,
}

#[derive(Debug)]
struct Source {
    free: Arc<Semaphore>,
    /// One at a time asks for a turn, so that each costs one other at most.
    line: tokio::sync::Mutex<()>,
    /// Those whose peers must speak next, since when; the longest silent first. It is not renewed by what they send,
    /// or a byte now and then would keep a turn.
    silent: Mutex<VecDeque<(Instant, Arc<Switch>)>>,
}

/// A turn, or the wait for one; over when dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Arc<Turns>,
    address: IpAddr,
    source: Arc<Source>,
    permit: Option<OwnedSemaphorePermit>,
    silent: Option<Arc<Switch>>,
}

impl Turns {
    pub(crate) fn new(of_one_source: usize) -> Arc<Self> {
        Self::with_patience(of_one_source, PATIENCE)
    }

    fn with_patience(of_one_source: usize, patience: Duration) -> Arc<Self> {
        Arc::new(Self { of_one_source: of_one_source.max(1), patience, sources: Mutex::default() })
    }

    /// Waits until fewer than the source's share are under way; first come, first served. The caller limits the time.
    pub(crate) async fn wait(self: &Arc<Self>, address: IpAddr) -> Turn {
        let mut turn = self.join(source_of(address));
        turn.permit = turn.source.next(self.patience).await;
        turn
    }

    fn join(self: &Arc<Self>, address: IpAddr) -> Turn {
        let mut sources = self.sources();
        let known = sources.entry(address).or_insert_with(|| {
            let free = Arc::new(Semaphore::new(self.of_one_source));
            let (line, silent) = Default::default();
            Known { users: 0, source: Arc::new(Source { free, line, silent }) }
        });
        known.users = known.users.saturating_add(1);
        let source = Arc::clone(&known.source);
        Turn { turns: Arc::clone(self), address, source, permit: None, silent: None }
    }

    /// A poisoned lock means that another thread panicked between two map operations; the map is whole.
    fn sources(&self) -> MutexGuard<'_, HashMap<IpAddr, Known>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source {
    /// `None` never comes: nobody closes the semaphore.
    async fn next(&self, patience: Duration) -> Option<OwnedSemaphorePermit> {
        let _first = self.line.lock().await;
        let mut permit = pin!(Arc::clone(&self.free).acquire_owned());
        tokio::select! {
            biased;
            permit = &mut permit => return permit.ok(),
            () = self.dismiss_one(patience) => {}
        }
        permit.await.ok()
    }

    /// Waits until one has been silent for too long, and cuts it.
    async fn dismiss_one(&self, patience: Duration) {
        loop {
            let now = Instant::now();
            let longest = self.silent().front().map_or(now, |(since, _)| *since);
            if longest + patience > now {
                sleep_until(longest + patience).await;
            } else if let Some((_, switch)) = self.silent().pop_front() {
                return switch.cut();
            }
        }
    }

    /// A poisoned lock means that another thread panicked between two operations; the list is whole.
    fn silent(&self) -> MutexGuard<'_, VecDeque<(Instant, Arc<Switch>)>> {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// From now on the peer must speak; if it lets others of its source wait for too long, its place is evicted.
    pub(crate) fn waits_for_peer(&mut self, place: &Place) {
        let switch = Arc::clone(place.switch());
        self.source.silent().push_back((Instant::now(), Arc::clone(&switch)));
        self.silent = Some(switch);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(switch) = &self.silent {
            self.source.silent().retain(|(_, silent)| !Arc::ptr_eq(silent, switch));
        }
        self.permit = None;
        let mut sources = self.turns.sources();
        if let Some(known) = sources.get_mut(&self.address) {
            known.users = known.users.saturating_sub(1);
            if known.users == 0 {
                sources.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::budget::Budget;

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

    #[tokio::test]
    async fn who_keeps_the_server_waiting_gives_the_turn_to_the_next_and_nobody_else_does() {
        let (turns, budget) = (Turns::with_patience(3, Duration::from_millis(1)), Budget::new(9, 9));
        let one = [192, 0, 2, 1].into();
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push((turns.wait(one).await, budget.take(Some(one))));
        }
        // The first is still ours to work on, whatever that takes.
        for (turn, place) in &mut held[1..] {
            turn.waits_for_peer(place);
        }
        let leave = async {
            held[1].1.evicted().await;
            drop(held.remove(1));
            held
        };
        let (turn, held) = tokio::join!(turns.wait(one), leave);
        let evicted = held.iter().filter(|(_, place)| place.evicted().now_or_never().is_some());
        assert_eq!(evicted.count(), 0, "one newcomer costs one turn, that of the longest silent");
        drop((turn, held));
        assert!(turns.sources().is_empty());
    }

    #[tokio::test]
    async fn a_peer_has_some_time_to_answer() {
        let (turns, budget) = (Turns::with_patience(1, Duration::from_secs(3600)), Budget::new(9, 9));
        let one = [192, 0, 2, 1].into();
        let (mut turn, place) = (turns.wait(one).await, budget.take(Some(one)));
        turn.waits_for_peer(&place);
        assert!(turns.wait(one).now_or_never().is_none() && place.evicted().now_or_never().is_none());
    }

    #[test]
    fn two_that_leave_at_once_leave_nothing_behind() {
        let turns = Turns::new(2);
        let meet = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..2000 {
                        let turn = futures::executor::block_on(turns.wait([192, 0, 2, 1].into()));
                        meet.wait();
                        drop(turn);
                        meet.wait();
                        assert!(turns.sources().is_empty());
                        meet.wait();
                    }
                });
            }
        });
    }
}
