//! A tenant's rules beside the environment's, ready to decide.

use std::{fmt, sync::Arc};

use signet_core::{
    Time,
    authorization::{
        PERMISSIONS,
        model::{ADMINISTER, AuthorizationModel, Grant, Grantee, Rules, UNDO},
    },
};

use crate::{Baseline, Context, Fault, Granted, Policies, Subject, Target, Verdict, Vocabulary, vocabulary::quoted};

/// What holds in a tenant: its model and the environment's.
#[derive(Debug)]
pub struct Rulebook {
    own: Option<Arc<AuthorizationModel>>,
    environment: Option<Arc<AuthorizationModel>>,
    /// Policies that no longer fit the environment's permissions decide nothing, and everything is refused.
    policies: Result<Policies, Vec<Fault>>,
}

/// Why something is allowed or denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because {
    /// A grant, or Signet's own table.
    Granted,
    /// A policy permits it.
    PolicyPermits,
    /// A policy forbids it, or fails.
    PolicyForbids,
    /// Nobody granted it.
    NotGranted,
    /// The target is another tenant's.
    ForeignTenant,
    /// There is no such permission.
    UnknownPermission,
    /// The tenant's policies cannot be evaluated at all.
    PoliciesUnusable,
}

impl Because {
    /// UPPER_SNAKE_CASE.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Granted => "GRANTED",
            Self::PolicyPermits => "POLICY_PERMITS",
            Self::PolicyForbids => "POLICY_FORBIDS",
            Self::NotGranted => "PERMISSION_MISSING",
            Self::ForeignTenant => "FOREIGN_TENANT",
            Self::UnknownPermission => "UNKNOWN_PERMISSION",
            Self::PoliciesUnusable => "POLICIES_UNUSABLE",
        }
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// Whether it may be done.
    pub allowed: bool,
    /// Why.
    pub because: Because,
    /// The grants or policies that decided, as [`Rulebook`] names them.
    pub decided_by: Vec<String>,
}

impl Ruling {
    fn new(allowed: bool, because: Because, decided_by: Vec<String>) -> Self {
        Self { allowed, because, decided_by }
    }
}

impl Rulebook {
    /// Of a tenant with the model `own`, if it has one, in an environment with its model.
    pub fn new(own: Option<Arc<AuthorizationModel>>, environment: Option<Arc<AuthorizationModel>>) -> Self {
        let rules = own.as_ref().map(|model| &model.rules);
        let policies = match rules {
            Some(rules) if !rules.policies.is_empty() => parse(rules, environment.as_ref().map(|model| &model.rules)),
            _ => Ok(Policies::default()),
        };
        Self { own, environment, policies }
    }

    /// The version of the tenant's model; 0: it has none.
    pub fn version(&self) -> u32 {
        self.own.as_ref().map_or(0, |model| model.version)
    }

    /// Whether `subject` may do `action` to `target`. `built_in`: whether Signet's own table gives it to `subject`.
    pub fn decide(
        &self,
        subject: &Subject<'_>,
        action: &str,
        target: &Target<'_>,
        context: &Context<'_>,
        built_in: bool,
    ) -> Ruling {
        if target.tenant() != subject.tenant {
            return Ruling::new(false, Because::ForeignTenant, Vec::new());
        }
        if !self.knows(action) {
            return Ruling::new(false, Because::UnknownPermission, Vec::new());
        }
        let Ok(policies) = &self.policies else {
            return Ruling::new(false, Because::PoliciesUnusable, Vec::new());
        };
        let grants = self.grants(subject, action, context);
        match policies.decide(subject, action, target, context) {
            Verdict::Forbidden(by) => Ruling::new(false, Because::PolicyForbids, by),
            _ if built_in || !grants.is_empty() => Ruling::new(true, Because::Granted, grants),
            Verdict::Permitted(by) => Ruling::new(true, Because::PolicyPermits, by),
            Verdict::Silent => Ruling::new(false, Because::NotGranted, Vec::new()),
        }
    }

    /// Whether the tenant has policies, so that a decision about Signet's own operations needs [`Self::decide`], too.
    pub fn has_policies(&self) -> bool {
        !matches!(&self.policies, Ok(policies) if policies.is_empty())
    }

