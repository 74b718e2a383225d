//! Proofs that a tenant's rules accept: STS, OIDC issuers and registered CAs speak for the caller.

use std::sync::Arc;

use signet_core::{
    Error, Lifetime, PrincipalId, TenantId, TenantScope, Time,
    enrollment::{
        UsedProof,
        attestation::{AttestationError, Challenge, Evidence, Facts, fact},
        rule::{Decision, EnrollmentRule, Grant, decide},
    },
    principals::Principal,
    store::{
        commit::Write,
        scope::{Books, ClaimScope},
    },
    tenants::Tenant,
};
use signet_x509::Csr;

use crate::{
    App, AuditEntry, Call, IssuedLeaf, call,
    certificates::{
        issuance,
        order::{self, Admission, Order, key_digest},
        release,
    },
    enrollment::admitting::{self, Known, fits, refused, turn_if_new},
    ledger::fingerprint,
    reads::{self, require_active},
    tenants::quotas::CountTurn,
};

/// How long after a token's expiry its use is remembered: longer than any clock leeway of the check.
const AFTER_EXPIRY: Lifetime = Lifetime::minutes(10);
/// Most bytes of facts, or of rules' answers, in an audit event.
const MOST_TOLD: usize = 2048;

/// Who presents evidence, and with which key.
pub(super) struct Presented<'a> {
    pub(super) call: &'a Call,
    pub(super) tenant: &'a TenantId,
    pub(super) evidence: &'a Evidence,
    /// SHA-256 of the public key that the evidence is to serve, hexadecimal.
    pub(super) key_sha256: String,
}

/// A request for a certificate by evidence.
struct Request<'a> {
    presented: Presented<'a>,
    wanted: Option<&'a PrincipalId>,
    csr: &'a Csr,
}

pub(super) async fn enroll_by_rule(
    app: &Arc<App>,
    call: &Call,
    tenant: &TenantId,
    evidence: &Evidence,
    wanted: Option<&PrincipalId>,
    csr: &Csr,
) -> Result<IssuedLeaf, Error> {
    admitting::check_guesses(app, call, tenant)?;
    let mut known: Known = vec![("proof", evidence.kind().to_string())];
    // Nobody has a right to anything here yet; what is read decides whether somebody gets one.
    let key = Tenant::key_of(tenant);
    let Some(found) = ClaimScope::of(tenant).get::<Tenant>(&*app.store, &key, call.now).await? else {
        known.push(("wanted_tenant", tenant.to_string()));
        return admitting::refuse_proof(app, call, &TenantId::system(), refused("UNKNOWN_TENANT"), known).await;
    };
    let presented = Presented { call, tenant, evidence, key_sha256: key_digest(csr) };
    let request = Request { presented, wanted, csr };
    match believe(app, &request, &found.value, &mut known).await {
        Ok(leaf) => Ok(leaf),
        Err(error) => admitting::refuse_proof(app, call, tenant, error, known).await,
    }
}

/// Checks, decides and issues; `known` collects what a refusal can tell the tenant.
async fn believe(app: &App, request: &Request<'_>, tenant: &Tenant, known: &mut Known) -> Result<IssuedLeaf, Error> {
    order::require_served(app, &tenant.id)?;
    require_active(tenant)?;
    let rules = reads::rules_of(app, &tenant.id, request.presented.call.now).await?;
    let (facts, grant) = granted(app, &request.presented, &rules, known).await?;
    if request.wanted.is_some_and(|wanted| *wanted != grant.id) {
        return Err(refused("OTHER_PRINCIPAL"));
    }
    issue_granted(app, request, &grant, &facts).await
}

