//! What is wrong between this machine and the server, and what to do. Each check is small and says one thing; a later
//! one runs only if those before it left something to check.

mod check;
mod http;
mod local;
mod network;
mod public;

use crate::{context::Contexts, run::Run};

pub use check::{Check, Health};

/// Runs all checks that make sense.
pub async fn examine(run: &Run) -> Vec<Check> {
    let mut checks = local::home(run);
    let contexts = match Contexts::load(&run.home) {
        Ok(contexts) => contexts,
        Err(failure) => {
            checks.push(Check::fail("contexts", failure.message, "fix the file, or move it away and enroll again"));
            return checks;
        }
    };
    let (name, context) = match contexts.select(run.global.context.as_deref()) {
        Ok(selected) => selected,
        Err(failure) => {
            checks.push(Check::fail("context", failure.message, failure.hint.unwrap_or_default()));
            return checks;
        }
    };
    checks.push(Check::ok("context", format!("{name}: {}", context.endpoint)));
    let directory = context.directory(&run.home);
    let credentials = local::credentials(&directory, run.printer.now, &mut checks);
    checks.extend(public::examine(context, credentials.as_ref(), run).await);
    checks.extend(network::examine(run, name, context).await);
    checks
}
