//! Enrollment as the wire's.

use signet_app::RuleTest;
use signet_core::{
    RuleId,
    enrollment::{
        EnrollmentToken,
        rule::{Condition, EnrollmentRule, Miss, Source},
    },
};
use signet_proto::v1 as pb;

use crate::services::wire;

pub(super) fn token(token: &EnrollmentToken) -> pb::Token {
    let template = &token.template;
    pb::Token {
        tenant_id: token.tenant.to_string(),
        token_id: token.id.to_string(),
        principal_type: wire::principal_type(template.principal_type),
        principal_id: template.id.as_ref().map(ToString::to_string).unwrap_or_default(),
        roles: template.roles.iter().map(ToString::to_string).collect(),
        uses_left: token.uses_left,
        create_time: Some(wire::time(token.created_at)),
        expire_time: Some(wire::time(token.not_after)),
        revoke_time: token.revoked_at.map(wire::time),
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
        principal_type: wire::principal_type(rule.template.principal_type),
        id_template: rule.template.id,
        roles: rule.template.roles.iter().map(ToString::to_string).collect(),
        create_time: Some(wire::time(rule.created_at)),
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
