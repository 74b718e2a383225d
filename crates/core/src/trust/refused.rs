//! What is refused of a tenant, for those who decide without asking.

use std::sync::Arc;

use crate::{PrincipalId, Role, Serial, Time};

/// What is refused of a tenant, or a part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// Revoked certificates.
    pub certificates: Vec<Serial>,
    /// Principals of whom something else holds than their certificates say.
    pub principals: Vec<PrincipalRuling>,
}

/// What holds of a principal, whatever its certificates say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrincipalRuling {
    /// Whom it is about.
    pub principal: PrincipalId,
    /// It is refused until then, when its last certificate has expired.
    pub denied_until: Option<Time>,
    /// Roles that hold instead of those in certificates, until every certificate with older ones has expired.
    pub roles: Option<(Arc<[Role]>, Time)>,
}

impl PrincipalRuling {
    /// What its certificates say holds.
    pub fn none(principal: &PrincipalId) -> Self {
        Self { principal: principal.clone(), denied_until: None, roles: None }
    }

    /// Whether something else holds than its certificates say.
    pub const fn says_something(&self) -> bool {
        self.denied_until.is_some() || self.roles.is_some()
    }
}
