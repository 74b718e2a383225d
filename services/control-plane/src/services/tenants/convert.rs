//! Tenants as the wire's.

use signet_core::{
    certificates::renewal::Steering,
    tenants::{
        FailureLimit, Isolation, Tenant,
        quota::{Quota, Quotas},
    },
};
use signet_proto::v1 as pb;

use crate::node::Node;
use crate::services::wire;

pub(super) fn tenant(node: &Node, tenant: &Tenant) -> pb::Tenant {
    let status = if tenant.is_active() { pb::TenantStatus::Active } else { pb::TenantStatus::Suspended };
    let deletion = tenant.deletion.as_ref();
    let isolation = match tenant.isolation {
        Isolation::Dedicated => pb::Isolation::Dedicated,
        Isolation::Shared => pb::Isolation::Shared,
    };
    let lifetimes = tenant.lifetimes.iter().map(|(of, lifetime)| pb::LifetimeOverride {
        principal_type: wire::principal_type(*of),
        lifetime_seconds: lifetime.as_seconds(),
    });
    let subjects = tenant.subjects.iter().map(|(of, form)| pb::SubjectOverride {
        principal_type: wire::principal_type(*of),
        organizational_unit: form.organizational_unit.clone().unwrap_or_default(),
        tenant_in_common_name: form.tenant_in_common_name,
    });
    pb::Tenant {
        tenant_id: tenant.id.to_string(),
        display_name: tenant.display_name.clone(),
        status: status.into(),
        isolation: isolation.into(),
        lifetimes: lifetimes.collect(),
        subjects: subjects.collect(),
        max_certificates: tenant.max_certificates,
        trust_domain: node.trust_domain(&tenant.id),
        create_time: Some(wire::time(tenant.created_at)),
        update_time: Some(wire::time(tenant.updated_at)),
        renewal_grace_seconds: tenant.renewal_grace.as_seconds(),
        renewal_steering: tenant.renewal_steering.as_ref().map(steering),
        quotas: Some(quotas(&tenant.quotas)),
        quota_use: None,
        delete_time: deletion.map(|deletion| wire::time(deletion.at)),
        expire_time: deletion.map(|deletion| wire::time(deletion.purge_at)),
        deletion_grace_seconds: node.app.deletion_grace().as_seconds(),
        failure_limit: Some(failure_limit(tenant.failure_limit.unwrap_or_default())),
        purge_time: tenant.purge().and_then(|purge| purge.done_at).map(wire::time),
    }
}

const fn failure_limit(limit: FailureLimit) -> pb::FailureLimit {
    pb::FailureLimit { failures: limit.failures, window_seconds: limit.window.as_seconds() }
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
        issued_before: Some(wire::time(steering.issued_before)),
        window_start: Some(wire::time(steering.window.start)),
        window_end: Some(wire::time(steering.window.end)),
    }
}
