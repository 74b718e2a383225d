//! CAs as the wire's.

use signet_core::authorities::{Ca, CaKind, CaState};
use signet_proto::v1 as pb;

use super::wire;

pub(super) fn certificate_authority(ca: &Ca) -> pb::CertificateAuthority {
    let kind = match ca.kind {
        CaKind::Root => pb::CaKind::Root,
        CaKind::Shared => pb::CaKind::Shared,
        CaKind::Server => pb::CaKind::Server,
        CaKind::Tenant => pb::CaKind::Tenant,
    };
    let state = match ca.state {
        CaState::Prepared => pb::CaState::Prepared,
        CaState::Active => pb::CaState::Active,
        CaState::Retiring => pb::CaState::Retiring,
        CaState::Retired => pb::CaState::Retired,
    };
    pb::CertificateAuthority {
        tenant_id: ca.tenant.to_string(),
        ca_id: ca.id.to_string(),
        kind: kind.into(),
        state: state.into(),
        key_ref: ca.key.to_string(),
        issuer_id: ca.issuer.to_string(),
        not_before: Some(wire::time(ca.not_before)),
        not_after: Some(wire::time(ca.not_after)),
        certificate_der: ca.certificate_der.clone(),
    }
}
