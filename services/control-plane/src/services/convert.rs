//! Our types as the wire's.

use prost_types::Timestamp;
use signet_app::{IssuedLeaf, RuleTest};
use signet_core::{
    PrincipalId, PrincipalType, RuleId, TenantId, Time,
    audit::{AuditEvent, Seal, checkpoint::Checkpoint},
    authorities::{Ca, CaKind, CaState},
    authorization::Reach,
    certificates::{
        Certificate, CertificateState, RevocationReason,
        renewal::{Advice, AdviceReason, Steering},
    },
    enrollment::{
        EnrollmentToken,
        rule::{Condition, EnrollmentRule, Miss, Source},
    },
    principals::{Principal, PrincipalStatus},
    spiffe::SpiffeId,
    tenants::{
        Isolation, Tenant, TenantStatus,
        quota::{Quota, Quotas},
    },
    trust::Anchor,
};
use signet_proto::v1 as pb;

use super::entry;
use crate::node::Node;

pub(super) fn time(time: Time) -> Timestamp {
    let nanos = time.unix_millis().rem_euclid(1000).saturating_mul(1_000_000);
    Timestamp { seconds: time.unix_seconds(), nanos: i32::try_from(nanos).unwrap_or(0) }
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

pub(super) fn reach(reach: Reach) -> &'static str {
    match reach {
        Reach::Itself => "own",
        Reach::OwnTenant => "tenant",
        Reach::AnyTenant => "any",
    }
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

pub(super) fn tenant(node: &Node, tenant: &Tenant) -> pb::Tenant {
    let status = match tenant.status {
        TenantStatus::Active => pb::TenantStatus::Active,
        TenantStatus::Suspended => pb::TenantStatus::Suspended,
    };
    let isolation = match tenant.isolation {
        Isolation::Dedicated => pb::Isolation::Dedicated,
        Isolation::Shared => pb::Isolation::Shared,
    };
    let lifetimes = tenant.lifetimes.iter().map(|(of, lifetime)| pb::LifetimeOverride {
        principal_type: principal_type(*of),
        lifetime_seconds: lifetime.as_seconds(),
    });
    pb::Tenant {
        tenant_id: tenant.id.to_string(),
        display_name: tenant.display_name.clone(),
        status: status.into(),
        isolation: isolation.into(),
        lifetimes: lifetimes.collect(),
        max_certificates: tenant.max_certificates,
        trust_domain: node.trust_domain(&tenant.id),
        create_time: Some(time(tenant.created_at)),
        update_time: Some(time(tenant.updated_at)),
        renewal_grace_seconds: tenant.renewal_grace.as_seconds(),
        renewal_steering: tenant.renewal_steering.as_ref().map(steering),
        quotas: Some(quotas(&tenant.quotas)),
        quota_use: None,
    }
}

/// How much a tenant has.
pub(super) fn quota_use(used: &Quotas) -> pb::TenantQuotas {
    pb::TenantQuotas {
        principals: used.principals.unwrap_or(0),
        join_tokens: used.join_tokens.unwrap_or(0),
        enrollment_rules: used.enrollment_rules.unwrap_or(0),
        certificate_authorities: used.certificate_authorities.unwrap_or(0),
    }
}

/// What holds, defaults too.
fn quotas(quotas: &Quotas) -> pb::TenantQuotas {
    pb::TenantQuotas {
        principals: quotas.limit(Quota::Principals),
        join_tokens: quotas.limit(Quota::JoinTokens),
        enrollment_rules: quotas.limit(Quota::EnrollmentRules),
        certificate_authorities: quotas.limit(Quota::CertificateAuthorities),
    }
}

fn steering(steering: &Steering) -> pb::RenewalSteering {
    pb::RenewalSteering {
        issued_before: Some(time(steering.issued_before)),
        window_start: Some(time(steering.window.start)),
        window_end: Some(time(steering.window.end)),
    }
}

pub(super) fn renewal_info(advice: &Advice, now: Time, anchors: &[Anchor]) -> pb::RenewalInfo {
    let reason = match advice.reason {
        AdviceReason::Default => pb::RenewalReason::Default,
        AdviceReason::Steered => pb::RenewalReason::Steered,
        AdviceReason::CaRotation => pb::RenewalReason::CaRotation,
    };
    pb::RenewalInfo {
        window_start: Some(time(advice.window.start)),
        window_end: Some(time(advice.window.end)),
        reason: reason.into(),
        retry_after_seconds: advice.ask_again.as_seconds(),
        grace_seconds: advice.grace.as_seconds(),
        server_time: Some(time(now)),
        trust_anchor_der: anchors.iter().map(|anchor| anchor.certificate_der.to_vec()).collect(),
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
        principal_type: principal_type(principal.principal_type),
        status: status.into(),
        display_name: principal.display_name.clone(),
        roles: principal.roles.iter().map(ToString::to_string).collect(),
        groups: principal.groups.iter().map(ToString::to_string).collect(),
        generation: principal.generation,
        spiffe_id: spiffe_id(node, &principal.tenant, principal.principal_type, &principal.id),
        certificate_count: u32::try_from(live).unwrap_or(u32::MAX),
        create_time: Some(time(principal.created_at)),
        update_time: Some(time(principal.updated_at)),
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
        principal_type: principal_type(certificate.principal_type),
        issuer_id: certificate.issuer.to_string(),
        serial_number: certificate.serial.to_string(),
        state: state.into(),
        not_before: Some(time(certificate.not_before)),
        not_after: Some(time(certificate.not_after)),
        spki_sha256: certificate.spki_sha256.clone(),
        certificate_der: certificate.certificate_der.clone(),
        revoke_time: revoked.map(|(at, _)| time(at)),
        revocation_reason: revoked.map_or(0, |(_, reason)| revocation_reason(reason)),
        renews_serial_number: certificate.renews.as_ref().map(ToString::to_string).unwrap_or_default(),
        instance_serial_number: certificate.instance().to_string(),
        instance_generation: lineage.generation,
        successor_serial_number: lineage.successor.as_ref().map(|next| next.serial.to_string()).unwrap_or_default(),
        confirm_time: lineage.confirmed.map(|confirmed| time(confirmed.at)),
        lock_time: lineage.locked_at.map(time),
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

pub(super) fn issued(leaf: IssuedLeaf) -> pb::IssuedCertificate {
    pb::IssuedCertificate {
        certificate: Some(certificate(&leaf.certificate)),
        chain_der: leaf.chain_der,
        root_der: leaf.root_der,
        trust_anchor_der: leaf.trust_anchor_der,
    }
}

pub(super) fn token(token: &EnrollmentToken) -> pb::Token {
    let template = &token.template;
    pb::Token {
        tenant_id: token.tenant.to_string(),
        token_id: token.id.to_string(),
        principal_type: principal_type(template.principal_type),
        principal_id: template.id.as_ref().map(ToString::to_string).unwrap_or_default(),
        roles: template.roles.iter().map(ToString::to_string).collect(),
        uses_left: token.uses_left,
        create_time: Some(time(token.created_at)),
        expire_time: Some(time(token.not_after)),
        revoke_time: token.revoked_at.map(time),
        created_by: token.created_by.clone(),
        principal_id_pattern: token.id_pattern.clone().unwrap_or_default(),
        source_networks: token.source_networks.iter().map(ToString::to_string).collect(),
    }
}

pub(super) fn rule(rule: EnrollmentRule) -> pb::EnrollmentRule {
    use pb::enrollment_rule::Source as Wire;
    let source = match rule.source {
        Source::AwsIam => Wire::AwsIam(pb::AwsIamSource {}),
        Source::Oidc { issuer, audience } => Wire::Oidc(pb::OidcSource { issuer, audience }),
        Source::X509 { anchors_der } => Wire::X509(pb::X509Source { anchors_der }),
    };
    let condition = |Condition { fact, patterns }| pb::RuleCondition { fact, patterns };
    pb::EnrollmentRule {
        tenant_id: rule.tenant.to_string(),
        rule_id: rule.id.to_string(),
        source: Some(source),
        conditions: rule.conditions.into_iter().map(condition).collect(),
        principal_type: principal_type(rule.template.principal_type),
        id_template: rule.template.id,
        roles: rule.template.roles.iter().map(ToString::to_string).collect(),
        create_time: Some(time(rule.created_at)),
        created_by: rule.created_by,
    }
}

pub(super) fn rule_test(tested: RuleTest) -> pb::TestEnrollmentRulesResponse {
    let miss = |(rule, miss): (RuleId, Miss)| pb::RuleMiss {
        rule_id: rule.to_string(),
        reason: miss.reason.to_owned(),
        detail: miss.detail,
    };
    let (matched, id) = tested.granted.map_or((None, String::new()), |(granted, id)| (Some(granted), id.to_string()));
    pb::TestEnrollmentRulesResponse {
        matched: matched.map(rule),
        principal_id: id,
        missed: tested.missed.into_iter().map(miss).collect(),
    }
}

pub(super) fn ca(ca: &Ca) -> pb::CertificateAuthority {
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
        not_before: Some(time(ca.not_before)),
        not_after: Some(time(ca.not_after)),
        certificate_der: ca.certificate_der.clone(),
    }
}

pub(super) fn event(event: AuditEvent) -> pb::AuditEvent {
    pb::AuditEvent {
        tenant_id: event.tenant.to_string(),
        event_id: event.id,
        event_time: Some(time(event.at)),
        entry: entry::entry(&event.payload),
        payload_json: event.payload,
    }
}

pub(super) fn seal(seal: Seal) -> pb::AuditSeal {
    let statement = seal.statement;
    let late = statement.late.into_iter().map(|late| pb::LateEvent {
        minute: late.minute,
        event_id: late.id,
        leaf_sha256: late.leaf.to_vec(),
    });
    pb::AuditSeal {
        tenant_id: statement.tenant.to_string(),
        minute: statement.minute,
        count: statement.count,
        root_sha256: statement.root.to_vec(),
        late: late.collect(),
        previous_sha256: statement.previous.to_vec(),
        batch_index: seal.batch_index,
        batch_size: seal.batch_size,
        batch_path_sha256: seal.batch_path.iter().map(|digest| hex::decode(digest).unwrap_or_default()).collect(),
        signature_der: seal.signature,
    }
}

pub(super) fn checkpoint(checkpoint: Checkpoint) -> pb::AuditCheckpoint {
    pb::AuditCheckpoint {
        sequence: checkpoint.sequence,
        minute: checkpoint.minute,
        previous_sha256: checkpoint.previous.to_vec(),
        tags: checkpoint.tags,
        signature_der: checkpoint.signature,
    }
}
