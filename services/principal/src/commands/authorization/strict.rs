//! What is told of rules before they are sent, or refused.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use signet_policy::Policies;
use signet_proto::v1;

use super::whose::Whose;
use crate::{failure::Failure, run::Run, session::Session};

/// What counts as an error.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Strict {
    /// Refuse a permission that nobody has: that no grant names and no policy is about
    #[arg(long)]
    strict: bool,
}

impl Strict {
    /// Of the environment's permissions tenants may say who has them.
    pub(super) fn look_at(
        self,
        run: &Run,
        session: &Session,
        whose: Whose,
        rules: &v1::AuthorizationRules,
    ) -> Result<(), Failure> {
        let unused = if whose.is_environment(session) { Vec::new() } else { unused(rules) };
        if unused.is_empty() {
            return Ok(());
        }
        let told = format!("no grant names and no policy is about {}: nobody may do it", unused.join(", "));
        if self.strict {
            return Err(Failure::usage(told));
        }
        run.printer.warn(&format!("warning: {told}"));
        Ok(())
    }
}

/// Permissions of `rules` that nobody has: declared, but no grant and no policy names them.
fn unused(rules: &v1::AuthorizationRules) -> Vec<String> {
    let granted: BTreeSet<&String> = rules.grants.iter().flat_map(|grant| &grant.permissions).collect();
    // What cannot be read is the server's to refuse.
    let policies = Policies::unvalidated(&rules.policies).ok();
    let named = |name: &str| policies.as_ref().is_none_or(|policies| !policies.policies_about(name).is_empty());
    let declared: BTreeMap<_, _> = rules.permissions.iter().collect();
    declared.into_keys().filter(|name| !granted.contains(name) && !named(name)).cloned().collect()
}
