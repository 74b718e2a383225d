//! The renewals over time as an SVG picture, without a library.

use std::fmt::Write as _;

use super::{
    DAY, Outcome, STEP,
    scenario::{Scenario, What},
};

const WIDTH: f64 = 1200.0;
const HEIGHT: f64 = 320.0;
const MARGIN: f64 = 48.0;

/// Renewals by step, with the mean, three times the mean, and what happened.
pub(crate) fn svg(scenario: &Scenario, workers: usize, outcome: &Outcome) -> String {
    let mean = outcome.mean();
    let most = outcome.renewals.iter().map(|count| f64::from(*count)).fold(3.3 * mean, f64::max);
    let x = |millis: i64| MARGIN + (WIDTH - 2.0 * MARGIN) * millis as f64 / scenario.length as f64;
    let y = |count: f64| HEIGHT - MARGIN - (HEIGHT - 2.0 * MARGIN) * count / most;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"{MARGIN}\" y=\"18\">Renewals of \
         {workers} workers in {} minutes; peak {:.2} times the mean; {} expired while there was a way to renew</text>\n",
        STEP / 60_000,
        outcome.peak(1),
        outcome.expired_while_open,
    );
    let (top, bottom) = (y(most), y(0.0));
    let mut band = |start: i64, end: i64, colour: &str, title: &str| {
        let (left, width) = (x(start), (x(end) - x(start)).max(1.0));
        let _ = writeln!(
            text,
            "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{:.1}\" fill=\"{colour}\">\
             <title>{title}</title></rect>",
            bottom - top,
        );
    };
    for outage in scenario.outages {
        let (colour, title) = match outage.of {
            What::ControlPlane => ("#fde2c8", "no control plane"),
            What::Everything => ("#f8c4c4", "no region"),
            What::Keys => ("#e3d7f5", "no signing keys"),
        };
        band(outage.start, outage.end, colour, title);
    }
    if let Some((from, start, end)) = scenario.steered {
        band(from + start * 3_600_000, from + end * 3_600_000, "#d5ecd5", "renewals steered here");
    }
    for (count, label) in [(mean, "mean"), (3.0 * mean, "3 x mean")] {
        let (left, right, height) = (MARGIN, WIDTH - MARGIN, y(count));
        let _ = writeln!(
            text,
            "<path d=\"M{left} {height:.1}H{right}\" stroke=\"#888\" stroke-dasharray=\"4 3\"/><text x=\"{}\" \
             y=\"{height:.1}\">{label}</text>",
            right + 2.0,
        );
    }
    let points = outcome
        .renewals
        .iter()
        .zip(0_i64..)
        .map(|(count, step)| format!("{:.1},{:.1}", x(step * STEP), y(f64::from(*count))));
    let points = points.collect::<Vec<_>>().join(" ");
    let _ = writeln!(text, "<polyline fill=\"none\" stroke=\"#1f5fa8\" stroke-width=\"0.8\" points=\"{points}\"/>");
    for day in 0..=scenario.length / DAY {
        let _ = writeln!(
            text,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{day}</text>",
            x(day * DAY),
            bottom + 14.0
        );
    }
    let _ = writeln!(
        text,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">days</text>\n</svg>",
        WIDTH / 2.0,
        bottom + 32.0
    );
    text
}
