//! How the steps of a task ended.

use signet_app::TaskReport;
use signet_core::Error;

/// Logs what was done and each piece that failed. The error is the first one; the operator is told of the others here.
pub(super) fn told(task: &str, report: TaskReport) -> Result<(), Error> {
    for done in &report.done {
        tracing::info!(task, done, "upkeep");
    }
    for (what, error) in &report.failed {
        tracing::warn!(task, what, ?error, "an upkeep step failed");
    }
    let mut errors = report.failed.into_iter().map(|(_, error)| error);
    let first = errors.next();
    errors.for_each(|error| signet_app::tell_operator(task, &error));
    first.map_or(Ok(()), Err)
}
