//! A fleet of workers over weeks of virtual time. Each does exactly what `signet_core::certificates::renewal` says, as
//! the agent and the SDK do; only clocks, networks and the control plane are made up.

mod plot;
mod scenario;
mod worker;

use std::{cmp::Reverse, collections::BinaryHeap};

use signet_core::Time;

pub(crate) use plot::svg;
pub(crate) use scenario::{LONG_OUTAGE, MONTH, Scenario};
use worker::Worker;

pub(crate) const MINUTE: i64 = 60_000;
pub(crate) const HOUR: i64 = 60 * MINUTE;
pub(crate) const DAY: i64 = 24 * HOUR;
/// Renewals are counted in steps of this length: a ninety-sixth of a lifetime.
pub(crate) const STEP: i64 = 15 * MINUTE;
/// Steps of an hour.
pub(crate) const HOUR_STEPS: usize = 4;

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Renewals that the control plane carried out, by step, lost answers included.
    pub(crate) renewals: Vec<u32>,
    /// Renewals that failed.
    pub(crate) failures: u64,
    /// Questions for the window.
    pub(crate) questions: u64,
    /// Of the renewals, those out of band.
    pub(crate) out_of_band: u64,
    /// Certificates that expired before there was a next one.
    pub(crate) expired: u64,
    /// Of these, with the worker awake and the control plane there for half a minute before: never by the rules.
    pub(crate) expired_while_open: u64,
    /// Workers that had to enroll again.
    pub(crate) enrolled_again: u64,
}

impl Outcome {
    /// Renewals in a step, on average after the first day.
    pub(crate) fn mean(&self) -> f64 {
        let settled = self.settled();
        settled.iter().map(|count| f64::from(*count)).sum::<f64>() / settled.len().max(1) as f64
    }

    /// The most renewals in a span of `steps` after the first day, through the average.
    pub(crate) fn peak(&self, steps: usize) -> f64 {
        let spans = self.settled().windows(steps).map(|span| span.iter().map(|count| f64::from(*count)).sum::<f64>());
        spans.fold(0.0, f64::max) / (self.mean() * steps as f64)
    }

    /// All renewals.
    pub(crate) fn total(&self) -> u64 {
        self.renewals.iter().map(|count| u64::from(*count)).sum()
    }

    fn settled(&self) -> &[u32] {
        self.renewals.get((DAY / STEP) as usize..).unwrap_or_default()
    }
}

/// Random numbers from a seed (SplitMix64, Steele, Lea and Flood 2014): the same run each time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform from 0, the end not included.
    pub(crate) fn below(&mut self, end: i64) -> i64 {
        i64::try_from((u128::from(self.next()) * u128::from(end.max(1).unsigned_abs())) >> 64).unwrap_or(0)
    }

    /// True once in `n` times.
    pub(crate) fn once_in(&mut self, n: i64) -> bool {
        self.below(n) == 0
    }
}

/// Runs `scenario` with `workers` workers.
pub(crate) fn run(scenario: &Scenario, workers: usize, seed: u64) -> Outcome {
    let steps = usize::try_from(scenario.length / STEP).unwrap_or(0);
    let mut outcome = Outcome { renewals: vec![0; steps], ..Outcome::default() };
    let mut fleet: Vec<Worker> = (0..workers).map(|number| Worker::new(scenario, number, seed)).collect();
    let mut due: BinaryHeap<Reverse<(i64, usize)>> =
        fleet.iter().enumerate().map(|(number, worker)| Reverse((worker.enrolled_at(), number))).collect();
    while let Some(Reverse((now, number))) = due.pop() {
        if now >= scenario.length {
            break;
        }
        if let Some(worker) = fleet.get_mut(number) {
            let next = worker.act(scenario, now, &mut outcome);
            due.push(Reverse((next.max(now + 1), number)));
        }
    }
    outcome
}

pub(crate) fn at(millis: i64) -> Time {
    Time::from_unix_millis(millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The month of the report, with fewer workers.
    #[test]
    fn nobody_expires_while_there_is_a_way_to_renew_and_the_load_stays_even() {
        let outcome = run(&MONTH, 1_200, 1);
        assert_eq!((outcome.expired_while_open, outcome.enrolled_again), (0, 0), "{outcome:?}");
        assert!(outcome.peak(1) <= 3.0, "the peak is {:.2} times the mean", outcome.peak(1));
        assert!(outcome.failures > 1_000 && outcome.out_of_band > 100, "the outages did not happen: {outcome:?}");
    }

    /// An outage that is longer than the window: some expire, all come back by the grace.
    #[test]
    fn after_an_outage_longer_than_the_window_all_come_back() {
        let outcome = run(&LONG_OUTAGE, 2_500, 1);
        assert!(outcome.expired > 0, "{outcome:?}");
        assert_eq!((outcome.expired_while_open, outcome.enrolled_again), (0, 0), "{outcome:?}");
        assert!(outcome.peak(1) <= 3.0, "the peak is {:.2} times the mean", outcome.peak(1));
    }

    #[test]
    fn a_seed_gives_the_same_run_again() {
        assert_eq!(run(&LONG_OUTAGE, 50, 2), run(&LONG_OUTAGE, 50, 2));
    }
}
