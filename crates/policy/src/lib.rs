//! Cedar policies of a tenant: parsed and validated against Signet's types, decided in memory, and proved by a solver.
//!
//! A tenant's policies only ever add to, or take from, what its grants by principal type say: a `permit` adds, a
//! `forbid` takes, and a `forbid` that cannot be evaluated takes too (Cedar itself would skip it).

mod decide;
mod fault;
mod policies;
mod prove;
mod rulebook;
mod vocabulary;
mod whom;

pub use crate::{
    decide::{Context, ServiceResource, Subject, Target, Verdict},
    fault::{Fault, Position},
    policies::{MAX_DEPTH, MAX_PAIRS, MAX_POLICIES, MAX_POLICY, MAX_TEXT, Policies},
    prove::{Counterexample, Difference, Granted, Invariant, Prover, ProverError, Shown},
    rulebook::{Because, Named, Rulebook, Ruling, baseline, parse, vocabulary},
    vocabulary::{Vocabulary, VocabularyError},
    whom::{About, Whom},
};
