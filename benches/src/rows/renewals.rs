//! The rules of renewal, simulated: how even the load is, and that nobody expires.

use std::{fs, path::Path};

use crate::{
    Result, Scale,
    measure::Spread,
    report::{Budget, Row},
    simulation::{HOUR_STEPS, LONG_OUTAGE, MONTH, Outcome, Scenario, run, svg},
};

/// How many workers.
const WORKERS: usize = 10_000;

pub(crate) fn rows(state: &Path, scale: Scale) -> Result<Vec<Row>> {
    let mut rows = scenario("30 days", "renewals.svg", &MONTH, ("quarter", 1), state, scale)?;
    let long = ("an outage of 10 hours", "renewals-long-outage.svg");
    rows.extend(scenario(long.0, long.1, &LONG_OUTAGE, ("hour", HOUR_STEPS), state, scale)?);
    Ok(rows)
}

fn scenario(
    name: &str,
    file: &str,
    scenario: &Scenario,
    (span, steps): (&str, usize),
    state: &Path,
    scale: Scale,
) -> Result<Vec<Row>> {
    let workers = scale.of(WORKERS);
    let outcome = run(scenario, workers, 1);
    let path = state.join(file);
    fs::write(&path, svg(scenario, workers, &outcome))?;
    let Outcome { failures, out_of_band, expired, questions, enrolled_again, .. } = &outcome;
    let note = format!(
        "{workers} workers, {} renewals ({out_of_band} out of band), {failures} failed, {questions} questions, {expired} expired \
         while asleep or in an outage, {enrolled_again} enrolled again; peak of a quarter of an hour {:.2}; {}",
        outcome.total(),
        outcome.peak(1),
        path.display(),
    );
    let name = |what: &str| format!("simulation, {name}: {what}");
    let open = f64::from(u32::try_from(outcome.expired_while_open).unwrap_or(u32::MAX));
    Ok(vec![
        Row::alone(name(&format!("renewals, peak {span} to mean")), "x", Spread::exactly(outcome.peak(steps)))
            .budget(Budget::AtMost(3.0))
            .note(note),
        Row::alone(name("expired with a way to renew"), "workers", Spread::exactly(open)).budget(Budget::AtMost(0.0)),
    ])
}
