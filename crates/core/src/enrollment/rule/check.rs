//! What a rule must be before it is kept: small, and narrow enough that its maker can have meant it.

use super::{
    entity::{Condition, EnrollmentRule, Source},
    glob::is_open,
    template::IdTemplate,
};
use crate::{Error, enrollment::attestation::fact};

/// Most conditions of a rule.
pub const MAX_CONDITIONS: usize = 16;
/// Most patterns of a condition.
pub const MAX_PATTERNS: usize = 16;
/// Most bytes of a pattern.
pub const MAX_PATTERN: usize = 256;
/// Most bytes of all conditions of a rule together.
pub const MAX_CONDITIONS_BYTES: usize = 8 * 1024;
/// Most bytes of a fact's name.
pub const MAX_FACT: usize = 128;
/// Most bytes of an issuer or audience.
pub const MAX_NAME: usize = 255;
/// Most registered CAs of a rule.
pub const MAX_ANCHORS: usize = 4;
/// Most bytes of a registered CA's certificate.
pub const MAX_ANCHOR: usize = 8 * 1024;

/// GitHub's issuer for everybody's workflows.
const GITHUB: &str = "https://token.actions.githubusercontent.com";
/// Claims that say nothing about the caller (RFC 7519 section 4.1), or what the source says already.
const NOT_ABOUT_THE_CALLER: [&str; 6] = [fact::ISSUER, fact::AUDIENCE, fact::EXPIRES, "nbf", "iat", "jti"];

impl EnrollmentRule {
    /// Checks all but what takes a reader of certificates. `insecure_issuers`: issuers that the operator allows to be
    /// reached without TLS.
    pub fn check(&self, insecure_issuers: &[String]) -> Result<(), Error> {
        check_conditions(&self.conditions)?;
        let template = IdTemplate::parse(&self.template.id)
            .map_err(|rule| Error::invalid("rule.id_template", "INVALID_TEMPLATE", rule))?;
        match &self.source {
            Source::AwsIam => check_aws(&self.conditions, &template),
            Source::Oidc { issuer, audience } => {
                check_issuer(issuer, insecure_issuers)?;
                check_text("rule.oidc.audience", audience, MAX_NAME)?;
                check_oidc(issuer, &self.conditions)
            }
            Source::X509 { anchors_der } => check_x509(anchors_der, &template),
        }
    }
}

fn check_conditions(conditions: &[Condition]) -> Result<(), Error> {
    const FIELD: &str = "rule.conditions";
    let too_many = |message: &str| Err(Error::invalid(FIELD, "TOO_MANY", message));
    if conditions.len() > MAX_CONDITIONS {
        return too_many("must be at most 16");
    }
    for condition in conditions {
        check_text("rule.conditions.fact", &condition.fact, MAX_FACT)?;
        if condition.patterns.is_empty() || condition.patterns.len() > MAX_PATTERNS {
            return too_many("must have 1 to 16 patterns each");
        }
        for pattern in &condition.patterns {
            check_text("rule.conditions.patterns", pattern, MAX_PATTERN)?;
        }
    }
    let bytes = conditions.iter().flat_map(|c| c.patterns.iter().chain([&c.fact])).map(String::len);
    if bytes.sum::<usize>() > MAX_CONDITIONS_BYTES {
        return Err(Error::invalid(FIELD, "TOO_LARGE", "must have at most 8192 bytes together"));
    }
    Ok(())
}

fn check_text(field: &'static str, text: &str, most: usize) -> Result<(), Error> {
    if text.is_empty() || text.len() > most || text.chars().any(char::is_control) {
        let message = format!("must have 1 to {most} bytes and no control characters");
        return Err(Error::invalid(field, "INVALID_TEXT", message));
    }
    Ok(())
}

