//! `principal doctor`.

use clap::Args;
use serde_json::Value;

use crate::{
    doctor::{self, Health},
    exit::Exit,
    failure::Failure,
    output::{
        Cell::{Field, Status},
        Column,
    },
    progress,
    run::Run,
};

/// Nothing to choose: it checks all that the chosen context needs.
#[derive(Debug, Args)]
pub struct DoctorArgs {}

const COLUMNS: &[Column] = &[
    Column { title: "CHECK", cell: Field("check") },
    Column { title: "STATUS", cell: Status("status") },
    Column { title: "FOUND", cell: Field("message") },
    Column { title: "WHAT TO DO", cell: Field("advice") },
];

/// Carries out the command.
pub async fn run(run: &Run, _: DoctorArgs) -> Result<Exit, Failure> {
    let checks = progress::watch("examining", run.printer.quiet, doctor::examine(run)).await;
    let values = checks.iter().map(serde_json::to_value).collect::<Result<Vec<Value>, _>>().map_err(Failure::other)?;
    run.printer.rows(COLUMNS, values)?;
    let failed = checks.iter().any(|check| check.status == Health::Fail);
    Ok(if failed { Exit::Other } else { Exit::Ok })
}
