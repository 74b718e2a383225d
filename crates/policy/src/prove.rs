//! What holds of every request that can be made, shown by an SMT solver (cvc5) and not by tests.

use std::{collections::BTreeSet, fmt, path::PathBuf, process::Stdio, time::Duration};

use cedar_policy::{Entities, Policy, PolicyId, PolicySet, RequestEnv};
use cedar_policy_symcc::{CedarSymCompiler, CompiledPolicy, CompiledPolicySet, Env, solver::LocalSolver};
use signet_core::PrincipalType;
use thiserror::Error;
use tokio::{process::Command, runtime::Builder, sync::oneshot, time::timeout};

use crate::{
    Fault, Policies, Vocabulary,
    policies::STACK,
    vocabulary::{quoted, type_of},
};

/// How long the solver may take for one question, in milliseconds.
const LIMIT: u32 = 10_000;

/// A grant, beside the policies: `principal_type` may do `permission`.
#[derive(Clone, Debug)]
pub struct Granted {
    /// Who.
    pub principal_type: PrincipalType,
    /// Only with this role, or in this group: `in Role::"dispatcher"`.
    pub only_in: Option<String>,
    /// What.
    pub permission: String,
}

/// What must hold whatever the policies say. That no policy makes an admin, or locks one out, needs no proof: policies
/// cannot name Signet's own permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// Nobody may do anything in another tenant.
    OwnTenant,
    /// No policy fails at the time of a decision: a `permit` that does is no permit, a `forbid` that does forbids.
    NeverErrs,
}

impl Invariant {
    /// All, in the order in which they are shown.
    pub const ALL: [Self; 2] = [Self::OwnTenant, Self::NeverErrs];

    /// One line for people.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::OwnTenant => "no permit crosses tenants",
            Self::NeverErrs => "no policy fails when it is evaluated",
        }
    }
}

/// A request that breaks an invariant, or is decided otherwise than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counterexample {
    /// `Worker::"w-1" does Action::"…" to …`.
    pub request: String,
    /// What the entities of the request must be, if anything.
    pub entities: String,
}

/// What the solver says about an invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Which.
    pub invariant: Invariant,
    /// Why it does not hold; `None`: it holds.
    pub broken: Option<Counterexample>,
}

/// What a change of policies gives or takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Whether it was denied before and is allowed now; otherwise the other way round.
    pub widens: bool,
    /// The type of those who ask.
    pub principal: String,
    /// What they do.
    pub action: String,
    /// The type of what it is about.
    pub resource: String,
    /// For example.
    pub example: Counterexample,
}

/// Why there is no proof.
#[derive(Debug, Error)]
pub enum ProverError {
    /// The solver cannot be started.
    #[error("the solver {program} does not start: {source}; install cvc5 1.3.1 or newer, or name its path")]
    Solver {
        /// Its path.
        program: String,
        /// Why.
        source: std::io::Error,
    },
    /// It answered with an error, or ran out of time.
    #[error("the solver gives no answer: {0}")]
    Answer(String),
    /// The baseline is not of this vocabulary.
    #[error("{0}")]
    Baseline(String),
}

/// A cvc5 program, 1.3.1 or newer.
#[derive(Clone, Debug)]
pub struct Prover {
    program: PathBuf,
}

