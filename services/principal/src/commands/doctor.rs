//! `principal doctor`.

use clap::Args;
use serde_json::Value;

use crate::{
    doctor::{self, Health},
    exit::Exit,
    failure::Failure,
    output::{
        Cell::{Field, Sentence, Status},
        Column, View,
    },
    progress,
    run::Run,
};

/// Nothing to choose: it checks all that the chosen context needs.
#[derive(Debug, Args)]
pub struct DoctorArgs {}

const COLUMNS: &[Column] = &[
    Column::new("CHECK", Field("check")),
    Column::new("STATUS", Status("status")),
    Column::new("FOUND", Sentence("message")),
    Column::new("WHAT TO DO", Sentence("advice")),
];

/// Carries out the command.
pub async fn run(run: &Run, _: DoctorArgs) -> Result<Exit, Failure> {
    let checks = progress::watch("examining", run.printer.quiet, doctor::examine(run)).await;
    let values = checks.iter().map(serde_json::to_value).collect::<Result<Vec<Value>, _>>().map_err(Failure::other)?;
    run.printer.rows(COLUMNS, &["check"], values, &View::default())?;
    let failed = checks.iter().any(|check| check.status == Health::Fail);
    Ok(if failed { Exit::Other } else { Exit::Ok })
}
