//! What several services answer with, as the wire's.

use prost_types::{Duration, Timestamp};
use signet_core::{PrincipalId, PrincipalType, TenantId, Time, spiffe::SpiffeId};
use signet_proto::v1 as pb;

use crate::node::Node;

pub(super) fn time(time: Time) -> Timestamp {
    let nanos = time.unix_millis().rem_euclid(1000).saturating_mul(1_000_000);
    Timestamp { seconds: time.unix_seconds(), nanos: i32::try_from(nanos).unwrap_or(0) }
}

pub(super) fn duration(millis: i64) -> Duration {
    let nanos = millis.rem_euclid(1000).saturating_mul(1_000_000);
    Duration { seconds: millis.div_euclid(1000), nanos: i32::try_from(nanos).unwrap_or(0) }
}

pub(super) fn principal_type(principal_type: PrincipalType) -> i32 {
    let wire = match principal_type {
        PrincipalType::Admin => pb::PrincipalType::Admin,
        PrincipalType::User => pb::PrincipalType::User,
        PrincipalType::Worker => pb::PrincipalType::Worker,
        PrincipalType::Service => pb::PrincipalType::Service,
        PrincipalType::Device => pb::PrincipalType::Device,
    };
    wire.into()
}

pub(super) fn spiffe_id(
    node: &Node,
    tenant: &TenantId,
    principal_type: PrincipalType,
    principal: &PrincipalId,
) -> String {
    let id = SpiffeId { tenant: tenant.clone(), principal_type, principal: principal.clone() };
    id.uri(node.app.environment().suffix())
}
