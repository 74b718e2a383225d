//! Whom policies are about, as their first words say; what their conditions say of it is not looked at.

use cedar_policy::{Effect, EntityUid, PrincipalConstraint};
use signet_core::PrincipalType;

use crate::{Policies, vocabulary::type_of};

/// Whom a policy is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    /// Everybody.
    All,
    /// Principals of a type, or one of them.
    Type(PrincipalType),
    /// Who has a role.
    Role(String),
    /// Who is in a group.
    Group(String),
}

/// A policy about a permission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Its name.
    pub name: String,
    /// Whether it permits; otherwise it forbids.
    pub permits: bool,
    /// Whom.
    pub whom: Whom,
}

impl Policies {
    /// Whether a policy may take `action` from somebody who was granted it.
    pub fn may_forbid(&self, action: &str) -> bool {
        self.about(action).policies().any(|policy| policy.effect() == Effect::Forbid)
    }

    /// The policies that may apply to `action`, by name.
    pub fn policies_about(&self, action: &str) -> Vec<About> {
        let about = |policy: &cedar_policy::Policy| About {
            name: policy.id().to_string(),
            permits: policy.effect() == Effect::Permit,
            whom: whom(&policy.principal_constraint()),
        };
        let mut found: Vec<_> = self.about(action).policies().map(about).collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found
    }
}

fn whom(constraint: &PrincipalConstraint) -> Whom {
    match constraint {
        PrincipalConstraint::Any => Whom::All,
        PrincipalConstraint::Is(of) => by_type(&of.to_string()),
        PrincipalConstraint::Eq(one) => by_type(&one.type_name().to_string()),
        PrincipalConstraint::In(parent) | PrincipalConstraint::IsIn(_, parent) => in_parent(parent),
    }
}

fn by_type(name: &str) -> Whom {
    PrincipalType::ALL.into_iter().find(|of| type_of(*of) == name).map_or(Whom::All, Whom::Type)
}

fn in_parent(parent: &EntityUid) -> Whom {
    let name = parent.id().unescaped().to_owned();
    match parent.type_name().to_string().as_str() {
        "Role" => Whom::Role(name),
        "Group" => Whom::Group(name),
        // A principal is in itself alone.
        of => by_type(of),
    }
}
