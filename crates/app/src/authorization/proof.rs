//! What a solver says of a tenant's policies.

use signet_core::{
    Error,
    authorization::model::{Proved, Rules},
};
use signet_policy::{Difference, Policies, ProverError, Shown};

use crate::App;

/// Whether each invariant holds. Without policies there is nothing to prove: grants are checked when they are set.
pub(super) async fn of(
    app: &App,
    rules: &Rules,
    environment: Option<&Rules>,
    policies: &Policies,
) -> Result<(Proved, Vec<Shown>), Error> {
    if policies.is_empty() {
        return Ok((Proved::NotNeeded, Vec::new()));
    }
    let Some(prover) = &app.settings.prover else { return Ok((Proved::NotProved, Vec::new())) };
    let vocabulary = signet_policy::vocabulary(rules, environment).map_err(unusable)?;
    let baseline = signet_policy::baseline(rules, environment);
    let invariants = prover.prove(&vocabulary, &baseline, policies).await.map_err(no_answer)?;
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
        Proved::NotProved if app.settings.require_proof => {
            let message = "this environment takes proved policies only, and its server has no solver";
            Err(Error::precondition("PROOF_REQUIRED", message))
        }
        Proved::Refuted if app.settings.require_proof => {
            let message = "this environment takes proved policies only; a refuted one cannot be forced";
            Err(Error::precondition("PROOF_REQUIRED", message))
        }
        _ => Ok(()),
    }
}

/// What the policies of `after` would decide otherwise.
pub(super) async fn differences(
    app: &App,
    (before, after): (&Rules, &Rules),
    environment: Option<&Rules>,
    policies: &Policies,
) -> Result<Vec<Difference>, Error> {
    let Some(prover) = &app.settings.prover else { return Ok(Vec::new()) };
    // Both must be read with the same words.
    let mut both = after.clone();
    both.permissions.extend(before.permissions.clone());
    let vocabulary = signet_policy::vocabulary(&both, environment).map_err(unusable)?;
    let Ok(old) = Policies::new(&vocabulary, &before.policies) else { return Ok(Vec::new()) };
    if old.is_empty() && policies.is_empty() {
        return Ok(Vec::new());
    }
    let baseline = signet_policy::baseline(after, environment);
    prover.changes(&vocabulary, &baseline, &old, policies).await.map_err(no_answer)
}

fn unusable(faults: Vec<signet_policy::Fault>) -> Error {
    let told: Vec<_> = faults.iter().map(ToString::to_string).collect();
    Error::invalid("rules.permissions", "INVALID_PERMISSION", told.join("\n"))
}

fn no_answer(error: ProverError) -> Error {
    tracing::error!(%error, "no proof of a tenant's policies");
    Error::precondition("PROVER_UNAVAILABLE", error.to_string())
}
