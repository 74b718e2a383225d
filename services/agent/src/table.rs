//! The report for people.

use std::fmt::Write;

use comfy_table::{Table, presets::NOTHING};

use crate::report::{CanaryReport, IdentityReport, Report};

/// A table, and below it what is wrong.
pub(crate) fn render(report: &Report) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(["IDENTITY", "STATE", "VALID UNTIL", "NEXT ATTEMPT", "RENEWALS", "FILES", "PROGRAMS"]);
    for one in &report.identities {
        let files = if one.published { "written" } else { "not written" };
        let renewals = one.renewals.to_string();
        let row = [&one.name, &one.standing, &one.not_after, &one.next_attempt, &renewals, files, programs(one)];
        table.add_row(row.map(|cell| if cell.is_empty() { "-" } else { cell }));
    }
    let mut text = format!("{table}\n");
    for one in &report.identities {
        if let Some(problem) = &one.problem {
            let _ = writeln!(text, "{}: {} failed at {}: {}", one.name, problem.action, problem.at, problem.message);
        }
        if !one.advice.is_empty() {
            let _ = writeln!(text, "{}: {}", one.name, one.advice);
        }
        if let Some(handover) = one.handover.as_ref().filter(|handover| !handover.message.is_empty()) {
            let _ = writeln!(text, "{}: programs not notified at {}: {}", one.name, handover.at, handover.message);
        }
        match &one.canary {
            Some(canary) if canary.state == CanaryReport::ACCEPTED => {
                let _ = writeln!(text, "{}: the program accepts who was revoked: {}", one.name, canary.message);
            }
            Some(canary) if canary.state == CanaryReport::NOT_PROVED => {
                let _ = writeln!(text, "{}: not proved that the revoked are refused: {}", one.name, canary.message);
            }
            _ => {}
        }
    }
    text
}

fn programs(one: &IdentityReport) -> &'static str {
    match &one.handover {
        None => "none",
        Some(handover) if handover.done => "notified",
        Some(_) => "not notified",
    }
}
