//! Fields of requests about enrollment.

use std::collections::BTreeMap;

use signet_app::{CreateRule, Proof};
use signet_core::{
    Cidr, CidrError, Error,
    enrollment::{
        attestation::{Evidence, Facts},
        rule::{Condition, RuleTemplate, Source},
    },
};
use signet_proto::v1 as pb;

use crate::services::{choices, fields};

/// Most facts in a test of rules.
const MAX_FACTS: usize = 100;

/// Longest text that could be a token.
const MAX_TOKEN: usize = 256;

/// What speaks for a caller who enrolls.
pub(super) fn proof(proof: Option<pb::enroll_request::Proof>, tenant: &str) -> Result<Proof, Error> {
    use pb::enroll_request::Proof as Wire;
    let evidence = match proof {
        Some(Wire::JoinToken(token)) if token.len() <= MAX_TOKEN => return Ok(Proof::JoinToken(token.into())),
        Some(Wire::JoinToken(_)) => {
            return Err(Error::invalid("join_token", "TOO_LARGE", "is longer than any token"));
        }
        Some(Wire::AwsIam(proof)) => Evidence::AwsIam { url: proof.url, headers: proof.headers.into_iter().collect() },
        Some(Wire::OidcToken(token)) => Evidence::Oidc { token },
        Some(Wire::X509(proof)) => Evidence::X509 {
            chain_der: proof.chain_der,
            signed_at: fields::required("x509.sign_time", fields::time("x509.sign_time", proof.sign_time.as_ref())?)?,
            signature: proof.signature,
        },
        None => return Err(Error::invalid("proof", "REQUIRED", "is required, e.g. a join token")),
    };
    Ok(Proof::Attested { tenant: fields::tenant_id("tenant_id", tenant)?, evidence })
}

/// A rule that a caller wants; the tenant is the scope's.
pub(super) fn rule(rule: pb::EnrollmentRule) -> Result<CreateRule, Error> {
    use pb::enrollment_rule::Source as Wire;
    let source = match fields::required("rule.source", rule.source)? {
        Wire::AwsIam(pb::AwsIamSource {}) => Source::AwsIam,
        Wire::Oidc(pb::OidcSource { issuer, audience }) => Source::Oidc { issuer, audience },
        Wire::X509(pb::X509Source { anchors_der }) => Source::X509 { anchors_der },
    };
    let condition = |pb::RuleCondition { fact, patterns }| Condition { fact, patterns };
    let template = RuleTemplate {
        principal_type: choices::principal_type("rule.principal_type", rule.principal_type)?,
        id: rule.id_template,
        roles: fields::names("rule.roles", &rule.roles)?,
    };
    let id = rule.rule_id.parse().map_err(Error::id("rule.rule_id"))?;
    Ok(CreateRule { id, source, conditions: rule.conditions.into_iter().map(condition).collect(), template })
}

/// Facts to ask the rules about.
pub(super) fn facts(proof_kind: i32, facts: Vec<pb::Fact>) -> Result<Facts, Error> {
    let proof = choices::proof_kind(proof_kind)?;
    if facts.len() > MAX_FACTS {
        return Err(Error::invalid("facts", "TOO_MANY", "must be at most 100"));
    }
    let mut values = BTreeMap::new();
    for fact in facts {
        if values.insert(fact.name, fact.values).is_some() {
            return Err(Error::invalid("facts", "DUPLICATE", "names a fact twice; give it several values instead"));
        }
    }
    Ok(Facts { proof, values })
}

pub(super) fn networks(field: &'static str, texts: &[String]) -> Result<Vec<Cidr>, Error> {
    let bad = |error: CidrError| Error::invalid(field, "INVALID_NETWORK", error.to_string());
    texts.iter().map(|text| text.parse().map_err(bad)).collect()
}
