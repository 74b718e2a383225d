//! The rules of renewal, simulated: how even the load is, and that nobody expires.

use std::{fs, path::Path, thread};

use crate::{
    Result, Scale,
    measure::Spread,
    report::{Budget, Row},
    simulation::{HOUR_STEPS, LONG_OUTAGE, MONTH, Outcome, Scenario, run, svg},
};

/// How many workers.
const WORKERS: usize = 10_000;
/// How many runs, each with its own luck.
const SEEDS: usize = 20;

pub(crate) fn rows(state: &Path, scale: Scale) -> Result<Vec<Row>> {
    let mut rows = scenario("30 days", &state.join("renewals.svg"), &MONTH, scale)?;
    let path = state.join("renewals-long-outage.svg");
    rows.extend(scenario("an outage of 10 hours", &path, &LONG_OUTAGE, scale)?);
    Ok(rows)
}

fn scenario(name: &str, plot: &Path, scenario: &Scenario, scale: Scale) -> Result<Vec<Row>> {
    let (workers, seeds) = (scale.of(WORKERS), scale.of(SEEDS));
    let outcomes = outcomes(scenario, workers, seeds)?;
    if let Some(first) = outcomes.first() {
        fs::write(plot, svg(scenario, workers, first))?;
    }
    let peaks = |steps: usize| Spread::of(outcomes.iter().map(|outcome| outcome.peak(steps)).collect());
    let sum = |of: fn(&Outcome) -> u64| outcomes.iter().map(of).sum::<u64>();
    let note = format!(
        "{workers} workers, {seeds} seeds, {} renewals ({} out of band), {} failed, {} questions, {} expired while asleep or in an \
         outage, {} enrolled again; median peak {:.2}, of an hour at most {:.2}; {}",
        sum(Outcome::total),
        sum(|outcome| outcome.out_of_band),
        sum(|outcome| outcome.failures),
        sum(|outcome| outcome.questions),
        sum(|outcome| outcome.expired - outcome.expired_while_open),
        sum(|outcome| outcome.enrolled_again),
        peaks(1).median,
        peaks(HOUR_STEPS).max,
        plot.display(),
    );
    let by_seed = outcomes.iter().map(|outcome| format!("{:.2}", outcome.peak(1))).collect::<Vec<_>>().join(" ");
    let open = f64::from(u32::try_from(sum(|outcome| outcome.expired_while_open)).unwrap_or(u32::MAX));
    let name = |what: &str| format!("simulation, {name}: {what}");
    Ok(vec![
        Row::alone(name("renewals, highest peak of a quarter hour to mean"), "x", Spread::exactly(peaks(1).max))
            .budget(Budget::AtMost(3.0))
            .note(note),
        Row::alone(name("expired with a way to renew"), "workers", Spread::exactly(open))
            .budget(Budget::AtMost(0.0))
            .note(format!("peaks by seed: {by_seed}")),
    ])
}

/// One outcome for each seed from 1, two runs at a time.
fn outcomes(scenario: &Scenario, workers: usize, seeds: usize) -> Result<Vec<Outcome>> {
    let seeds: Vec<u64> = (1..).take(seeds).collect();
    let some = |seeds: &[u64]| seeds.iter().map(|seed| run(scenario, workers, *seed)).collect::<Vec<_>>();
    let (these, those) = seeds.split_at(seeds.len() / 2);
    thread::scope(|scope| {
        let those = scope.spawn(|| some(those));
        let mut outcomes = some(these);
        outcomes.extend(those.join().map_err(|_| "a simulation panicked")?);
        Ok(outcomes)
    })
}
