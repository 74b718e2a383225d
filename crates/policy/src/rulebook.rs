//! A tenant's rules beside the environment's, ready to decide.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, OnceLock},
};

use signet_core::{
    PrincipalType, Role, Time,
    authorization::{
        PERMISSIONS,
        model::{AuthorizationModel, BUILT_IN_ROLES, Grant, Grantee, Rules, grantable_to},
    },
};

use crate::{Context, Fault, Granted, Policies, Subject, Target, Verdict, Vocabulary, vocabulary::quoted};

/// What holds in a tenant: its model and the environment's.
#[derive(Debug)]
pub struct Rulebook {
    own: Option<Arc<AuthorizationModel>>,
    environment: Option<Arc<AuthorizationModel>>,
    /// Without them everything is refused that they might forbid.
    policies: OnceLock<Result<Policies, Vec<Fault>>>,
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
    /// Of a tenant with the model `own`, if it has one, in an environment with its model. Policies are parsed when they
    /// are first asked, since grants need none.
    pub fn new(own: Option<Arc<AuthorizationModel>>, environment: Option<Arc<AuthorizationModel>>) -> Self {
        Self { own, environment, policies: OnceLock::new() }
    }

    fn policies(&self) -> &Result<Policies, Vec<Fault>> {
        self.policies.get_or_init(|| match &self.own {
            Some(model) if !model.rules.policies.is_empty() => Policies::validated_before(&model.rules.policies),
            _ => Ok(Policies::default()),
        })
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
        let grants = self.grants(subject, action, context);
        // Signet's own permissions are its table's, and grants': policies do not name them.
        if PERMISSIONS.contains(&action) {
            let allowed = built_in || !grants.is_empty();
            return Ruling::new(allowed, if allowed { Because::Granted } else { Because::NotGranted }, grants);
        }
        let Ok(policies) = self.policies() else {
            return Ruling::new(false, Because::PoliciesUnusable, Vec::new());
        };
        match policies.decide(subject, action, target, context) {
            Verdict::Forbidden(by) => Ruling::new(false, Because::PolicyForbids, by),
            _ if !grants.is_empty() => Ruling::new(true, Because::Granted, grants),
            Verdict::Permitted(by) => Ruling::new(true, Because::PolicyPermits, by),
            Verdict::Silent => Ruling::new(false, Because::NotGranted, Vec::new()),
        }
    }

    /// The permissions that grants give a principal now; `groups` may be unknown, since no grant of Signet's own
    /// permissions is for a group.
    pub fn granted<'a>(&'a self, subject: &'a Subject<'_>, now: Time) -> impl Iterator<Item = &'a str> {
        let grants = self.rules().flat_map(|rules| &rules.grants);
        let applies = move |grant: &&Grant| {
            grant.holds(now) && grant.is_for(subject.principal_type, subject.roles, subject.groups)
        };
        let granted = grants.filter(applies).flat_map(|grant| &grant.permissions).map(String::as_str);
        granted.filter(|permission| may_use(subject, permission))
    }

    /// To which types and roles grants give `action` now, and whether that is all there is to it: a policy may take it
    /// away again. Groups are not told of.
    pub fn granted_to(&self, action: &str, now: Time) -> (BTreeSet<&Grantee>, bool) {
        let grants = self.rules().flat_map(|rules| &rules.grants);
        let gives = |grant: &&Grant| grant.permissions.contains(action) && grant.holds(now);
        let to = grants.filter(gives).map(|grant| &grant.to).filter(|to| !matches!(to, Grantee::Group(_)));
        let is_all = self.policies().as_ref().is_ok_and(|policies| !policies.may_forbid(action));
        (to.collect(), is_all)
    }

    /// When the next grant ends.
    pub fn next_end(&self, now: Time) -> Option<Time> {
        let ends = self.rules().flat_map(|rules| &rules.grants).filter_map(|grant| grant.not_after);
        ends.filter(|end| *end > now).min()
    }

    /// When time alone may turn a decision of now: at once where policies read it, else when the next grant ends;
    /// `None`: never.
    pub fn changes_at(&self, now: Time) -> Option<Time> {
        let reads_time = self.policies().as_ref().is_ok_and(Policies::read_time);
        if reads_time { Some(now) } else { self.next_end(now) }
    }

    /// Whether some decision may depend on groups.
    pub fn has_groups(&self) -> bool {
        let has_policies = self.own.as_ref().is_some_and(|model| !model.rules.policies.is_empty());
        has_policies || self.rules().any(|rules| !rules.groups.is_empty())
    }

    /// The permissions that the tenant and the environment have declared; one may be there twice.
    pub fn permissions(&self) -> impl Iterator<Item = &str> {
        self.rules().flat_map(|rules| rules.permissions.keys()).map(String::as_str)
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
                && may_use(subject, action)
                && grant.holds(context.now)
                && grant.is_for(subject.principal_type, subject.roles, subject.groups)
        };
        grants.filter(applies).map(|grant| Named(&grant.to).to_string()).collect()
    }
}

/// Whether a grant of the permission is of use to the subject: Signet's own RPCs are not for every type.
fn may_use(subject: &Subject<'_>, permission: &str) -> bool {
    !PERMISSIONS.contains(&permission) || grantable_to(permission).contains(&subject.principal_type)
}

/// Parses and validates a tenant's policies with the words that it may use. The faults are in the order of the text.
pub fn parse(rules: &Rules, environment: Option<&Rules>) -> Result<Policies, Vec<Fault>> {
    let declared = |of: &str, name: &str| {
        let Ok(name) = name.parse::<Role>() else { return false };
        let mut all = environment.into_iter().chain([rules]);
        match of {
            "Role" => BUILT_IN_ROLES.contains(&name.as_str()) || all.any(|rules| rules.roles.contains_key(&name)),
            _ => all.any(|rules| rules.groups.contains_key(&name)),
        }
    };
    let vocabulary = vocabulary([rules], environment)?;
    Policies::new(&vocabulary, declared, &rules.policies)
}

/// Everything that the policies of a tenant with these rules may name.
pub fn vocabulary<'a>(
    rules: impl IntoIterator<Item = &'a Rules>,
    environment: Option<&'a Rules>,
) -> Result<Vocabulary, Vec<Fault>> {
    let all = rules.into_iter().chain(environment).flat_map(|rules| rules.permissions.keys());
    // What the environment declared later than the tenant is one permission.
    let all: BTreeSet<&str> = all.map(String::as_str).collect();
    Vocabulary::new(all).map_err(|error| vec![Fault::plain(error.to_string())])
}

/// What holds beside policies, for a proof: these rules' grants.
pub fn baseline(rules: &Rules, environment: Option<&Rules>) -> Vec<Granted> {
    let mut granted = Vec::new();
    for grant in environment.into_iter().chain([rules]).flat_map(|rules| &rules.grants) {
        let (types, only_in) = match &grant.to {
            Grantee::Type(of) => (vec![*of], None),
            Grantee::Role(role) => (every_type(), Some(format!("in Role::{}", quoted(role.as_str())))),
            Grantee::Group(group) => (every_type(), Some(format!("in Group::{}", quoted(group.as_str())))),
        };
        for principal_type in types {
            let own = grant.permissions.iter().filter(|permission| !PERMISSIONS.contains(&permission.as_str()));
            granted.extend(own.map(|permission| Granted {
                principal_type,
                only_in: only_in.clone(),
                permission: permission.clone(),
            }));
        }
    }
    granted
}

fn every_type() -> Vec<PrincipalType> {
    PrincipalType::ALL.to_vec()
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
        }
    }
}
