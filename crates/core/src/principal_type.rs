//! The types of principals.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::id::IdError;

/// What kind of principal it is; decides what it may do (see [`crate::authorization`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrincipalType {
    /// Runs a tenant; in the system tenant, the environment.
    Admin,
    /// A person.
    User,
    /// A background process.
    Worker,
    /// A long-running service that others call.
    Service,
    /// A device in the field.
    Device,
}

impl PrincipalType {
    /// All types, in the order of their declaration.
    pub const ALL: [Self; 5] = [Self::Admin, Self::User, Self::Worker, Self::Service, Self::Device];

    /// The type's name, as it stands in URIs, certificates and commands.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::User => "user",
            Self::Worker => "worker",
            Self::Service => "service",
            Self::Device => "device",
        }
    }

    /// Whether it is a program, which may answer its peers' calls; everybody else only calls.
    pub const fn is_workload(self) -> bool {
        matches!(self, Self::Service | Self::Worker)
    }
}

impl fmt::Display for PrincipalType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for PrincipalType {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let rule = "must be admin, user, worker, service or device";
        Self::ALL.into_iter().find(|t| t.as_str() == text).ok_or(IdError { what: "principal type", rule })
    }
}
