//! Numbers of a feed shard that were not there when later ones were: asked for until they turn up or are given up.
//!
//! A shard's numbers follow each other, one entry each, so that a number is missing for one of two reasons. Its entry
//! has expired; then it was used more than [`LEAST_LIFE`](signet_core::trust::change::LEAST_LIFE) ago. Or a query did
//! not see it yet: DynamoDB isolates a query from single items only, and says nothing of how long one may see a part of
//! a transaction.

use std::{collections::BTreeMap, ops::RangeInclusive};

use signet_core::Uptime;

/// How long something that may be late is looked for, in milliseconds.
pub(super) const GIVE_UP_AFTER_MILLIS: u64 = 600_000;
/// At most so often the same is asked for, in milliseconds: a poll may follow the one before closely.
pub(super) const REST_MILLIS: u64 = 200;
/// How long a gap is asked for with each poll, in milliseconds; after that less and less often.
const EACH_POLL_MILLIS: u64 = 60_000;
/// Gaps with at most so many numbers between them are asked for together.
const NEIGHBOURS: u64 = 100;
/// Most numbers of neighbours that are asked for together: fewer than a page holds.
const MOST_TOGETHER: u64 = 500;
/// Most gaps that are remembered, some 50 bytes each.
const MOST_GAPS: usize = 1000;

/// See the module's words. No two overlap.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    /// By the first number.
    gaps: BTreeMap<u64, Gap>,
    given_up: u64,
}

#[derive(Clone, Copy, Debug)]
struct Gap {
    last: u64,
    since: Uptime,
    asked_at: Uptime,
    is_certain: bool,
}

impl Gaps {
    /// These numbers were not there when they were asked for at `at`. `is_certain`: they have not expired.
    pub(super) fn open(&mut self, numbers: &RangeInclusive<u64>, at: Uptime, is_certain: bool) {
        let gap = Gap { last: *numbers.end(), since: at, asked_at: at, is_certain };
        self.gaps.insert(*numbers.start(), gap);
        while self.gaps.len() > MOST_GAPS
            && let Some(oldest) = self.gaps.iter().min_by_key(|(_, gap)| gap.since).map(|(first, _)| *first)
        {
            self.give_up(oldest);
        }
    }

    /// What to ask for next at `now`: the gap that has waited longest, with its neighbours.
    pub(super) fn due(&self, now: Uptime) -> Option<RangeInclusive<u64>> {
        let due = self.gaps.iter().filter(|(_, gap)| gap.is_due(now));
        let (first, gap) = due.min_by_key(|(_, gap)| gap.asked_at)?;
        let near = |last: &mut u64, (next, gap): (&u64, &Gap)| {
            let is_near = next.saturating_sub(*last) <= NEIGHBOURS && gap.last.saturating_sub(*first) < MOST_TOGETHER;
            *last = if is_near { gap.last } else { return None };
            Some(*last)
        };
        let last = self.gaps.range(first.saturating_add(1)..).scan(gap.last, near).last();
        Some(*first..=last.unwrap_or(gap.last))
    }

    /// An entry with this number is there. Returns whether it was missing.
    pub(super) fn fill(&mut self, number: u64) -> bool {
        let Some((first, gap)) = self.gaps.range(..=number).next_back().map(|(first, gap)| (*first, *gap)) else {
            return false;
        };
        if gap.last < number {
            return false;
        }
        self.gaps.remove(&first);
        if first < number {
            self.gaps.insert(first, Gap { last: number.saturating_sub(1), ..gap });
        }
        if number < gap.last {
            self.gaps.insert(number.saturating_add(1), gap);
        }
        true
    }

    /// The lowest number that is missing.
    pub(super) fn first(&self) -> Option<u64> {
        self.gaps.keys().next().copied()
    }

    /// All that was there of `numbers` at `at` has been filled; what is old and still missing is given up.
    pub(super) fn asked(&mut self, numbers: &RangeInclusive<u64>, at: Uptime) {
        let asked: Vec<(u64, Gap)> = self.gaps.range(numbers.clone()).map(|(first, gap)| (*first, *gap)).collect();
        for (first, gap) in asked {
            let last = gap.last.min(*numbers.end());
            if last < gap.last {
                self.gaps.insert(last.saturating_add(1), gap);
            }
            self.gaps.insert(first, Gap { last, asked_at: at, ..gap });
            if age(gap.since, at) >= GIVE_UP_AFTER_MILLIS {
                self.give_up(first);
            }
        }
    }

    fn give_up(&mut self, first: u64) {
        if let Some(gap) = self.gaps.remove(&first).filter(|gap| gap.is_certain) {
            let numbers = gap.last.saturating_sub(first).saturating_add(1);
            self.given_up = self.given_up.saturating_add(numbers);
        }
    }