impl Prover {
    /// The program at a path, or of a name on `PATH`.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into() }
    }

    /// Whether the program is there and finds what is known to be wrong.
    pub async fn check(&self, limit: Duration) -> Result<(), ProverError> {
        let vocabulary = Vocabulary::new(["signet:check"]).map_err(answer)?;
        let policies = Policies::validated_before(OVERFLOWS).map_err(|faults| answer(told(&faults)))?;
        let shown = self.prove(vocabulary, Vec::new(), policies, limit).await?;
        let broken: Vec<_> = shown.iter().filter(|shown| shown.broken.is_some()).map(|shown| shown.invariant).collect();
        if broken == [Invariant::NeverErrs] { Ok(()) } else { Err(answer("it misses what is wrong")) }
    }

    /// Whether each invariant holds of `policies` beside `baseline`. All questions together may take `limit`.
    pub async fn prove(
        &self,
        vocabulary: Vocabulary,
        baseline: Vec<Granted>,
        policies: Policies,
        limit: Duration,
    ) -> Result<Vec<Shown>, ProverError> {
        let prover = self.clone();
        apart(limit, async move || prover.shown(&vocabulary, &baseline, &policies).await).await
    }

    /// What `after` allows and `before` did not, and the other way round: an example for each kind of request. All
    /// questions together may take `limit`.
    pub async fn changes(
        &self,
        vocabulary: Vocabulary,
        before: (Policies, Vec<Granted>),
        after: (Policies, Vec<Granted>),
        limit: Duration,
    ) -> Result<Vec<Difference>, ProverError> {
        let prover = self.clone();
        apart(limit, async move || prover.differences(&vocabulary, &before, &after).await).await
    }

    async fn shown(
        &self,
        vocabulary: &Vocabulary,
        baseline: &[Granted],
        policies: &Policies,
    ) -> Result<Vec<Shown>, ProverError> {
        let mut solver = self.start()?;
        let whole = with_baseline(baseline, &policies.all)?;
        let own_tenant = set(OWN_TENANT)?;
        let mut proofs = Vec::new();
        for invariant in Invariant::ALL {
            let mut broken = None;
            for env in relevant(vocabulary, policies) {
                let context = (vocabulary, &env);
                broken = match invariant {
                    Invariant::OwnTenant => implies(&mut solver, context, &whole, &own_tenant).await?,
                    Invariant::NeverErrs => errs(&mut solver, context, policies).await?,
                };
                if broken.is_some() {
                    break;
                }
            }
            proofs.push(Shown { invariant, broken });
        }
        Ok(proofs)
    }

    async fn differences(
        &self,
        vocabulary: &Vocabulary,
        (before, granted_before): &(Policies, Vec<Granted>),
        (after, granted_after): &(Policies, Vec<Granted>),
    ) -> Result<Vec<Difference>, ProverError> {
        let mut solver = self.start()?;
        let (old, new) = (with_baseline(granted_before, &before.all)?, with_baseline(granted_after, &after.all)?);
        let mut envs = relevant(vocabulary, before);
        let known: BTreeSet<_> = envs.iter().map(key).collect();
        envs.extend(relevant(vocabulary, after).into_iter().filter(|env| !known.contains(&key(env))));
        let mut changes = Vec::new();
        for env in envs {
            let context = (vocabulary, &env);
            let widened = implies(&mut solver, context, &new, &old).await?;
            let narrowed = implies(&mut solver, context, &old, &new).await?;
            for (widens, example) in [(true, widened), (false, narrowed)] {
                let Some(example) = example else { continue };
                let (principal, action, resource) = key(&env);
                changes.push(Difference { widens, principal, action, resource, example });
            }
        }
        Ok(changes)
    }

    fn start(&self) -> Result<CedarSymCompiler<LocalSolver>, ProverError> {
        let mut command = Command::new(&self.program);
        command.args(["--lang", "smt", &format!("--tlimit-per={LIMIT}")]).kill_on_drop(true).stderr(Stdio::null());
        let failed = |error: cedar_policy_symcc::solver::SolverError| ProverError::Solver {
            program: self.program.display().to_string(),
            source: std::io::Error::other(error.to_string()),
        };
        CedarSymCompiler::new(LocalSolver::from_command(&mut command).map_err(failed)?).map_err(answer)
    }
}

/// Runs `work` on a thread of its own: it computes much between two questions, and recurses with a policy's length.
async fn apart<T: Send + 'static>(
    limit: Duration,
    work: impl AsyncFnOnce() -> Result<T, ProverError> + Send + 'static,
) -> Result<T, ProverError> {
    let (done, result) = oneshot::channel();
    let run = move || {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(answer);
        let late = || Err(ProverError::Answer(format!("it takes more than {} s", limit.as_secs())));
        let told = runtime
            .and_then(|runtime| runtime.block_on(async { timeout(limit, work()).await.unwrap_or_else(|_| late()) }));
        // Whoever asked may be gone.
        let _ = done.send(told);
    };
    std::thread::Builder::new().stack_size(STACK).spawn(run).map_err(answer)?;
    result.await.map_err(answer)?
}

/// Nobody acts in another tenant: what Signet decides before it asks any policy.
const CROSSING: &str = r#"
@id("own tenant only")
forbid (principal, action, resource)
unless { if resource is Tenant then principal.tenant == resource else principal.tenant == resource.tenant };
"#;

