//! What is wrong between this machine and the server, and what to do. Each check is small and says one thing; a later
//! one runs only if those before it left something to check.

mod http;
mod local;
mod network;
mod public;

use serde::Serialize;

use crate::{context::Contexts, run::Run};

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// As it should be.
    Ok,
    /// Works, but look at it.
    Warn,
    /// Does not work.
    Fail,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was checked.
    pub check: &'static str,
    /// How it went.
    pub status: Health,
    /// What was found.
    pub message: String,
    /// What to do.
    pub advice: Option<String>,
}

impl Check {
    fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self { check, status: Health::Ok, message: message.into(), advice: None }
    }

    fn warn(check: &'static str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, status: Health::Warn, message: message.into(), advice: Some(advice.into()) }
    }

    fn fail(check: &'static str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, status: Health::Fail, message: message.into(), advice: Some(advice.into()) }
    }
}

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
