//! Fields of requests about tenants.

use std::collections::BTreeMap;

use prost_types::Timestamp;
use signet_core::{
    Error, Lifetime, PrincipalType,
    certificates::renewal::{Steering, Window},
    tenants::{
        FailureLimit, SubjectForm,
        quota::{Quota, Quotas},
    },
};
use signet_proto::v1 as pb;

use crate::services::{choices, fields};

pub(super) fn lifetimes(overrides: &[pb::LifetimeOverride]) -> Result<BTreeMap<PrincipalType, Lifetime>, Error> {
    let mut lifetimes = BTreeMap::new();
    for each in overrides {
        let principal_type = choices::principal_type("tenant.lifetimes.principal_type", each.principal_type)?;
        if lifetimes.insert(principal_type, Lifetime::seconds(each.lifetime_seconds)).is_some() {
            return Err(Error::invalid("tenant.lifetimes", "DUPLICATE", "names a principal type twice"));
        }
    }
    Ok(lifetimes)
}

pub(super) fn subjects(overrides: Vec<pb::SubjectOverride>) -> Result<BTreeMap<PrincipalType, SubjectForm>, Error> {
    let mut subjects = BTreeMap::new();
    for each in overrides {
        let principal_type = choices::principal_type("tenant.subjects.principal_type", each.principal_type)?;
        let form = SubjectForm {
            organizational_unit: Some(each.organizational_unit).filter(|unit| !unit.is_empty()),
            tenant_in_common_name: each.tenant_in_common_name,
        };
        if subjects.insert(principal_type, form).is_some() {
            return Err(Error::invalid("tenant.subjects", "DUPLICATE", "names a principal type twice"));
        }
    }
    Ok(subjects)
}

/// Those that a caller names; 0 goes back to the default.
pub(super) fn quotas(quotas: pb::TenantQuotas, named: impl Fn(Quota) -> bool) -> Quotas {
    let of = |quota, limit| named(quota).then_some(limit);
    Quotas {
        principals: of(Quota::Principals, quotas.principals),
        join_tokens: of(Quota::JoinTokens, quotas.join_tokens),
        enrollment_rules: of(Quota::EnrollmentRules, quotas.enrollment_rules),
        certificate_authorities: of(Quota::CertificateAuthorities, quotas.certificate_authorities),
    }
}

pub(super) fn failure_limit(limit: pb::FailureLimit) -> FailureLimit {
    FailureLimit { failures: limit.failures, window: Lifetime::seconds(limit.window_seconds) }
}

/// Where renewals are steered to; all of it is required.
pub(super) fn steering(steering: pb::RenewalSteering) -> Result<Steering, Error> {
    let instant =
        |field, timestamp: Option<Timestamp>| fields::required(field, fields::time(field, timestamp.as_ref())?);
    Ok(Steering {
        issued_before: instant("steering.issued_before", steering.issued_before)?,
        window: Window {
            start: instant("steering.window_start", steering.window_start)?,
            end: instant("steering.window_end", steering.window_end)?,
        },
    })
}
