//! A tenant with a few permissions of its own.

use std::path::{Path, PathBuf};

use signet_core::{PrincipalId, PrincipalType, Role, TenantId, Time};
use signet_policy::{Context, Granted, Policies, Prover, ServiceResource, Subject, Target, Vocabulary};

pub(crate) const NOW: Time = Time::from_unix_seconds(1_800_000_000);

pub(crate) fn vocabulary() -> Vocabulary {
    Vocabulary::new(["jobs:submit", "jobs:dequeue", "connect"]).unwrap()
}

pub(crate) fn declared(_: &str, name: &str) -> bool {
    ["dispatcher", "fleet-a", "trusted"].contains(&name)
}

pub(crate) fn policies(text: &str) -> Policies {
    Policies::new(&vocabulary(), declared, text).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

pub(crate) fn baseline() -> Vec<Granted> {
    vec![Granted { principal_type: PrincipalType::Worker, only_in: None, permission: "jobs:dequeue".into() }]
}

/// Owns what a [`Subject`] borrows.
pub(crate) struct Who {
    pub(crate) tenant: TenantId,
    pub(crate) principal_type: PrincipalType,
    pub(crate) id: PrincipalId,
    pub(crate) roles: Vec<Role>,
    pub(crate) groups: Vec<Role>,
}

impl Who {
    pub(crate) fn new(principal_type: PrincipalType, id: &str) -> Self {
        let tenant = "acme".parse().unwrap();
        Self { tenant, principal_type, id: id.parse().unwrap(), roles: Vec::new(), groups: Vec::new() }
    }

    pub(crate) fn with_role(mut self, role: &str) -> Self {
        self.roles.push(role.parse().unwrap());
        self
    }

    pub(crate) fn in_group(mut self, group: &str) -> Self {
        self.groups.push(group.parse().unwrap());
        self
    }

    pub(crate) fn subject(&self) -> Subject<'_> {
        Subject {
            tenant: &self.tenant,
            principal_type: self.principal_type,
            id: &self.id,
            roles: &self.roles,
            groups: &self.groups,
        }
    }
}

pub(crate) fn queue<'a>(tenant: &'a TenantId, tags: &'a [(&'a str, &'a str)]) -> Target<'a> {
    Target::Resource(ServiceResource { tenant, kind: "queue", id: "default", owner: Some("ann"), tags })
}

pub(crate) fn now() -> Context<'static> {
    Context::at(NOW)
}

pub(crate) fn prover() -> Prover {
    Prover::new(judge("cvc5"))
}

/// A judge from the Python package index.
fn judge(name: &str) -> PathBuf {
    let folder = std::env::var_os("SIGNET_JUDGES")
        .unwrap_or_else(|| panic!("SIGNET_JUDGES is not set: export SIGNET_JUDGES=$(scripts/judges)"));
    Path::new(&folder).join(name)
}
