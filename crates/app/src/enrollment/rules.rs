//! Enrollment rules: create, list, delete, and ask what they would say.

use serde::Serialize;
use signet_core::{
    Error, PrincipalId, RuleId, TenantScope, Time,
    authorization::Permit,
    enrollment::{
        attestation::Facts,
        rule::{Condition, Decision, EnrollmentRule, Miss, RuleTemplate, Source, decide},
    },
    store::{Versioned, commit::Write},
    tenants::quota::Quota,
};
use signet_x509::foreign;

use crate::{
    App, AuditEntry, Call, Listing, PageRequest, Planned, call, ledger, paging, principals::checked_roles, reads,
};

/// A rule to be made.
#[derive(Clone, Debug, Serialize)]
pub struct CreateRule {
    /// New in its tenant.
    pub id: RuleId,
    /// Whom it believes.
    pub source: Source,
    /// All of them must hold.
    pub conditions: Vec<Condition>,
    /// What a caller becomes.
    pub template: RuleTemplate,
}

/// What a tenant's rules say about facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleTest {
    /// The rule that would let the caller in, and the id it would give.
    pub granted: Option<(EnrollmentRule, PrincipalId)>,
    /// The rules that were asked before, or all, each with its reason.
    pub missed: Vec<(RuleId, Miss)>,
}

/// Makes a rule. It must be narrow, see [`EnrollmentRule::check`].
pub async fn create_rule(
    app: &App,
    call: &Call,
    permit: &Permit,
    scope: &TenantScope,
    mut input: CreateRule,
) -> Result<EnrollmentRule, Error> {
    input.template.roles = checked_roles("rule.roles", input.template.roles)?;
    permit.may_manage(input.template.principal_type, &input.template.roles)?;
    let rule = new_rule(call, scope, input.clone());
    rule.check(&app.settings.private_issuers)?;
    check_anchors(&rule.source)?;
    let plan = || async {
        let owner = reads::require_active_tenant(app, scope, call.now).await?;
        let rules = reads::rules_of(app, scope.tenant(), call.now).await?;
        if rules.iter().any(|known| known.id == rule.id) {
            return Err(Error::AlreadyExists { resource: "enrollment rule", id: rule.id.to_string() });
        }
        owner.quotas.check(Quota::EnrollmentRules, &owner.id, rules.len() as u64)?;
        let entry = described(AuditEntry::done(call, "enrollment_rule", &rule.id), &rule);
        let commit = call::audited(app, call, scope.tenant(), &entry).write(Write::create(rule.clone()));
        Ok(Planned::Commit(Box::new(commit), rule.clone()))
    };
    let replay = |_| async { Ok(self::rule(app, scope, &rule.id, call.now).await?.value) };
    ledger::mutate(app, call, scope.tenant(), &input, plan, replay).await
}

/// Lists the tenant's rules in the order in which they are asked.
pub async fn list_rules(
    app: &App,
    call: &Call,
    scope: &TenantScope,
    page: &PageRequest,
) -> Result<Listing<EnrollmentRule>, Error> {
    let tenant = scope.tenant();
    let read = |query| async move { scope.page::<EnrollmentRule>(&*app.store, &query, call.now).await };
    let found = paging::list(page, &format!("rules/{tenant}"), 1, |_| reads::all_of(tenant), read).await?;
    reads::in_tenant(app, scope, found, call.now).await
}

/// Removes a rule. Certificates that it gave stay valid, and principals that it made stay.
pub async fn delete_rule(
    app: &App,
    call: &Call,
    permit: &Permit,
    scope: &TenantScope,
    id: &RuleId,
) -> Result<(), Error> {
    let plan = || async {
        let found = rule(app, scope, id, call.now).await?;
        permit.may_manage(found.value.template.principal_type, &found.value.template.roles)?;
        let entry = AuditEntry::done(call, "enrollment_rule", id);
        let key = EnrollmentRule::key_of(scope.tenant(), id);
        let commit = call::audited(app, call, scope.tenant(), &entry).write(Write::Delete(key, found.version));
        Ok(Planned::Commit(Box::new(commit), ()))
    };
    ledger::mutate(app, call, scope.tenant(), id, plan, |_| async { Ok(()) }).await
}

/// What the rules would say about a caller with these facts. Whether its id is free is not looked at.
pub async fn test_rules(app: &App, call: &Call, scope: &TenantScope, facts: &Facts) -> Result<RuleTest, Error> {
    let rules = reads::rules_of(app, scope.tenant(), call.now).await?;
    if rules.is_empty() {
        reads::require_tenant(app, scope, call.now).await?;
    }
    let Decision { granted, missed } = decide(&rules, facts);
    let granted = granted.map(|grant| (grant.rule.clone(), grant.id));
    Ok(RuleTest { granted, missed: missed.into_iter().map(|(rule, miss)| (rule.id.clone(), miss)).collect() })
}

async fn rule(app: &App, scope: &TenantScope, id: &RuleId, now: Time) -> Result<Versioned<EnrollmentRule>, Error> {
    let found = scope.get(&*app.store, &EnrollmentRule::key_of(scope.tenant(), id), now).await?;
    match found {
        Some(found) => Ok(found),
        None => Err(reads::missing(app, scope, "enrollment rule", id, now).await),
    }
}

fn new_rule(call: &Call, scope: &TenantScope, input: CreateRule) -> EnrollmentRule {
    let CreateRule { id, source, conditions, template } = input;
    let (tenant, created_by) = (scope.tenant().clone(), call.actor.to_string());
    EnrollmentRule { tenant, id, source, conditions, template, created_by, created_at: call.now }
}

fn check_anchors(source: &Source) -> Result<(), Error> {
    let Source::X509 { anchors_der } = source else { return Ok(()) };
    anchors_der.iter().try_for_each(|der| foreign::check_anchor(der)).map_err(|error| {
        Error::invalid("rule.x509.anchors_der", "NOT_A_CA", format!("must be certificates of CAs: {error}"))
    })
}

/// Everything that the rule says, for whoever asks later who was let in by what.
fn described(entry: AuditEntry, rule: &EnrollmentRule) -> AuditEntry {
    let template = &rule.template;
    let roles: Vec<&str> = template.roles.iter().map(|role| role.as_str()).collect();
    let conditions =
        rule.conditions.iter().map(|condition| format!("{}={}", condition.fact, condition.patterns.join("|")));
    let entry = entry
        .detail("proof", rule.source.kind())
        .detail("conditions", conditions.collect::<Vec<_>>().join("; "))
        .detail("principal_type", template.principal_type)
        .detail("id_template", &template.id)
        .detail("roles", roles.join(","));
    match &rule.source {
        Source::AwsIam => entry,
        Source::Oidc { issuer, audience } => entry.detail("issuer", issuer).detail("audience", audience),
        Source::X509 { .. } => entry.detail("anchors_sha256", rule.source.anchors_sha256().join(",")),
    }
}