/// What the evidence proves, and whom a rule makes of that.
pub(super) async fn granted<'a>(
    app: &App,
    presented: &Presented<'_>,
    rules: &'a [EnrollmentRule],
    known: &mut Known,
) -> Result<(Facts, Grant<'a>), Error> {
    let facts = attest(app, presented, rules, known).await?;
    known.push(("facts", told(facts.values.iter().map(|(name, values)| format!("{name}={}", values.join("|"))))));
    let Decision { granted, missed } = decide(rules, &facts);
    let Some(grant) = granted else {
        known.push(("rules", told(missed.iter().map(|(rule, miss)| format!("{}: {miss}", rule.id)))));
        return Err(refused("NO_RULE_MATCHES"));
    };
    known.extend([("rule", grant.rule.id.to_string()), ("principal", grant.id.to_string())]);
    Ok((facts, grant))
}

async fn attest(
    app: &App,
    request: &Presented<'_>,
    rules: &[EnrollmentRule],
    known: &mut Known,
) -> Result<Facts, Error> {
    let sources: Vec<_> = rules.iter().map(|rule| rule.source.clone()).collect();
    let challenge = Challenge {
        server_id: app.environment.suffix().as_str(),
        tenant: request.tenant,
        key_sha256: &request.key_sha256,
        sources: &sources,
        caller: request.call.source,
        now: request.call.now,
    };
    app.attestor.attest(request.evidence, &challenge).await.map_err(|error| match error {
        AttestationError::Refused { reason, detail } => {
            known.push(("detail", detail));
            refused(reason)
        }
        AttestationError::Unavailable { what, cause } => {
            // Somebody was asked for this caller and did not vouch: who makes others wait, waits in the end.
            app.throttle.unvouched(request.call.source, request.call.now);
            Error::Unavailable { what, cause }
        }
        AttestationError::Busy { what } => {
            Error::Unavailable { what, cause: "too many proofs are waiting for it".to_owned() }
        }
    })
}

/// A repetition is known by whom the caller becomes and by its key: its evidence may have been made anew.
async fn issue_granted(
    app: &App,
    request: &Request<'_>,
    grant: &Grant<'_>,
    facts: &Facts,
) -> Result<IssuedLeaf, Error> {
    let Request { presented: Presented { call, tenant, evidence, key_sha256 }, csr, .. } = request;
    let used = use_of(evidence, facts, tenant, key_sha256)?;
    let scope = grant.scope();
    let fingerprint = fingerprint(call, &(evidence.kind(), &grant.id, key_sha256))?;
    let order = Order { call, scope: &scope, csr, fingerprint, renews: None };
    let begun = {
        // Callers who become the same principal queue here instead of meeting in the store.
        let _turn = app.turns.take(format!("{tenant}/{}", grant.id)).await;
        let turn = turn_if_new(app, &scope, Some(&grant.id), call.now).await?;
        issuance::begin(app, &order, || admit_granted(app, call, &scope, grant, facts, (&used, turn.as_ref()))).await?
    };
    release::conclude(app, &order, begun).await
}

