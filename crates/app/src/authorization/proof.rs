//! What is said of a tenant's policies before they are set: whether they can be, and what a solver shows.

use std::{sync::Arc, time::Duration};

use signet_core::{
    Error, TenantId,
    authorization::model::{Proved, Rules},
};
use signet_policy::{Difference, Fault, Invariant, Policies, Prover, ProverError, Shown};
use tokio::task::spawn_blocking;

use crate::App;

/// How long a solver may take, all questions together: less than a call may.
const LIMIT: Duration = Duration::from_secs(8);
/// Most faults of policies that an error tells, and characters of each: it travels in a trailer.
const MOST_FAULTS: usize = 10;
const LONGEST_FAULT: usize = 300;

/// What is asked.
pub(super) struct Question {
    pub(super) rules: Rules,
    pub(super) environment: Option<Rules>,
    /// To tell what would be decided otherwise.
    pub(super) before: Option<Rules>,
    /// A solver that gives no answer counts as none.
    pub(super) force: bool,
}

/// What is said.
#[derive(Default)]
pub(super) struct Answer {
    pub(super) proved: Proved,
    pub(super) invariants: Vec<Shown>,
    pub(super) differences: Vec<Difference>,
}

/// Validates and proves. It is work for threads of its own, and for one at a time on a node: each tenant has one place
/// in the line. It goes on if the caller is gone, so that hanging up makes no room.
pub(super) async fn ask(app: &App, tenant: &TenantId, question: Question) -> Result<Answer, Error> {
    let _place = app.turns.take(format!("policies {tenant}")).await;
    let turn = Arc::clone(&app.validations).lock_owned().await;
    let prover = app.settings.prover.clone();
    let work = async move {
        let _turn = turn;
        answer(prover, question).await
    };
    tokio::spawn(work).await.map_err(Error::internal)?
}

async fn answer(prover: Option<Prover>, question: Question) -> Result<Answer, Error> {
    let Question { rules, environment, before, force } = question;
    let (own, others) = (rules.clone(), environment.clone());
    let parsed = spawn_blocking(move || signet_policy::parse(&own, others.as_ref())).await.map_err(Error::internal)?;
    let policies = parsed.map_err(invalid)?;
    let old = before.as_ref().map_or(Ok(Policies::default()), |before| Policies::validated_before(&before.policies));
    let old = old.map_err(invalid)?;
    if policies.is_empty() && old.is_empty() {
        return Ok(Answer::default());
    }
    let has_policies = !policies.is_empty();
    let not_proved =
        Answer { proved: if has_policies { Proved::NotProved } else { Proved::NotNeeded }, ..Answer::default() };
    let Some(prover) = prover else { return Ok(not_proved) };
    let environment = environment.as_ref();
    let vocabulary = signet_policy::vocabulary([&rules].into_iter().chain(&before), environment).map_err(invalid)?;
    let baseline = signet_policy::baseline(&rules, environment);
    let invariants = match prover.prove(vocabulary.clone(), baseline.clone(), policies.clone(), LIMIT).await {
        Ok(invariants) => invariants,
        Err(error) if force => {
            tracing::error!(%error, "a tenant's policies are set without a proof, as an admin insists");
            return Ok(not_proved);
        }
        Err(error) => return Err(no_answer(error)),
    };
    let differences = match &before {
        Some(before) => {
            let before = (old, signet_policy::baseline(before, environment));
            prover.changes(vocabulary, before, (policies, baseline), LIMIT).await.map_err(no_answer)?
        }
        None => Vec::new(),
    };
    let proved = match invariants.iter().all(|shown| shown.broken.is_none()) {
        _ if !has_policies => Proved::NotNeeded,
        true => Proved::Proved,
        false => Proved::Refuted,
    };
    Ok(Answer { proved, invariants, differences })
}

/// Refuses what was refuted, and, where the environment demands proof, what was not proved.
pub(super) fn accept(app: &App, proved: Proved, invariants: &[Shown], force: bool) -> Result<(), Error> {
    match proved {
        Proved::Refuted if !force => {
            let broken = invariants.iter().filter_map(|shown| Some((shown.invariant, shown.broken.as_ref()?)));
            let told: Vec<_> = broken
                .map(|(invariant, example)| format!("refuted: {}, e.g. {}", what_may_be(invariant), example.request))
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

/// What a broken invariant means.
const fn what_may_be(broken: Invariant) -> &'static str {
    match broken {
        Invariant::OwnTenant => "a permit may cross tenants",
        Invariant::NeverErrs => "a policy may fail when it is evaluated",
    }
}

fn no_answer(error: ProverError) -> Error {
    tracing::error!(%error, "no proof of a tenant's policies");
    Error::precondition("PROVER_UNAVAILABLE", error.to_string())
}

/// The first faults, each once: what is wrong with a policy is wrong for many kinds of requests.
fn invalid(faults: Vec<Fault>) -> Error {
    let mut told: Vec<String> = Vec::new();
    for fault in faults {
        let line: String = fault.to_string().chars().take(LONGEST_FAULT).collect();
        if !told.contains(&line) {
            told.push(line);
        }
    }
    let more = told.len().saturating_sub(MOST_FAULTS);
    told.truncate(MOST_FAULTS);
    if more > 0 {
        told.push(format!("and {more} more"));
    }
    Error::invalid("rules.policies", "INVALID_POLICY", told.join("\n"))
}
