//! Certificates as the wire's.

use signet_app::IssuedLeaf;
use signet_core::{
    Time,
    certificates::{
        Certificate, CertificateState, RevocationReason,
        renewal::{Advice, AdviceReason},
    },
    trust::Anchor,
};
use signet_proto::v1 as pb;

use crate::services::wire;

pub(super) fn renewal_info(advice: &Advice, now: Time, anchors: &[Anchor]) -> pb::RenewalInfo {
    let reason = match advice.reason {
        AdviceReason::Default => pb::RenewalReason::Default,
        AdviceReason::Steered => pb::RenewalReason::Steered,
        AdviceReason::CaRotation => pb::RenewalReason::CaRotation,
    };
    pb::RenewalInfo {
        window_start: Some(wire::time(advice.window.start)),
        window_end: Some(wire::time(advice.window.end)),
        reason: reason.into(),
        retry_after_seconds: advice.ask_again.as_seconds(),
        grace_seconds: advice.grace.as_seconds(),
        server_time: Some(wire::time(now)),
        trust_anchor_der: anchors.iter().map(|anchor| anchor.certificate_der.to_vec()).collect(),
    }
}

pub(super) fn certificate(certificate: &Certificate) -> pb::Certificate {
    let (state, revoked) = match &certificate.state {
        CertificateState::Reserved => (pb::CertificateState::Reserved, None),
        CertificateState::Issued => (pb::CertificateState::Issued, None),
        CertificateState::Abandoned => (pb::CertificateState::Abandoned, None),
        CertificateState::Revoked { revoked_at, reason } => {
            (pb::CertificateState::Revoked, Some((*revoked_at, *reason)))
        }
    };
    let lineage = &certificate.lineage;
    pb::Certificate {
        tenant_id: certificate.tenant.to_string(),
        principal_id: certificate.principal.to_string(),
        principal_type: wire::principal_type(certificate.principal_type),
        issuer_id: certificate.issuer.to_string(),
        serial_number: certificate.serial.to_string(),
        state: state.into(),
        not_before: Some(wire::time(certificate.not_before)),
        not_after: Some(wire::time(certificate.not_after)),
        spki_sha256: certificate.spki_sha256.clone(),
        certificate_der: certificate.certificate_der.clone(),
        revoke_time: revoked.map(|(at, _)| wire::time(at)),
        revocation_reason: revoked.map_or(0, |(_, reason)| revocation_reason(reason)),
        renews_serial_number: certificate.renews.as_ref().map(ToString::to_string).unwrap_or_default(),
        instance_serial_number: certificate.instance().to_string(),
        instance_generation: lineage.generation,
        successor_serial_number: lineage.successor.as_ref().map(|next| next.serial.to_string()).unwrap_or_default(),
        confirm_time: lineage.confirmed.map(|confirmed| wire::time(confirmed.at)),
        lock_time: lineage.locked_at.map(wire::time),
    }
}

fn revocation_reason(reason: RevocationReason) -> i32 {
    let wire = match reason {
        RevocationReason::Unspecified => pb::RevocationReason::NotStated,
        RevocationReason::KeyCompromise => pb::RevocationReason::KeyCompromise,
        RevocationReason::AffiliationChanged => pb::RevocationReason::AffiliationChanged,
        RevocationReason::Superseded => pb::RevocationReason::Superseded,
        RevocationReason::CessationOfOperation => pb::RevocationReason::CessationOfOperation,
        RevocationReason::PrivilegeWithdrawn => pb::RevocationReason::PrivilegeWithdrawn,
    };
    wire.into()
}

pub(in crate::services) fn issued(leaf: IssuedLeaf) -> pb::IssuedCertificate {
    pb::IssuedCertificate {
        certificate: Some(certificate(&leaf.certificate)),
        chain_der: leaf.chain_der,
        root_der: leaf.root_der,
        trust_anchor_der: leaf.trust_anchor_der,
    }
}