/// The principal that the caller becomes, and what must be written for it.
async fn admit_granted(
    app: &App,
    call: &Call,
    scope: &TenantScope,
    grant: &Grant<'_>,
    facts: &Facts,
    (used, turn): (&[UsedProof], Option<&CountTurn<'_>>),
) -> Result<Admission, Error> {
    let newly_used = newly_used(app, call, used).await?;
    let found = reads::find_principal(app, scope, &grant.id, call.now).await?;
    if let Some(found) = &found {
        may_take(grant, &found.value)?;
    }
    let created = found.is_none();
    let template = &grant.rule.template;
    let new = (grant.id.clone(), template.principal_type, template.roles.as_slice());
    let mut principal = admitting::enrolled(call, scope, found, new)?;
    if created {
        principal.value.enrolled_by = Some(grant.rule.id.clone());
    }
    let entry = AuditEntry::done(call, "enrollment_rule", &grant.rule.id)
        .detail("proof", facts.proof)
        .detail("caller", caller(facts))
        .detail("principal", &principal.value.id)
        .detail("principal_created", created);
    // A restore finds here what was used.
    let entry = used.first().into_iter().fold(entry, |entry, used| {
        entry.detail("proof_sha256", &used.bearer_sha256).detail("spki_sha256", &used.spki_sha256)
    });
    let commit = call::audited(app, call, scope.tenant(), &entry).writes(newly_used);
    admitting::admission(app, call, scope, principal, created, turn, commit).await
}

/// What must be written so that nobody else uses the proofs.
pub(super) async fn newly_used(app: &App, call: &Call, used: &[UsedProof]) -> Result<Vec<Write>, Error> {
    let mut newly_used = Vec::new();
    for used in used {
        if !was_used(app, call, used).await? {
            newly_used.push(Write::create(used.clone()));
        }
    }
    Ok(newly_used)
}

/// Whether the bearer proof was used before. For the same key it may be used again: whoever stole it lacks the key.
async fn was_used(app: &App, call: &Call, used: &UsedProof) -> Result<bool, Error> {
    let key = UsedProof::key_of(&used.tenant, &used.bearer_sha256);
    match Books.get::<UsedProof>(&*app.store, &key, call.now).await? {
        None => Ok(false),
        Some(before) if before.value.spki_sha256 == used.spki_sha256 => Ok(true),
        Some(_) => Err(refused("PROOF_REPLAYED")),
    }
}

/// What must be remembered so that a bearer proof serves one key only, in whatever tenant: a record of the
/// environment's, and one of the tenant's, which nodes of earlier versions look for. None for a proof that is bound to
/// a key.
pub(super) fn use_of(
    evidence: &Evidence,
    facts: &Facts,
    tenant: &TenantId,
    key_sha256: &str,
) -> Result<Vec<UsedProof>, Error> {
    let Some(bearer_sha256) = evidence.bearer_sha256() else { return Ok(Vec::new()) };
    let expiry = facts.values.get(fact::EXPIRES).and_then(|values| values.first()).and_then(|text| text.parse().ok());
    // Without an end, its use would have to be remembered for ever.
    let expiry = expiry.map(Time::from_unix_seconds).ok_or_else(|| refused("OIDC_CLAIM_MISSING"))?;
    let used = |tenant| {
        let (bearer_sha256, spki_sha256) = (bearer_sha256.clone(), key_sha256.to_owned());
        UsedProof { tenant, bearer_sha256, spki_sha256, until: expiry.plus(AFTER_EXPIRY) }
    };
    let own = (!tenant.is_system()).then(|| tenant.clone());
    Ok([TenantId::system()].into_iter().chain(own).map(used).collect())
}

/// Whether the rule may speak for a principal that exists. Callers choose some of their facts, e.g. a session's name,
/// so an id made of facts opens only what the rule itself made; one that the rule's maker wrote down was meant.
pub(super) fn may_take(grant: &Grant<'_>, principal: &Principal) -> Result<(), Error> {
    if !grant.is_named && principal.enrolled_by.as_ref() != Some(&grant.rule.id) {
        return Err(refused("PRINCIPAL_EXISTS"));
    }
    fits(principal, grant.rule.template.principal_type, &grant.rule.template.roles)
}

/// Who was let in, as its own world names it.
pub(super) fn caller(facts: &Facts) -> String {
    let names = [fact::ARN, fact::ISSUER, "sub", fact::ANCHOR, fact::COMMON_NAME, fact::SERIAL];
    let named = names.iter().filter_map(|name| facts.values.get(*name).map(|values| (name, values)));
    told(named.map(|(name, values)| format!("{name}={}", values.join("|"))))
}

fn told(parts: impl Iterator<Item = String>) -> String {
    let mut all = parts.collect::<Vec<_>>().join("; ");
    if all.len() > MOST_TOLD {
        let end = (0..=MOST_TOLD).rev().find(|at| all.is_char_boundary(*at)).unwrap_or(0);
        all.truncate(end);
        all.push('…');
    }
    all
}