/// Anybody has an AWS account, so a rule names those it means. Roles are unique in an account and sessions in a role
/// (IAM user guide, "Unique identifiers"): what the id leaves out must be the same for all callers.
fn check_aws(conditions: &[Condition], template: &IdTemplate) -> Result<(), Error> {
    let holds = |name: &str, pins: &dyn Fn(&[String]) -> bool| {
        conditions.iter().any(|condition| condition.fact == name && pins(&condition.patterns))
    };
    let is_account = |text: &String| text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit());
    if !holds(fact::ACCOUNT, &|patterns| patterns.iter().all(is_account)) {
        let message = "must pin the fact account to one or more AWS accounts of 12 digits, without *";
        return Err(Error::invalid("rule.conditions", "TOO_WIDE", message));
    }
    let named = |name: &str| template.facts().any(|fact| fact == name);
    if template.is_constant() || named(fact::ARN) || named(fact::USER_ID) {
        return Ok(());
    }
    let told = |name: &str| named(name) || holds(name, &|patterns| matches!(patterns, [only] if !only.contains('*')));
    let ambiguous = |message: &str| Err(Error::invalid("rule.id_template", "AMBIGUOUS_ID", message));
    if !told(fact::ACCOUNT) {
        return ambiguous(
            "must contain {account}, since the rule admits several accounts: their callers would get the same id",
        );
    }
    if named(fact::SESSION) && !told(fact::ROLE) {
        return ambiguous(
            "must contain {role} with {session}, or a condition must pin role: sessions of two roles can have the same name",
        );
    }
    Ok(())
}

fn check_issuer(issuer: &str, insecure_issuers: &[String]) -> Result<(), Error> {
    const FIELD: &str = "rule.oidc.issuer";
    check_text(FIELD, issuer, MAX_NAME)?;
    let host = issuer.strip_prefix("https://").and_then(|rest| rest.split('/').next());
    let plain = !issuer.contains(['?', '#', ' ', '@']);
    if host.is_some_and(|host| !host.is_empty()) && plain || insecure_issuers.iter().any(|allowed| allowed == issuer) {
        return Ok(());
    }
    let message =
        "must be an https:// URL without query, as the tokens' iss has it (OpenID Connect Discovery 1.0 section 3)";
    Err(Error::invalid(FIELD, "INVALID_ISSUER", message))
}

/// An issuer speaks for more than one caller, and some for the whole world.
fn check_oidc(issuer: &str, conditions: &[Condition]) -> Result<(), Error> {
    let narrows = |condition: &Condition| {
        !NOT_ABOUT_THE_CALLER.contains(&condition.fact.as_str())
            && condition.patterns.iter().all(|pattern| !is_open(pattern))
            && (issuer != GITHUB
                || condition.patterns.iter().all(|pattern| names_github_owner(&condition.fact, pattern)))
    };
    if conditions.iter().any(narrows) {
        return Ok(());
    }
    let message = match issuer {
        GITHUB => "must pin the owner: GitHub signs for everybody; e.g. repository = acme/api or sub = repo:acme/*",
        _ => "must pin a claim that distinguishes callers, e.g. sub, not only with *",
    };
    Err(Error::invalid("rule.conditions", "TOO_WIDE", message))
}

/// Whether a pattern for a claim of GitHub's tokens leaves no choice of the owner.
fn names_github_owner(fact: &str, pattern: &str) -> bool {
    let owned = |text: &str| text.split_once('/').is_some_and(|(owner, _)| !owner.is_empty() && !owner.contains('*'));
    match fact {
        "repository_owner" | "repository_owner_id" | "repository_id" => !pattern.contains('*'),
        "repository" | "workflow_ref" | "job_workflow_ref" => owned(pattern),
        "sub" => pattern.strip_prefix("repo:").is_some_and(owned),
        _ => false,
    }
}

/// The CAs of one rule are those of one maker, who gives each of its devices a name of its own; serial numbers are
/// unique in a CA only (RFC 5280 section 4.1.2.2).
fn check_x509(anchors_der: &[Vec<u8>], template: &IdTemplate) -> Result<(), Error> {
    const FIELD: &str = "rule.x509.anchors_der";
    if anchors_der.is_empty() || anchors_der.len() > MAX_ANCHORS {
        return Err(Error::invalid(FIELD, "OUT_OF_RANGE", "must be 1 to 4 certificates"));
    }
    if anchors_der.iter().any(|der| der.len() > MAX_ANCHOR) {
        return Err(Error::invalid(FIELD, "TOO_LARGE", "must have at most 8192 bytes each"));
    }
    let named = |name: &str| template.facts().any(|fact| fact == name);
    if anchors_der.len() > 1 && named(fact::SERIAL) && !named(fact::COMMON_NAME) {
        let message = "must not use {serial} with several CAs, which can issue the same one; create a rule for each";
        return Err(Error::invalid("rule.id_template", "AMBIGUOUS_ID", message));
    }
    Ok(())
}
