//! Principals as the wire's.

use signet_core::{
    Time,
    authorization::Reach,
    principals::{Principal, PrincipalStatus},
};
use signet_proto::v1 as pb;

use crate::node::Node;
use crate::services::wire;

pub(super) fn reach(reach: Reach) -> &'static str {
    match reach {
        Reach::Itself => "own",
        Reach::OwnTenant => "tenant",
        Reach::AnyTenant => "any",
    }
}

pub(super) fn principal(node: &Node, principal: &Principal, now: Time) -> pb::Principal {
    let status = match principal.status {
        PrincipalStatus::Active => pb::PrincipalStatus::Active,
        PrincipalStatus::Suspended => pb::PrincipalStatus::Suspended,
        PrincipalStatus::Deleted => pb::PrincipalStatus::Deleted,
    };
    let live = principal.certificates.iter().filter(|held| held.not_after > now).count();
    pb::Principal {
        tenant_id: principal.tenant.to_string(),
        principal_id: principal.id.to_string(),
        principal_type: wire::principal_type(principal.principal_type),
        status: status.into(),
        display_name: principal.display_name.clone(),
        roles: principal.roles.iter().map(ToString::to_string).collect(),
        groups: principal.groups.iter().map(ToString::to_string).collect(),
        generation: principal.generation,
        spiffe_id: wire::spiffe_id(node, &principal.tenant, principal.principal_type, &principal.id),
        certificate_count: u32::try_from(live).unwrap_or(u32::MAX),
        create_time: Some(wire::time(principal.created_at)),
        update_time: Some(wire::time(principal.updated_at)),
    }
}
