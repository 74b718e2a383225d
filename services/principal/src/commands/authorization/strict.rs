//! What is told of rules before they are sent, or refused.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use jiff::Timestamp;
use signet_policy::Policies;
use signet_proto::v1;

use super::{document::instant, whose::Whose};
use crate::{failure::Failure, session::Session};

/// What counts as an error.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Strict {
    /// Refuse a permission that nobody has: no policy is about it, and no grant that is not over names it; not with
    /// --environment
    #[arg(long)]
    strict: bool,
}

impl Strict {
    /// What is to be told of rules that are taken. Of the environment's permissions tenants may say who has them.
    pub(super) fn look_at(
        self,
        session: &Session,
        whose: Whose,
        rules: &v1::AuthorizationRules,
        now: Timestamp,
    ) -> Result<Option<String>, Failure> {
        if whose.is_environment(session) {
            let told = "--strict says nothing of the environment's permissions: tenants may grant them";
            return if self.strict { Err(Failure::usage(told)) } else { Ok(None) };
        }
        let unused = unused(rules, now);
        if unused.is_empty() {
            return Ok(None);
        }
        let told = format!("no grant names and no policy is about {}: nobody may do it", unused.join(", "));
        if self.strict { Err(Failure::usage(told)) } else { Ok(Some(format!("warning: {told}"))) }
    }
}

/// Permissions of `rules` that nobody has: declared, but no policy and no grant that is not over names them.
fn unused(rules: &v1::AuthorizationRules, now: Timestamp) -> Vec<String> {
    let is_over = |grant: &v1::AuthorizationGrant| grant.expire_time.as_ref().is_some_and(|end| instant(end) <= now);
    let grants = rules.grants.iter().filter(|grant| !is_over(grant));
    let granted: BTreeSet<&String> = grants.flat_map(|grant| &grant.permissions).collect();
    // What cannot be read is the server's to refuse.
    let policies = Policies::unvalidated(&rules.policies).ok();
    let named = |name: &str| policies.as_ref().is_none_or(|policies| !policies.policies_about(name).is_empty());
    let declared: BTreeMap<_, _> = rules.permissions.iter().collect();
    declared.into_keys().filter(|name| !granted.contains(name) && !named(name)).cloned().collect()
}