    /// The permissions that grants give a principal now; `groups` may be unknown, since no grant of Signet's own
    /// permissions is for a group.
    pub fn granted<'a>(&'a self, subject: &'a Subject<'_>, now: Time) -> impl Iterator<Item = &'a str> {
        let grants = self.rules().flat_map(|rules| &rules.grants);
        let applies = move |grant: &&Grant| {
            grant.holds(now) && grant.is_for(subject.id, subject.principal_type, subject.roles, subject.groups)
        };
        grants.filter(applies).flat_map(|grant| &grant.permissions).map(String::as_str)
    }

    /// When the next grant ends.
    pub fn next_end(&self, now: Time) -> Option<Time> {
        let ends = self.rules().flat_map(|rules| &rules.grants).filter_map(|grant| grant.not_after);
        ends.filter(|end| *end > now).min()
    }

    /// Whether some decision may depend on groups.
    pub fn has_groups(&self) -> bool {
        self.rules().any(|rules| !rules.groups.is_empty())
    }

    fn knows(&self, action: &str) -> bool {
        self.rules().any(|rules| rules.permissions.contains_key(action)) || PERMISSIONS.contains(&action)
    }

    fn rules(&self) -> impl Iterator<Item = &Rules> {
        self.own.iter().chain(&self.environment).map(|model| &model.rules)
    }

    fn grants(&self, subject: &Subject<'_>, action: &str, context: &Context<'_>) -> Vec<String> {
        let grants = self.rules().flat_map(|rules| &rules.grants);
        let applies = |grant: &&Grant| {
            grant.permissions.contains(action)
                && grant.holds(context.now)
                && grant.is_for(subject.id, subject.principal_type, subject.roles, subject.groups)
        };
        grants.filter(applies).map(|grant| Named(&grant.to).to_string()).collect()
    }
}

/// Parses a tenant's policies with the permissions that it may name. The faults are in the order of the text.
pub fn parse(rules: &Rules, environment: Option<&Rules>) -> Result<Policies, Vec<Fault>> {
    Policies::new(&vocabulary(rules, environment)?, &rules.policies)
}

/// Everything that the policies of a tenant with these rules may name.
pub fn vocabulary(rules: &Rules, environment: Option<&Rules>) -> Result<Vocabulary, Vec<Fault>> {
    let inherited = environment.into_iter().flat_map(|rules| rules.permissions.keys());
    let own = rules.permissions.keys().chain(inherited).map(String::as_str);
    // What the environment declared later than the tenant is one permission.
    let own: std::collections::BTreeSet<_> = own.collect();
    Vocabulary::new(PERMISSIONS.iter().copied(), own).map_err(|error| vec![Fault::plain(error.to_string())])
}

/// What holds beside policies, for a proof: these rules' grants, and that admins administer.
pub fn baseline(rules: &Rules, environment: Option<&Rules>) -> Baseline {
    let mut grants: Vec<Granted> = PERMISSIONS
        .iter()
        .map(|permission| Granted {
            principal_type: signet_core::PrincipalType::Admin,
            only_in: None,
            permission: (*permission).to_owned(),
        })
        .collect();
    for grant in environment.into_iter().chain([rules]).flat_map(|rules| &rules.grants) {
        let (types, only_in) = match &grant.to {
            Grantee::Type(of) => (vec![*of], None),
            Grantee::Role(role) => (every_type(), Some(format!("Role::{}", quoted(role.as_str())))),
            Grantee::Group(group) => (every_type(), Some(format!("Group::{}", quoted(group.as_str())))),
            // One principal of any type: policies see no id of a type alone.
            Grantee::Principal(_) => continue,
        };
        for principal_type in types {
            let of = |permission: &String| Granted {
                principal_type,
                only_in: only_in.clone(),
                permission: permission.clone(),
            };
            grants.extend(grant.permissions.iter().map(of));
        }
    }
    let administer = ADMINISTER.iter().map(|permission| (*permission).to_owned()).collect();
    Baseline { grants, administer, undo: UNDO.to_owned() }
}

fn every_type() -> Vec<signet_core::PrincipalType> {
    signet_core::PrincipalType::ALL.to_vec()
}

/// A grantee, as people write it: `type:worker`.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a>(pub &'a Grantee);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Grantee::Type(of) => write!(f, "type:{of}"),
            Grantee::Role(role) => write!(f, "role:{role}"),
            Grantee::Group(group) => write!(f, "group:{group}"),
            Grantee::Principal(id) => write!(f, "principal:{id}"),
        }
    }
}
