//! Fields of requests about authorization.

use std::collections::BTreeMap;

use signet_core::{
    Error, Role,
    authorization::model::{Grant, Grantee, Rules},
};
use signet_proto::v1::{self as pb, authorization_grant::To};

use crate::services::{choices, fields};

pub(super) fn rules(rules: Option<pb::AuthorizationRules>) -> Result<Rules, Error> {
    let rules = fields::required("rules", rules)?;
    Ok(Rules {
        permissions: rules.permissions.into_iter().collect(),
        roles: names("rules.roles", rules.roles)?,
        groups: names("rules.groups", rules.groups)?,
        grants: rules.grants.into_iter().map(grant).collect::<Result<_, _>>()?,
        policies: rules.policies,
    })
}

fn names(
    field: &'static str,
    described: impl IntoIterator<Item = (String, String)>,
) -> Result<BTreeMap<Role, String>, Error> {
    described.into_iter().map(|(name, line)| Ok((name.parse().map_err(Error::id(field))?, line))).collect()
}

fn grant(grant: pb::AuthorizationGrant) -> Result<Grant, Error> {
    let to = match fields::required("rules.grants.to", grant.to)? {
        To::PrincipalType(of) => Grantee::Type(choices::principal_type("rules.grants.principal_type", of)?),
        To::Role(role) => Grantee::Role(role.parse().map_err(Error::id("rules.grants.role"))?),
        To::Group(group) => Grantee::Group(group.parse().map_err(Error::id("rules.grants.group"))?),
    };
    let not_after = fields::time("rules.grants.expire_time", grant.expire_time.as_ref())?;
    Ok(Grant { to, permissions: grant.permissions.into_iter().collect(), not_after })
}
