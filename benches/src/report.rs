//! What was measured, as a table for people or JSON for machines.

use std::fmt::Write as _;

use serde::Serialize;

use crate::{
    machine::Machine,
    measure::{Pair, Spread},
};

/// What the budget allows.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Budget {
    /// Ours, at most.
    AtMost(f64),
    /// Ours, at least.
    AtLeast(f64),
    /// Ours through the floor, at most.
    RatioAtMost(f64),
    /// Ours through the floor, at least.
    RatioAtLeast(f64),
}

/// One line.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) ours: Spread,
    pub(crate) floor: Option<Spread>,
    pub(crate) ratio: Option<Spread>,
    pub(crate) budget: Option<Budget>,
    /// Whether the median keeps the budget.
    pub(crate) within: Option<bool>,
    pub(crate) note: String,
}

impl Row {
    /// Ours alone.
    pub(crate) fn alone(name: impl Into<String>, unit: &'static str, ours: Spread) -> Self {
        let (name, note) = (name.into(), String::new());
        Self { name, unit, ours, floor: None, ratio: None, budget: None, within: None, note }
    }

    /// Ours and its floor.
    pub(crate) fn pair(name: impl Into<String>, unit: &'static str, pair: &Pair) -> Self {
        Self { floor: Some(pair.floor), ratio: Some(pair.ratio), ..Self::alone(name, unit, pair.ours) }
    }

    /// With what is allowed.
    pub(crate) fn budget(mut self, budget: Budget) -> Self {
        let ratio = self.ratio.map_or(f64::NAN, |ratio| ratio.median);
        self.within = Some(match budget {
            Budget::AtMost(most) => self.ours.median <= most,
            Budget::AtLeast(least) => self.ours.median >= least,
            Budget::RatioAtMost(most) => ratio <= most,
            Budget::RatioAtLeast(least) => ratio >= least,
        });
        self.budget = Some(budget);
        self
    }

    /// With a remark.
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }
}

/// All of it.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) rounds: usize,
    pub(crate) rows: Vec<Row>,
    /// What was not measured, and why.
    pub(crate) left_out: Vec<String>,
}

impl Report {
    pub(crate) fn json(&self) -> crate::Result<String> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    pub(crate) fn table(&self) -> String {
        let header = ["name", "ours", "floor", "ratio (min-max)", "budget", "within?"].map(str::to_owned);
        let lines: Vec<[String; 6]> = std::iter::once(header).chain(self.rows.iter().map(cells)).collect();
        let width = |column: usize| {
            lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..6).map(width).collect();
        let mut text = format!("{}\n\n", self.machine);
        for (index, line) in lines.iter().enumerate() {
            let padded = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            let _ = writeln!(text, "{}", padded.collect::<Vec<_>>().join("  ").trim_end());
            if let Some(row) = index.checked_sub(1).and_then(|index| self.rows.get(index))
                && !row.note.is_empty()
            {
                let _ = writeln!(text, "    {}", row.note);
            }
        }
        for left_out in &self.left_out {
            let _ = writeln!(text, "not measured: {left_out}");
        }
        text
    }
}

fn cells(row: &Row) -> [String; 6] {
    let with_unit = |spread: &Spread| format!("{} {}", number(spread.median), row.unit);
    let ratio = |ratio: &Spread| format!("{} ({}-{})", number(ratio.median), number(ratio.min), number(ratio.max));
    let alone = format!("({}-{})", number(row.ours.min), number(row.ours.max));
    let spread = if row.ours.min == row.ours.max { String::new() } else { alone };
    let budget = match row.budget {
        None => String::new(),
        Some(Budget::AtMost(most)) => format!("<= {} {}", number(most), row.unit),
        Some(Budget::AtLeast(least)) => format!(">= {} {}", number(least), row.unit),
        Some(Budget::RatioAtMost(most)) => format!("ratio <= {}", number(most)),
        Some(Budget::RatioAtLeast(least)) => format!("ratio >= {}", number(least)),
    };
    let within = row.within.map_or("", |within| if within { "yes" } else { "NO" });
    [
        row.name.clone(),
        with_unit(&row.ours),
        row.floor.as_ref().map(with_unit).unwrap_or_default(),
        row.ratio.as_ref().map_or(spread, ratio),
        budget,
        within.to_owned(),
    ]
}

/// Three digits that count.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        large if large >= 100.0 => 0,
        medium if medium >= 10.0 => 1,
        small if small >= 1.0 => 2,
        0.0 => 0,
        _ => 3,
    };
    format!("{value:.digits$}")
}
