//! Rounds, medians and spreads. Floor and ours take turns, so that a machine that slows down slows both.

use std::time::Duration;

use serde::Serialize;

use crate::Result;

/// Median, smallest and largest of some rounds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Of at least one value; not-a-number if there is none.
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        let last = values.len().saturating_sub(1);
        Self { median: (at(last / 2) + at(last.div_ceil(2))) / 2.0, min: at(0), max: at(last) }
    }

    /// One value without a spread.
    pub(crate) fn exactly(value: f64) -> Self {
        Self { median: value, min: value, max: value }
    }
}

/// What rounds of floor, ours, floor, ours … gave. Ratio and difference are taken within each round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair {
    pub(crate) ours: Spread,
    pub(crate) floor: Spread,
    pub(crate) ratio: Spread,
    pub(crate) difference: Spread,
}

impl Pair {
    pub(crate) fn of(rounds: &[(f64, f64)]) -> Self {
        let spread = |of: &dyn Fn(&(f64, f64)) -> f64| Spread::of(rounds.iter().map(of).collect());
        Self {
            floor: spread(&|(floor, _)| *floor),
            ours: spread(&|(_, ours)| *ours),
            ratio: spread(&|(floor, ours)| ours / floor),
            difference: spread(&|(floor, ours)| ours - floor),
        }
    }
}

/// Runs floor and ours in turn, first once without counting.
pub(crate) fn in_turn(
    rounds: usize,
    mut floor: impl FnMut() -> Result<f64>,
    mut ours: impl FnMut() -> Result<f64>,
) -> Result<Pair> {
    let mut measured = Vec::new();
    for round in 0..=rounds {
        let pair = (floor()?, ours()?);
        if round > 0 {
            measured.push(pair);
        }
    }
    Ok(Pair::of(&measured))
}

/// Runs it some times, first once without counting.
pub(crate) fn repeated(rounds: usize, mut run: impl FnMut() -> Result<f64>) -> Result<Spread> {
    run()?;
    Ok(Spread::of((0..rounds).map(|_| run()).collect::<Result<_>>()?))
}

/// The value below which `share` (0 to 1) of the values lie.
pub(crate) fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a length")]
    let index = (share * sorted.len().saturating_sub(1) as f64).round() as usize;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

/// Microseconds of `time` for each of `count`.
pub(crate) fn micros_each(time: Duration, count: usize) -> f64 {
    time.as_secs_f64() * 1e6 / count as f64
}
