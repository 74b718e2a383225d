//! What a solver says of a tenant's policies.

use std::time::Duration;

use signet_core::{
    Error,
    authorization::model::{Proved, Rules},
};
use signet_policy::{Difference, Fault, Policies, Prover, ProverError, Shown};
use tokio::time::timeout;

use crate::App;

/// How long a solver may take, all questions together: less than a call may.
const LIMIT: Duration = Duration::from_secs(8);

/// Whether each invariant holds. Without policies there is nothing to prove: grants are checked when they are set. With
/// `force`, a solver that gives no answer counts as none.
pub(super) async fn of(
    app: &App,
    rules: &Rules,
    environment: Option<&Rules>,
    policies: &Policies,
    force: bool,
) -> Result<(Proved, Vec<Shown>), Error> {
    if policies.is_empty() {
        return Ok((Proved::NotNeeded, Vec::new()));
    }
    let Some(prover) = &app.settings.prover else { return Ok((Proved::NotProved, Vec::new())) };
    let vocabulary = signet_policy::vocabulary([rules], environment).map_err(unusable)?;
    let baseline = signet_policy::baseline(rules, environment);
    let invariants = match answered(prover, prover.prove(&vocabulary, &baseline, policies)).await {
        Ok(invariants) => invariants,
        Err(error) if force => {
            tracing::error!(%error, "a tenant's policies are set without a proof, as an admin insists");
            return Ok((Proved::NotProved, Vec::new()));
        }
        Err(error) => return Err(error),
    };
    let holds = invariants.iter().all(|shown| shown.broken.is_none());
    Ok((if holds { Proved::Proved } else { Proved::Refuted }, invariants))
}

/// Refuses what was refuted, and, where the environment demands proof, what was not proved.
pub(super) fn accept(app: &App, proved: Proved, invariants: &[Shown], force: bool) -> Result<(), Error> {
    match proved {
        Proved::Refuted if !force => {
            let broken = invariants.iter().filter_map(|shown| Some((shown.invariant, shown.broken.as_ref()?)));
            let told: Vec<_> = broken
                .map(|(invariant, example)| format!("not so that {}: {}", invariant.describe(), example.request))
                .collect();
            Err(Error::precondition("POLICY_REFUTED", told.join("\n")))
        }
        Proved::NotProved | Proved::Refuted if app.settings.require_proof => {
            let message = "this environment takes policies only that its solver proves";
            Err(Error::precondition("PROOF_REQUIRED", message))
        }
        _ => Ok(()),
    }
}

/// What would be decided otherwise, among the requests that some policy is about.
pub(super) async fn differences(
    app: &App,
    (before, after): (&Rules, &Rules),
    environment: Option<&Rules>,
    policies: &Policies,
) -> Result<Vec<Difference>, Error> {
    let Some(prover) = &app.settings.prover else { return Ok(Vec::new()) };
    // Both are read with the same words.
    let vocabulary = signet_policy::vocabulary([before, after], environment).map_err(unusable)?;
    let old = Policies::validated_before(&before.policies).map_err(unusable)?;
    if old.is_empty() && policies.is_empty() {
        return Ok(Vec::new());
    }
    let (before, after) = (signet_policy::baseline(before, environment), signet_policy::baseline(after, environment));
    let changes = prover.changes(&vocabulary, (&old, &before), (policies, &after));
    answered(prover, changes).await
}

async fn answered<T>(prover: &Prover, asked: impl Future<Output = Result<T, ProverError>>) -> Result<T, Error> {
    let answer = match timeout(LIMIT, asked).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("the solver takes more than {} s", LIMIT.as_secs())),
    };
    answer.map_err(|error| {
        tracing::error!(error, ?prover, "no proof of a tenant's policies");
        Error::precondition("PROVER_UNAVAILABLE", error)
    })
}

fn unusable(faults: Vec<Fault>) -> Error {
    let told: Vec<_> = faults.iter().map(ToString::to_string).collect();
    Error::invalid("rules.policies", "INVALID_POLICY", told.join("\n"))
}