const OWN_TENANT: &str = r#"
permit (principal, action, resource)
when { if resource is Tenant then principal.tenant == resource else principal.tenant == resource.tenant };
"#;

/// Fails for some requests, which takes a solver to find.
const OVERFLOWS: &str = r#"
permit (principal is User, action, resource is Resource)
when { 9223372036854775807 + (if resource.kind == "queue" then 1 else 0) == 0 };
"#;

fn set(text: &str) -> Result<PolicySet, ProverError> {
    Ok(Policies::validated_before(text).map_err(|faults| ProverError::Baseline(told(&faults)))?.all)
}

fn told(faults: &[Fault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// `policies`, the grants, and that nobody crosses tenants.
fn with_baseline(granted: &[Granted], policies: &PolicySet) -> Result<PolicySet, ProverError> {
    let mut text = CROSSING.to_owned();
    for (number, Granted { principal_type, only_in, permission }) in granted.iter().enumerate() {
        let only_in = only_in.as_ref().map_or_else(String::new, |parent| format!(" {parent}"));
        let (of, action) = (type_of(*principal_type), quoted(permission));
        text += &format!(
            "@id(\"grant {number}\") permit (principal is {of}{only_in}, action == Action::{action}, resource);\n"
        );
    }
    let mut whole = set(&text)?;
    for policy in policies.policies() {
        let renamed: Policy = policy.new_id(PolicyId::new(format!("policy {}", policy.id())));
        whole.add(renamed).map_err(|error| ProverError::Baseline(error.to_string()))?;
    }
    Ok(whole)
}

/// The kinds of requests that some policy may say something about. Of the others only the baseline does.
fn relevant(vocabulary: &Vocabulary, policies: &Policies) -> Vec<RequestEnv> {
    let mut seen = BTreeSet::new();
    let envs = policies.all.policies().flat_map(|policy| policy.get_valid_request_envs(&vocabulary.schema));
    let mut found: Vec<_> = envs.filter(|env| seen.insert(key(env))).collect();
    found.sort_by_key(key);
    found
}

fn key(env: &RequestEnv) -> (String, String, String) {
    (env.principal().to_string(), env.action().id().unescaped().to_owned(), env.resource().to_string())
}

type Solver = CedarSymCompiler<LocalSolver>;
type Asked<'a> = (&'a Vocabulary, &'a RequestEnv);

fn compiled(policies: &PolicySet, (vocabulary, env): Asked<'_>) -> Result<CompiledPolicySet, ProverError> {
    CompiledPolicySet::compile(policies, env, &vocabulary.schema).map_err(answer)
}

async fn implies(
    solver: &mut Solver,
    asked: Asked<'_>,
    these: &PolicySet,
    those: &PolicySet,
) -> Result<Option<Counterexample>, ProverError> {
    let (these, those) = (compiled(these, asked)?, compiled(those, asked)?);
    shown(solver.check_implies_with_counterexample_opt(&these, &those).await)
}

async fn errs(
    solver: &mut Solver,
    (vocabulary, env): Asked<'_>,
    policies: &Policies,
) -> Result<Option<Counterexample>, ProverError> {
    for policy in policies.all.policies() {
        let compiled = CompiledPolicy::compile(policy, env, &vocabulary.schema).map_err(answer)?;
        if let Some(found) = shown(solver.check_never_errors_with_counterexample_opt(&compiled).await)? {
            let request = format!("policy {}: {}", policy.id(), found.request);
            return Ok(Some(Counterexample { request, ..found }));
        }
    }
    Ok(None)
}

fn shown<E: fmt::Display>(found: Result<Option<Env>, E>) -> Result<Option<Counterexample>, ProverError> {
    let found = found.map_err(answer)?;
    Ok(found
        .map(|Env { request, entities }| Counterexample { request: request.to_string(), entities: facts(&entities) }))
}

/// What is special of the request's entities; actions are the schema's.
fn facts(entities: &Entities) -> String {
    let special = entities.iter().filter(|entity| entity.uid().type_name().to_string() != "Action");
    special.map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn answer(error: impl fmt::Display) -> ProverError {
    ProverError::Answer(error.to_string())
}
