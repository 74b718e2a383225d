//! A tenant's rules as a file that people write: TOML.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::Path,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use signet_core::PrincipalType;
use signet_proto::v1::{self, authorization_grant::To};

use crate::{
    failure::Failure,
    values::{self, Moment},
};

/// Rules that show all there is; AUTHORIZATION.md has them, too.
const SAMPLE: &str = include_str!("../../../authz.sample.toml");

/// See the module's words; `principal authz get` writes one.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    permissions: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    roles: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    groups: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    policies: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    grants: Vec<Grant>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Grant {
    /// `type:worker`, `role:dispatcher`, `group:fleet-a`.
    to: String,
    permissions: Vec<String>,
    /// RFC 3339, or a day: until it begins, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<Until>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(untagged)]
enum Until {
    Text(String),
    Toml(toml::value::Datetime),
}

impl fmt::Display for Until {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Toml(time) => time.fmt(f),
        }
    }
}

impl Document {
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).map_err(|error| Failure::file(path, &error))?;
        toml::from_str(&text).map_err(|error| {
            let hint = "`principal authz get` writes a file of this form";
            Failure::usage(format!("{}: {error}", path.display())).hint(hint)
        })
    }

    /// As TOML.
    pub(super) fn text(&self) -> Result<String, Failure> {
        toml::to_string_pretty(self).map_err(|error| Failure::other(error.to_string()))
    }

    pub(super) fn into_rules(self) -> Result<v1::AuthorizationRules, Failure> {
        Ok(v1::AuthorizationRules {
            permissions: self.permissions.into_iter().collect(),
            roles: self.roles.into_iter().collect(),
            groups: self.groups.into_iter().collect(),
            grants: self.grants.into_iter().map(grant).collect::<Result<_, _>>()?,
            policies: self.policies,
        })
    }
}

impl From<v1::AuthorizationRules> for Document {
    fn from(rules: v1::AuthorizationRules) -> Self {
        Self {
            permissions: rules.permissions.into_iter().collect(),
            roles: rules.roles.into_iter().collect(),
            groups: rules.groups.into_iter().collect(),
            policies: rules.policies,
            grants: rules.grants.into_iter().map(Grant::from).collect(),
        }
    }
}

impl From<v1::AuthorizationGrant> for Grant {
    fn from(grant: v1::AuthorizationGrant) -> Self {
        let until = grant.expire_time.map(|time| Until::Text(instant(&time).to_string()));
        Self { to: grantee(grant.to.as_ref()), permissions: grant.permissions, until }
    }
}

/// Rules to begin with: all of it comments, which say nothing.
pub(super) fn beginning() -> String {
    let head = "# There are no rules yet. Take the marks away from what you need, and change it:\n";
    format!("{head}{}", commented(SAMPLE))
}

/// Each line as a comment.
pub(super) fn commented(text: &str) -> String {
    text.lines().map(|line| format!("# {line}").trim_end().to_owned() + "\n").collect()
}

/// A grantee as the file has it.
fn grantee(to: Option<&To>) -> String {
    match to {
        Some(To::PrincipalType(of)) => format!("type:{}", type_name(*of)),
        Some(To::Role(role)) => format!("role:{role}"),
        Some(To::Group(group)) => format!("group:{group}"),
        None => String::new(),
    }
}

fn grant(grant: Grant) -> Result<v1::AuthorizationGrant, Failure> {
    let wrong = || {
        let types = PrincipalType::ALL.map(|of| of.to_string()).join(", ");
        let forms = format!("type:TYPE, role:NAME and group:NAME; the types are {types}");
        Failure::usage(format!("a grant is to {:?}, which is none of {forms}", grant.to))
    };
    let (what, name) = grant.to.split_once(':').ok_or_else(wrong)?;
    let to = match what {
        "type" => {
            let of: PrincipalType = name.parse().map_err(|_| wrong())?;
            To::PrincipalType(values::kind_to_proto(of).into())
        }
        "role" => To::Role(name.to_owned()),
        "group" => To::Group(name.to_owned()),
        _ => return Err(wrong()),
    };
    let end = |until: &Until| match values::moment(&until.to_string()) {
        Ok(Moment::At(time)) => Ok(values::to_proto(time)),
        _ => {
            let forms = "write a day, 2026-12-24 (it begins at midnight UTC), or 2026-12-24T18:00:00Z";
            Err(Failure::usage(format!("the grant to {} is until {until}: {forms}", grant.to)))
        }
    };
    let expire_time = grant.until.as_ref().map(end).transpose()?;
    // As the server keeps them, so that a file can be compared with what it made.
    let permissions = BTreeSet::from_iter(grant.permissions).into_iter().collect();
    Ok(v1::AuthorizationGrant { to: Some(to), permissions, expire_time })
}

/// As this program counts; what it cannot count never comes.
pub(super) fn instant(time: &prost_types::Timestamp) -> Timestamp {
    Timestamp::new(time.seconds, time.nanos).unwrap_or(Timestamp::MAX)
}

fn type_name(of: i32) -> String {
    let known = PrincipalType::ALL.into_iter().find(|known| i32::from(values::kind_to_proto(*known)) == of);
    known.map_or_else(|| of.to_string(), |known| known.to_string())
}
