//! Gives a server that cannot be reached some rest, so that its callers are told at once.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// See the module's words.
#[derive(Debug)]
pub(super) struct Breaker {
    failures: u32,
    rest: Duration,
    /// Whether anything is in `state`: a server that can be reached costs no lock.
    troubled: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failed: u32,
    until: Option<Instant>,
    /// One tries whether it is back.
    probing: bool,
}

impl Breaker {
    pub(super) fn new(failures: u32, rest: Duration) -> Self {
        Self { failures: failures.max(1), rest, troubled: AtomicBool::new(false), state: Mutex::default() }
    }

    /// Whether a request may try. After the rest, one does, and others wait for what it finds. Who was let through says
    /// afterwards how it went.
    pub(super) fn admits(&self, now: Instant) -> bool {
        if !self.troubled.load(Ordering::Acquire) {
            return true;
        }
        let mut state = self.state();
        match state.until {
            Some(until) if now < until || state.probing => false,
            Some(_) => {
                state.probing = true;
                true
            }
            None => true,
        }
    }

    pub(super) fn is_open(&self, now: Instant) -> bool {
        let state = self.state();
        state.until.is_some_and(|until| now < until || state.probing)
    }

    /// It was reached, whatever it said.
    pub(super) fn reached(&self) {
        if self.troubled.load(Ordering::Acquire) {
            *self.state() = State::default();
            self.troubled.store(false, Ordering::Release);
        }
    }

    /// It was not.
    pub(super) fn not_reached(&self, now: Instant) {
        let mut state = self.state();
        self.troubled.store(true, Ordering::Release);
        state.failed = state.failed.saturating_add(1);
        state.probing = false;
        if state.failed >= self.failures {
            state.until = now.checked_add(self.rest);
        }
    }

    /// A request ended before it knew.
    pub(super) fn gave_up(&self) {
        if self.troubled.load(Ordering::Acquire) {
            self.state().probing = false;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_some_failures_it_rests_and_then_one_tries() {
        let (breaker, now) = (Breaker::new(2, Duration::from_secs(5)), Instant::now());
        let later = now + Duration::from_secs(5);
        breaker.not_reached(now);
        assert!(breaker.admits(now) && !breaker.is_open(now));
        breaker.not_reached(now);
        assert!(!breaker.admits(now) && breaker.is_open(now));
        assert!(breaker.admits(later) && !breaker.admits(later), "one tries");
        breaker.gave_up();
        assert!(breaker.admits(later), "another one tries");
        breaker.not_reached(later);
        assert!(!breaker.admits(later));
        assert!(breaker.admits(later + Duration::from_secs(5)));
        breaker.reached();
        assert!(breaker.admits(now) && breaker.admits(now) && !breaker.is_open(now));
    }
}
