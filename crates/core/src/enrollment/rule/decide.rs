//! Which rule lets a caller in.

use super::{
    entity::{Condition, EnrollmentRule, Miss, Source},
    glob::matches,
    template::IdTemplate,
};
use crate::{
    PrincipalId, TenantScope,
    enrollment::attestation::{Facts, ProofKind, fact},
};

/// Most of a value or pattern that is shown.
const SHOWN: usize = 120;

/// What the rules say about a caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision<'a> {
    /// The first rule that lets it in.
    pub granted: Option<Grant<'a>>,
    /// The rules before that one, or all, each with the reason.
    pub missed: Vec<(&'a EnrollmentRule, Miss)>,
}

/// What a rule gives a caller: the id; type and roles stand in its template. Only [`decide`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct Grant<'a> {
    pub rule: &'a EnrollmentRule,
    /// The id that its template gives.
    pub id: PrincipalId,
    /// Whether the rule names this one principal, so that whoever made the rule meant it and no other.
    pub is_named: bool,
}

impl Grant<'_> {
    /// The scope of a caller whose proof the rule accepts: that of the tenant which made the rule.
    pub fn scope(&self) -> TenantScope {
        TenantScope::granted(self.rule.tenant.clone(), None)
    }
}

/// Asks `rules` one after the other, in the order of their ids.
pub fn decide<'a>(rules: &'a [EnrollmentRule], facts: &Facts) -> Decision<'a> {
    let mut in_order: Vec<&EnrollmentRule> = rules.iter().collect();
    in_order.sort_by(|a, b| a.id.cmp(&b.id));
    let mut missed = Vec::new();
    for rule in in_order {
        match ask(rule, facts) {
            Ok(grant) => return Decision { granted: Some(grant), missed },
            Err(miss) => missed.push((rule, miss)),
        }
    }
    Decision { granted: None, missed }
}

fn ask<'a>(rule: &'a EnrollmentRule, facts: &Facts) -> Result<Grant<'a>, Miss> {
    speaks(&rule.source, facts)?;
    rule.conditions.iter().try_for_each(|condition| holds(condition, facts))?;
    let unusable = |problem: &str| Miss::new("ID_UNUSABLE", format!("the id template {problem}"));
    let template = IdTemplate::parse(&rule.template.id).map_err(unusable)?;
    Ok(Grant { rule, id: template.expand(facts)?, is_named: template.is_constant() })
}

/// Whether the facts come from whom the rule believes: the check of the evidence knew all rules' sources, this is
/// one's.
fn speaks(source: &Source, facts: &Facts) -> Result<(), Miss> {
    if source.kind() != facts.proof {
        return Err(Miss::new("OTHER_PROOF", format!("it requires {}, not {}", source.kind(), facts.proof)));
    }
    let has = |name: &str, wanted: &str| values(facts, name).iter().any(|value| value == wanted);
    let miss = |reason, name: &str, wanted: &str| {
        Err(Miss::new(reason, format!("{name} is {}, not {}", shown(values(facts, name)), cut(wanted))))
    };
    match source {
        Source::AwsIam => Ok(()),
        Source::Oidc { issuer, .. } if !has(fact::ISSUER, issuer) => miss("OTHER_ISSUER", fact::ISSUER, issuer),
        Source::Oidc { audience, .. } if !has(fact::AUDIENCE, audience) => {
            miss("OTHER_AUDIENCE", fact::AUDIENCE, audience)
        }
        Source::Oidc { .. } => Ok(()),
        Source::X509 { .. } => {
            let anchors = source.anchors_sha256();
            let known = anchors.iter().any(|anchor| has(fact::ANCHOR, anchor));
            if known { Ok(()) } else { miss("OTHER_ANCHOR", fact::ANCHOR, &anchors.join(" or ")) }
        }
    }
}

fn holds(condition: &Condition, facts: &Facts) -> Result<(), Miss> {
    let Condition { fact, patterns } = condition;
    let values = values(facts, fact);
    if values.is_empty() {
        return Err(Miss::new("FACT_MISSING", format!("the proof lacks the fact {}", cut(fact))));
    }
    if values.iter().any(|value| patterns.iter().any(|pattern| matches(pattern, value))) {
        return Ok(());
    }
    Err(Miss::new("FACT_DIFFERS", format!("{} is {}, not {}", cut(fact), shown(values), shown(patterns))))
}

fn values<'a>(facts: &'a Facts, name: &str) -> &'a [String] {
    facts.values.get(name).map_or(&[], Vec::as_slice)
}

fn shown(texts: &[String]) -> String {
    if texts.is_empty() { "missing".to_owned() } else { cut(&texts.join(" or ")) }
}

/// A text of callers for a message: short, on one line.
fn cut(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

impl Source {
    /// What kind of proof it is about.
    pub const fn kind(&self) -> ProofKind {
        match self {
            Self::AwsIam => ProofKind::AwsIam,
            Self::Oidc { .. } => ProofKind::Oidc,
            Self::X509 { .. } => ProofKind::X509,
        }
    }

    /// SHA-256 of each registered CA's certificate, hexadecimal.
    pub fn anchors_sha256(&self) -> Vec<String> {
        match self {
            Self::X509 { anchors_der } => anchors_der.iter().map(|der| crate::audit::sha256_hex(der)).collect(),
            Self::AwsIam | Self::Oidc { .. } => Vec::new(),
        }
    }
}
