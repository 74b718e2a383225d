//! How often the calls of one principal may be refused before it is suspended by itself.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::{Lifetime, Uptime};

/// A tenant's limit. Only what a principal does after it has proved its key counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FailureLimit {
    /// This many refused calls suspend it, at most [`Self::MOST`]; 0: none does.
    pub failures: u32,
    /// Within this time, [`Self::SHORTEST`] to [`Self::LONGEST`].
    pub window: Lifetime,
}

impl FailureLimit {
    /// Most failures of a limit: so many instants are kept of one principal.
    pub const MOST: u32 = 100;
    /// Shortest window.
    pub const SHORTEST: Lifetime = Lifetime::seconds(1);
    /// Longest window.
    pub const LONGEST: Lifetime = Lifetime::hours(1);

    /// No number of failures suspends anybody.
    pub const OFF: Self = Self { failures: 0, window: Lifetime::minutes(5) };
}

impl Default for FailureLimit {
    /// 10 in 5 minutes.
    fn default() -> Self {
        Self { failures: 10, window: Lifetime::minutes(5) }
    }
}

/// The last failures of one principal, on one node.
#[derive(Debug, Default)]
pub struct Failures {
    /// Uptimes in milliseconds, oldest first; never more than [`FailureLimit::MOST`].
    at: VecDeque<u64>,
}

impl Failures {
    /// Counts one. Whether the limit is reached; then counting starts anew.
    pub fn count(&mut self, now: Uptime, limit: FailureLimit) -> bool {
        let most = limit.failures.min(FailureLimit::MOST) as usize;
        if most == 0 {
            self.at = VecDeque::new();
            return false;
        }
        let now = now.as_millis();
        self.at.push_back(now);
        while self.at.len() > most {
            self.at.pop_front();
        }
        let window = limit.window.millis().unsigned_abs();
        let is_reached =
            self.at.len() == most && self.at.front().is_some_and(|first| now.saturating_sub(*first) <= window);
        if is_reached {
            self.at.clear();
        }
        is_reached
    }

    /// Whether one of them may still matter at `now`, under whatever limit.
    pub fn matter(&self, now: Uptime) -> bool {
        let longest = FailureLimit::LONGEST.millis().unsigned_abs();
        self.at.back().is_some_and(|last| now.as_millis().saturating_sub(*last) <= longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: FailureLimit = FailureLimit { failures: 3, window: Lifetime::minutes(5) };

    fn count(failures: &mut Failures, seconds: u64, limit: FailureLimit) -> bool {
        failures.count(Uptime::from_millis(seconds * 1000), limit)
    }

    #[test]
    fn as_many_as_the_limit_within_the_window_reach_it_and_counting_starts_anew() {
        let mut failures = Failures::default();
        let reached = [0, 1, 300, 301, 302, 303].map(|second| count(&mut failures, second, LIMIT));
        assert_eq!(reached, [false, false, true, false, false, true]);
    }

    #[test]
    fn the_window_slides() {
        let mut failures = Failures::default();
        let reached = [0, 200, 301, 499, 502].map(|second| count(&mut failures, second, LIMIT));
        assert_eq!(reached, [false, false, false, true, false], "200, 301 and 499 are within 300 s");
        let mut slow = Failures::default();
        assert!((0..1000).all(|turn| !count(&mut slow, turn * 151, LIMIT)));
    }

    #[test]
    fn no_limit_counts_nothing_and_memory_is_bounded() {
        let mut failures = Failures::default();
        assert!((0..1000).all(|second| !count(&mut failures, second, FailureLimit::OFF)));
        assert!(!failures.matter(Uptime::from_millis(1_000_000)));
        let wide = FailureLimit { failures: u32::MAX, window: Lifetime::seconds(1) };
        (0..1000).for_each(|second| assert!(!count(&mut failures, second, wide)));
        assert_eq!(failures.at.len(), FailureLimit::MOST as usize);
        // A limit that was lowered holds for what is counted from then on.
        assert!(!count(&mut failures, 2000, LIMIT) && failures.at.len() == 3);
    }
}
