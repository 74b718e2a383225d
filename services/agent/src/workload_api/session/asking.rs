//! How often a process has the control plane asked for tokens. Those that are kept cost nobody anything.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Tokens that a process gets at once after a quiet time, and how long it takes until one more is asked for: the
/// agent's identity has a share at the control plane, which one process must not use up.
const AT_ONCE: u32 = 20;
const ONE_MORE_EACH: Duration = Duration::from_secs(1);
/// Most processes that are remembered.
const MOST: usize = 4096;

/// See the module's words.
#[derive(Debug, Default)]
pub(crate) struct Asking {
    /// By process: when all that it asked for is forgotten, if it asks no more.
    until: Mutex<HashMap<(i32, u64), Instant>>,
}

impl Asking {
    /// Counts one; false: there were too many.
    pub(crate) fn take(&self, process: (i32, u64), now: Instant) -> bool {
        let mut all = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST {
            all.retain(|_, until| *until > now);
        }
        let next = all.get(&process).map_or(now, |until| *until).max(now) + ONE_MORE_EACH;
        let may = next.saturating_duration_since(now) <= ONE_MORE_EACH * AT_ONCE
            && (all.len() < MOST || all.contains_key(&process));
        if may {
            all.insert(process, next);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::{AT_ONCE, Asking, Duration, Instant, MOST};

    #[test]
    fn a_process_that_asks_ever_other_things_keeps_no_other_from_asking() {
        let (asking, now) = (Asking::default(), Instant::now());
        let asked = (0..1000).filter(|_| asking.take((1, 1), now)).count();
        assert_eq!(asked, usize::try_from(AT_ONCE).unwrap());
        assert!(asking.take((2, 1), now) && asking.take((1, 2), now), "another process, also of the same number");
        let later = now + Duration::from_secs(1);
        assert!(asking.take((1, 1), later) && !asking.take((1, 1), later));
    }

    #[test]
    fn few_are_remembered() {
        let (asking, now) = (Asking::default(), Instant::now());
        let asked = (0..10_000).filter(|pid| asking.take((*pid, 1), now)).count();
        assert_eq!(asked, MOST);
        assert_eq!(asking.until.lock().unwrap().len(), MOST);
        assert!(asking.take((10_000, 1), now + Duration::from_secs(1)), "those before are forgotten");
    }
}
