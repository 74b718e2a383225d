//! What those who keep answers hear of changes.

use signet_core::trust::Affected;
use signet_proto::v1::{DecisionsChange, decisions_change::Of};

/// From so many changes at once on, all answers are to be asked for again.
const MANY: usize = 100;

/// `named`: whether the watcher may learn whom a change is about.
pub(super) fn told(affected: &[Affected], named: bool) -> Vec<DecisionsChange> {
    // What signs messages decides nothing that is asked here.
    let decisions = affected.iter().filter(|affected| !matches!(affected, Affected::MessageSecret(..)));
    let mut all = decisions.map(|affected| match affected {
        Affected::Principal(_, id) if named => Of::PrincipalId(id.to_string()),
        Affected::Certificate(_, serial) if named => Of::SerialNumber(serial.to_string()),
        _ => Of::All(true),
    });
    let mut told = Vec::new();
    let is_all = affected.len() > MANY
        || all.any(|of| {
            let is_all = of == Of::All(true);
            if !told.contains(&of) {
                told.push(of);
            }
            is_all
        });
    let told = if is_all { vec![Of::All(true)] } else { told };
    told.into_iter().map(|of| DecisionsChange { of: Some(of) }).collect()
}
