//! What a solver shows of all requests that there can be. The solver is cvc5, from its Python package.

use std::time::Duration;

use signet_policy::{Invariant, Policies, Prover, ProverError};

use crate::world::*;

const LIMIT: Duration = Duration::from_secs(60);

async fn broken(text: &str) -> Vec<(Invariant, String)> {
    let proofs = prover().prove(vocabulary(), baseline(), policies(text), LIMIT).await.unwrap();
    assert_eq!(proofs.iter().map(|proof| proof.invariant).collect::<Vec<_>>(), Invariant::ALL);
    proofs.into_iter().filter_map(|proof| Some((proof.invariant, proof.broken?.request))).collect()
}

#[tokio::test]
async fn sound_policies_are_proved() {
    let text = r#"
        permit (principal is Worker, action == Action::"jobs:submit", resource is Resource) when { resource.kind == "queue" };
        forbid (principal is User, action == Action::"connect", resource)
        unless { context has source && context.source.isInRange(ip("10.0.0.0/8")) };
    "#;
    assert_eq!(broken(text).await, []);
}

#[tokio::test]
async fn a_policy_that_may_fail_is_told() {
    let text = r#"
        @id("tags") permit (principal is User, action == Action::"connect", resource is Resource)
        when { 9223372036854775807 + (if resource.kind == "queue" then 1 else 0) == 0 };
    "#;
    let broken = broken(text).await;
    let [(Invariant::NeverErrs, request)] = broken.as_slice() else { panic!("{broken:?}") };
    assert!(request.starts_with("policy tags: "), "{request}");
}

#[tokio::test]
async fn a_change_shows_what_it_gives_and_takes() {
    let before = policies(r#"permit (principal is Service, action == Action::"jobs:submit", resource is Resource);"#);
    let after = policies(
        r#"
        permit (principal is Service, action == Action::"jobs:submit", resource is Resource) when { resource.kind == "queue" };
        permit (principal is User, action == Action::"connect", resource is Device);
        "#,
    );
    let changes =
        prover().changes(vocabulary(), (before.clone(), baseline()), (after, baseline()), LIMIT).await.unwrap();
    let told: Vec<_> = changes.iter().map(|c| (c.widens, &*c.principal, &*c.action, &*c.resource)).collect();
    assert_eq!(told, [(false, "Service", "jobs:submit", "Resource"), (true, "User", "connect", "Device")]);
    let same = prover().changes(vocabulary(), (before.clone(), baseline()), (before, baseline()), LIMIT).await.unwrap();
    assert!(same.is_empty(), "{same:?}");
}

#[tokio::test]
async fn without_a_solver_there_is_no_proof() {
    let proof = Prover::new("/nonexistent/cvc5").prove(vocabulary(), baseline(), Policies::default(), LIMIT).await;
    assert!(matches!(&proof, Err(ProverError::Solver { .. })), "{proof:?}");
    assert!(prover().check(LIMIT).await.is_ok());
    // A program that is no solver.
    assert!(matches!(Prover::new("true").check(LIMIT).await, Err(ProverError::Answer(_))));
    let text = r#"permit (principal is User, action == Action::"connect", resource is Resource)
        when { 9223372036854775807 + (if resource.kind == "queue" then 1 else 0) == 0 };"#;
    let policies = policies(text);
    let proof = Prover::new("true").prove(vocabulary(), baseline(), policies.clone(), LIMIT).await;
    assert!(matches!(&proof, Err(ProverError::Answer(_))), "{proof:?}");
    // One that answers with something else.
    let proof = Prover::new("cat").prove(vocabulary(), baseline(), policies, Duration::from_millis(100)).await;
    assert!(matches!(&proof, Err(ProverError::Answer(_))), "{proof:?}");
}

/// The longest policy recurses deepest, in what compiles it for the solver.
#[tokio::test]
async fn the_longest_policy_that_may_be_set_is_proved_too() {
    let long = format!(
        r#"permit (principal is User, action == Action::"connect", resource is Resource) when {{ 1{} > 0 }};"#,
        "+1".repeat(950)
    );
    assert_eq!(broken(&long).await, []);
    // Decided where calls are, on a thread of the usual size.
    let ann = Who::new(signet_core::PrincipalType::User, "ann");
    let verdict = policies(&long).decide(&ann.subject(), "connect", &queue(&ann.tenant, &[]), &now());
    assert!(matches!(verdict, signet_policy::Verdict::Permitted(_) | signet_policy::Verdict::Silent), "{verdict:?}");
}
