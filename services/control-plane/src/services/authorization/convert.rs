//! Authorization models as the wire's.

use signet_app::ModelTest;
use signet_core::{
    TenantId,
    authorization::model::{AuthorizationModel, Grant, Grantee, Proved, Rules},
};
use signet_policy::Counterexample;
use signet_proto::v1::{self as pb, authorization_grant::To};

use crate::services::wire;

pub(super) fn model(model: AuthorizationModel) -> pb::AuthorizationModel {
    pb::AuthorizationModel { rules: Some(rules(model.rules.clone())), ..without_rules(model) }
}

/// For lists.
pub(super) fn without_rules(model: AuthorizationModel) -> pb::AuthorizationModel {
    pb::AuthorizationModel {
        tenant_id: model.tenant.to_string(),
        version: model.version,
        rules: None,
        note: model.note,
        proof: proof(model.proved).into(),
        set_by: model.set_by,
        set_time: Some(wire::time(model.set_at)),
        inherited: None,
    }
}

/// Of a tenant that has none.
pub(super) fn none(tenant: &TenantId) -> pb::AuthorizationModel {
    pb::AuthorizationModel {
        tenant_id: tenant.to_string(),
        rules: Some(pb::AuthorizationRules::default()),
        proof: pb::AuthorizationProof::NotNeeded.into(),
        ..Default::default()
    }
}

pub(super) fn test(test: ModelTest) -> pb::TestAuthorizationModelResponse {
    let invariants = test.invariants.into_iter().map(|shown| pb::AuthorizationInvariant {
        description: shown.invariant.describe().to_owned(),
        counterexample: shown.broken.map(example).unwrap_or_default(),
    });
    let differences = test.differences.into_iter().map(|difference| pb::AuthorizationDifference {
        widens: difference.widens,
        principal: difference.principal,
        action: difference.action,
        resource: difference.resource,
        example: example(difference.example),
    });
    pb::TestAuthorizationModelResponse {
        proof: proof(test.proved).into(),
        invariants: invariants.collect(),
        differences: differences.collect(),
        ..Default::default()
    }
}

fn example(example: Counterexample) -> String {
    if example.entities.is_empty() { example.request } else { format!("{}\n{}", example.request, example.entities) }
}

pub(super) fn rules(rules: Rules) -> pb::AuthorizationRules {
    let named = |described: std::collections::BTreeMap<signet_core::Role, String>| {
        described.into_iter().map(|(name, line)| (name.to_string(), line)).collect()
    };
    pb::AuthorizationRules {
        permissions: rules.permissions.into_iter().collect(),
        roles: named(rules.roles),
        groups: named(rules.groups),
        grants: rules.grants.into_iter().map(grant).collect(),
        policies: rules.policies,
    }
}

fn grant(grant: Grant) -> pb::AuthorizationGrant {
    let to = match grant.to {
        Grantee::Type(of) => To::PrincipalType(wire::principal_type(of)),
        Grantee::Role(role) => To::Role(role.to_string()),
        Grantee::Group(group) => To::Group(group.to_string()),
    };
    pb::AuthorizationGrant {
        to: Some(to),
        permissions: grant.permissions.into_iter().collect(),
        expire_time: grant.not_after.map(wire::time),
    }
}

const fn proof(proved: Proved) -> pb::AuthorizationProof {
    match proved {
        Proved::NotNeeded => pb::AuthorizationProof::NotNeeded,
        Proved::Proved => pb::AuthorizationProof::Proved,
        Proved::NotProved => pb::AuthorizationProof::NotProved,
        Proved::Refuted => pb::AuthorizationProof::Refuted,
    }
}
