//! Fields of requests as checked values. Every error names its field as the .proto does.

use std::collections::BTreeMap;

use prost_types::{FieldMask, Timestamp};
use signet_app::{App, AuditWindow, CreateRule, PageRequest, Proof, audit::events};
use signet_core::{
    CaId, Cidr, CidrError, Error, Lifetime, PrincipalId, PrincipalType, Role, Serial, TenantId, Time,
    certificates::renewal::{Steering, Window},
    enrollment::{
        attestation::{Evidence, Facts},
        rule::{Condition, RuleTemplate, Source},
    },
    tenants::quota::{Quota, Quotas},
};
use signet_proto::v1 as pb;

use super::choices;

/// Largest CSR, bytes: a P-256 request takes 300.
const MAX_CSR: usize = 16 * 1024;
/// Most facts in a test of rules.
const MAX_FACTS: usize = 100;
/// Longest text that could be a token.
const MAX_TOKEN: usize = 256;

pub(super) fn tenant_id(field: &'static str, text: &str) -> Result<TenantId, Error> {
    text.parse().map_err(Error::id(field))
}

pub(super) fn principal_id(field: &'static str, text: &str) -> Result<PrincipalId, Error> {
    text.parse().map_err(Error::id(field))
}

pub(super) fn ca_id(text: &str) -> Result<CaId, Error> {
    text.parse().map_err(Error::id("issuer_id"))
}

pub(super) fn serial(text: &str) -> Result<Serial, Error> {
    text.parse().map_err(Error::id("serial_number"))
}

pub(super) fn names(field: &'static str, texts: &[String]) -> Result<Vec<Role>, Error> {
    texts.iter().map(|text| text.parse().map_err(Error::id(field))).collect()
}

pub(super) fn page(size: u32, token: String) -> PageRequest {
    PageRequest { size, token }
}

pub(super) fn csr(csr_der: &[u8]) -> Result<&[u8], Error> {
    match csr_der.len() {
        0 => Err(Error::invalid("csr_der", "REQUIRED", "is required: a PKCS#10 request, DER")),
        length if length > MAX_CSR => Err(Error::invalid("csr_der", "TOO_LARGE", "must be at most 16384 bytes")),
        _ => Ok(csr_der),
    }
}

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
            signed_at: required("x509.sign_time", time("x509.sign_time", proof.sign_time.as_ref())?)?,
            signature: proof.signature,
        },
        None => return Err(Error::invalid("proof", "REQUIRED", "is required, e.g. a join token")),
    };
    Ok(Proof::Attested { tenant: tenant_id("tenant_id", tenant)?, evidence })
}

/// A rule that a caller wants; the tenant is the scope's.
pub(super) fn rule(rule: pb::EnrollmentRule) -> Result<CreateRule, Error> {
    use pb::enrollment_rule::Source as Wire;
    let source = match required("rule.source", rule.source)? {
        Wire::AwsIam(pb::AwsIamSource {}) => Source::AwsIam,
        Wire::Oidc(pb::OidcSource { issuer, audience }) => Source::Oidc { issuer, audience },
        Wire::X509(pb::X509Source { anchors_der }) => Source::X509 { anchors_der },
    };
    let condition = |pb::RuleCondition { fact, patterns }| Condition { fact, patterns };
    let template = RuleTemplate {
        principal_type: choices::principal_type("rule.principal_type", rule.principal_type)?,
        id: rule.id_template,
        roles: names("rule.roles", &rule.roles)?,
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

/// An instant, within the years that RFC 3339 can write.
pub(super) fn time(field: &'static str, timestamp: Option<&Timestamp>) -> Result<Option<Time>, Error> {
    let Some(Timestamp { seconds, nanos }) = timestamp else { return Ok(None) };
    let in_range = (0..=253_402_300_799).contains(seconds) && (0..1_000_000_000).contains(nanos);
    if !in_range {
        return Err(Error::invalid(field, "OUT_OF_RANGE", "must be an instant between 1970 and 9999"));
    }
    let millis = seconds.saturating_mul(1000).saturating_add(i64::from(*nanos / 1_000_000));
    Ok(Some(Time::from_unix_millis(millis)))
}

/// Where renewals are steered to; all of it is required.
pub(super) fn steering(steering: pb::RenewalSteering) -> Result<Steering, Error> {
    let instant = |field, timestamp: Option<Timestamp>| required(field, time(field, timestamp.as_ref())?);
    Ok(Steering {
        issued_before: instant("steering.issued_before", steering.issued_before)?,
        window: Window {
            start: instant("steering.window_start", steering.window_start)?,
            end: instant("steering.window_end", steering.window_end)?,
        },
    })
}

pub(super) fn window(
    app: &App,
    start: Option<&Timestamp>,
    end: Option<&Timestamp>,
    now: Time,
) -> Result<AuditWindow, Error> {
    events::audit_window(app, time("start_time", start)?, time("end_time", end)?, now)
}

/// The message that a request must hold.
pub(super) fn required<T>(field: &'static str, message: Option<T>) -> Result<T, Error> {
    message.ok_or_else(|| Error::invalid(field, "REQUIRED", "is required"))
}

/// Whether the mask names a field (AIP-134). It must name at least one, and only those in `known`.
pub(super) fn mask(mask: Option<FieldMask>, known: &[&str]) -> Result<impl Fn(&str) -> bool, Error> {
    let paths = mask.map(|mask| mask.paths).unwrap_or_default();
    if paths.is_empty() {
        let message = format!("must name what to change, of: {}", known.join(", "));
        return Err(Error::invalid("update_mask", "REQUIRED", message));
    }
    if let Some(path) = paths.iter().find(|path| !known.contains(&path.as_str())) {
        let path: String = path.chars().take(64).flat_map(char::escape_default).collect();
        let message = format!("{path:?} cannot be changed; only: {}", known.join(", "));
        return Err(Error::invalid("update_mask", "UNKNOWN_FIELD", message));
    }
    Ok(move |path: &str| paths.iter().any(|named| named == path))
}
