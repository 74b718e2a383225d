//! Tokens of others, exchanged by a caller with a certificate for one of ours (RFC 8693): whom they speak for.

use std::sync::Arc;

use signet_core::{
    Error, StoreError, TenantId, TenantScope, Time,
    enrollment::attestation::{Evidence, fact},
    principals::Principal,
};

use crate::{
    App, AuditEntry, Call, call,
    enrollment::{
        admitting::{self, Known, refused},
        by_rule::{Presented, caller, granted, may_take, newly_used, use_of},
    },
    ledger::{self, ATTEMPTS},
    reads,
};

/// Whom another's token speaks for.
#[derive(Clone, Debug)]
pub struct Exchanged {
    /// It may act.
    pub principal: Principal,
    /// The end of the other's token.
    pub not_after: Time,
}

/// Checks a token of an issuer that the tenant's rules name, and uses it up for all keys but the caller's. As with
/// enrollment, a refusal names its reason in the tenant's audit log and nowhere else. `key_sha256`: of the caller's
/// public key, hexadecimal.
pub async fn exchange_token(
    app: &Arc<App>,
    call: &Call,
    scope: &TenantScope,
    token: String,
    key_sha256: String,
) -> Result<Exchanged, Error> {
    let (tenant, evidence) = (scope.tenant(), Evidence::Oidc { token });
    evidence.check_size()?;
    admitting::check_guesses(app, call, tenant)?;
    let mut known: Known = vec![("proof", evidence.kind().to_string())];
    let presented = Presented { call, tenant, evidence: &evidence, key_sha256 };
    match exchanged(app, &presented, &mut known).await {
        Ok(exchanged) => Ok(exchanged),
        Err(error) => admitting::refuse_proof(app, call, tenant, error, known).await,
    }
}

async fn exchanged(app: &App, presented: &Presented<'_>, known: &mut Known) -> Result<Exchanged, Error> {
    let Presented { call, tenant, evidence, key_sha256 } = presented;
    let rules = reads::rules_of(app, tenant, call.now).await?;
    let (facts, grant) = granted(app, presented, &rules, known).await?;
    let found = reads::find_principal(app, &grant.scope(), &grant.id, call.now).await?;
    let principal = found.ok_or_else(|| refused("NOT_FOUND"))?.value;
    may_take(&grant, &principal)?;
    let ends = facts.values.get(fact::EXPIRES).and_then(|values| values.first()).and_then(|text| text.parse().ok());
    let not_after = ends.map(Time::from_unix_seconds).ok_or_else(|| refused("OIDC_CLAIM_MISSING"))?;
    let used = use_of(evidence, &facts, tenant, key_sha256)?;
    let entry = AuditEntry::done(call, "enrollment_rule", &grant.rule.id)
        .detail("proof", facts.proof)
        .detail("caller", caller(&facts))
        .detail("principal", &principal.id);
    // A restore finds here what was used.
    let entry = used.first().into_iter().fold(entry, |entry, used| {
        entry.detail("proof_sha256", &used.bearer_sha256).detail("spki_sha256", &used.spki_sha256)
    });
    record(app, call, tenant, &entry, &used).await?;
    Ok(Exchanged { principal, not_after })
}

async fn record(
    app: &App,
    call: &Call,
    tenant: &TenantId,
    entry: &AuditEntry,
    used: &[signet_core::enrollment::UsedProof],
) -> Result<(), Error> {
    let mut conflict = Error::Conflict("the token");
    for attempt in 0..ATTEMPTS {
        ledger::pause(app, attempt).await;
        let commit = call::audited(app, call, tenant, entry).writes(newly_used(app, call, used).await?);
        match ledger::commit(app, &commit, call.now).await {
            Ok(()) => return Ok(()),
            Err(error @ (StoreError::Conflict { .. } | StoreError::Unknown(_))) => conflict = error.into(),
            Err(error) => return Err(error.into()),
        }
    }
    Err(conflict)
}