    /// How many numbers were given up since this was last asked; those aside that may have expired.
    pub(super) const fn take_given_up(&mut self) -> u64 {
        std::mem::replace(&mut self.given_up, 0)
    }
}

impl Gap {
    const fn is_due(&self, now: Uptime) -> bool {
        let age = age(self.since, now);
        let rest = if age < EACH_POLL_MILLIS { 0 } else { age / 8 };
        self::age(self.asked_at, now) >= if rest > REST_MILLIS { rest } else { REST_MILLIS }
    }
}

/// Milliseconds from `since` to `now`.
pub(super) const fn age(since: Uptime, now: Uptime) -> u64 {
    now.as_millis().saturating_sub(since.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Uptime {
        Uptime::from_millis(seconds * 1000)
    }

    fn gaps(ranges: &[RangeInclusive<u64>]) -> Gaps {
        let mut gaps = Gaps::default();
        ranges.iter().for_each(|numbers| gaps.open(numbers, at(0), true));
        gaps
    }

    /// All that is asked for at `now`, in turns; nothing is there.
    fn ask(gaps: &mut Gaps, now: Uptime) -> Vec<RangeInclusive<u64>> {
        let mut asked = Vec::new();
        while let Some(numbers) = gaps.due(now) {
            gaps.asked(&numbers, now);
            asked.push(numbers);
        }
        asked
    }

    #[test]
    fn neighbours_are_asked_for_together_and_what_is_far_apart_is_not() {
        let mut near = gaps(&[7..=9, 50..=50, 150..=160]);
        assert_eq!(ask(&mut near, at(1)), [7..=160]);
        let mut far = gaps(&[7..=9, 111..=111, 1_000_000..=2_000_000]);
        assert_eq!(ask(&mut far, at(1)), [7..=9, 111..=111, 1_000_000..=2_000_000]);
        let many: Vec<_> = (0..20).map(|n| n * 50..=n * 50).collect();
        let asked = ask(&mut gaps(&many), at(1));
        assert_eq!(asked, [0..=450, 500..=950]);
    }

    #[test]
    fn what_turns_up_is_missing_no_more() {
        let mut gaps = gaps(&[5..=8, 12..=12]);
        let filled: Vec<u64> = (1..20).filter(|number| gaps.fill(*number)).collect();
        assert_eq!(filled, [5, 6, 7, 8, 12]);
        assert_eq!(gaps.due(at(1)), None);
        assert!(!gaps.fill(6), "once");
    }

    #[test]
    fn a_gap_is_asked_for_each_poll_for_a_minute_then_less_often_and_then_given_up() {
        let mut gaps = gaps(&[5..=8]);
        let polls = |from: u64, to: u64| (from * 4..to * 4).map(|poll| Uptime::from_millis(poll * 250 + 250));
        assert!(polls(0, 59).all(|now| ask(&mut gaps, now) == [5..=8]), "with each poll");
        let later = polls(59, 599).filter(|now| !ask(&mut gaps, *now).is_empty()).count();
        assert!((10..40).contains(&later), "{later} times in nine minutes");
        assert_eq!(gaps.take_given_up(), 0);
        assert_eq!(polls(599, 700).filter(|now| !ask(&mut gaps, *now).is_empty()).count(), 1);
        assert_eq!((gaps.take_given_up(), gaps.take_given_up()), (4, 0));
        assert!(!gaps.fill(6));
    }

    #[test]
    fn what_was_not_asked_for_is_not_given_up() {
        let mut gaps = gaps(&[5..=8]);
        // The store was away for an hour, and then shows it.
        assert_eq!(gaps.due(at(3600)), Some(5..=8));
        assert!(gaps.fill(6));
        gaps.asked(&(5..=8), at(3600));
        assert_eq!(gaps.take_given_up(), 3);
    }

    #[test]
    fn a_page_that_ends_early_leaves_the_rest_due() {
        let mut gaps = gaps(&[5..=2000]);
        gaps.asked(&(5..=1004), at(1));
        assert_eq!(gaps.due(at(1)), Some(1005..=2000));
    }

    #[test]
    fn what_may_have_expired_is_not_counted_and_memory_has_a_bound() {
        let mut gaps = gaps(&[]);
        gaps.open(&(1..=9), at(0), false);
        gaps.asked(&(1..=9), at(3600));
        assert_eq!(gaps.take_given_up(), 0);
        for number in 0..MOST_GAPS as u64 + 3 {
            gaps.open(&(number * 200..=number * 200), at(number), true);
        }
        assert_eq!((gaps.gaps.len(), gaps.take_given_up()), (MOST_GAPS, 3));
        assert!(!gaps.fill(400) && gaps.fill(600), "the oldest go");
    }
}
