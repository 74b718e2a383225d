//! Enrollment by join token.

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use signet_core::{
    Error, PrincipalId, TenantId, TenantScope,
    certificates::CertificateState,
    enrollment::{EnrollmentToken, MakerLost, rule::matches},
    principals::Principal,
    store::{Versioned, commit::Write, request::Outcome, scope::token_of_secret},
};
use signet_x509::Csr;

use crate::{
    App, AuditEntry, Call, IssuedLeaf,
    authorities::reservation,
    call,
    certificates::{
        issuance,
        order::{self, Admission, Begun, Order, key_digest},
        release,
    },
    enrollment::admitting::{self, Known, fits, refused, turn_if_new},
    ledger::fingerprint,
    reads,
    tenants::quotas::CountTurn,
};

pub(super) async fn enroll_by_token(
    app: &Arc<App>,
    call: &Call,
    secret: &SecretString,
    wanted: Option<&PrincipalId>,
    csr: &Csr,
) -> Result<IssuedLeaf, Error> {
    // A guessed token names no tenant; such refusals are counted where they are recorded.
    admitting::check_guesses(app, call, &TenantId::system())?;
    let digest = EnrollmentToken::digest(secret.expose_secret());
    let Some(token) = find_token_record(app, call, &digest).await?.map(|found| found.value) else {
        return admitting::refuse_proof(app, call, &TenantId::system(), refused("TOKEN_UNKNOWN"), Known::new()).await;
    };
    match redeem(app, call, &token, wanted, csr).await {
        Ok(leaf) => Ok(leaf),
        Err(error) => {
            let known = vec![("token", token.id.to_string())];
            admitting::refuse_proof(app, call, &token.tenant, error, known).await
        }
    }
}

async fn redeem(
    app: &App,
    call: &Call,
    token: &EnrollmentToken,
    wanted: Option<&PrincipalId>,
    csr: &Csr,
) -> Result<IssuedLeaf, Error> {
    order::require_served(app, &token.tenant)?;
    let scope = TenantScope::of_token(token);
    let digest = &token.secret_sha256;
    let fingerprint = fingerprint(call, &(digest, wanted, key_digest(csr)))?;
    let order = Order { call, scope: &scope, csr, fingerprint, renews: None };
    check_source(token, call)?;
    let begun = {
        // Callers with the same token queue here instead of meeting in the store.
        let _turn = app.turns.take(digest.clone()).await;
        let turn = turn_if_new(app, &scope, token.template.id.as_ref().or(wanted), call.now).await?;
        let admit = || async {
            // Read again: somebody may have used it since.
            let token = find_token_record(app, call, digest).await?.ok_or_else(|| refused("TOKEN_UNKNOWN"))?;
            admit_holder(app, call, &scope, token, wanted, turn.as_ref()).await
        };
        issuance::begin(app, &order, admit).await?
    };
    if let Begun::Known(Outcome::Certificate { issuer, serial }) = &begun {
        let record = reads::certificate(app, &scope, issuer, serial, call.now).await?;
        if record.value.state == CertificateState::Reserved
            && let Err(refusal) = check_right(app, call, token).await
        {
            let reason = match &refusal {
                Error::ProofRefused { reason } => reason,
                _ => return Err(refusal),
            };
            reservation::abandon(app, call, &record, reason).await?;
            return Err(refusal);
        }
    }
    release::conclude(app, &order, begun).await
}

/// Whether the right that the token hands on is still there: it was not revoked, and its maker has not lost it.
async fn check_right(app: &App, call: &Call, token: &EnrollmentToken) -> Result<(), Error> {
    if token.revoked_at.is_some() {
        return Err(refused("TOKEN_REVOKED"));
    }
    let Some(makers) = TenantScope::of_maker(token) else { return Ok(()) };
    let maker = match makers.only() {
        Some(maker) => reads::find_principal(app, &makers, maker, call.now).await?,
        None => None,
    };
    token.check_maker(maker.as_ref().map(|found| &found.value)).map_err(|lost| match lost {
        MakerLost::Inactive => refused("TOKEN_MAKER_INACTIVE"),
        MakerLost::Right => refused("TOKEN_MAKER_RIGHTS_LOST"),
    })
}

/// The principal that the token's holder becomes, and what must be written for it.
async fn admit_holder(
    app: &App,
    call: &Call,
    scope: &TenantScope,
    token: Versioned<EnrollmentToken>,
    wanted: Option<&PrincipalId>,
    turn: Option<&CountTurn<'_>>,
) -> Result<Admission, Error> {
    check_right(app, call, &token.value).await?;
    check_live(&token.value, call)?;
    let id = holder_id(&token.value, wanted)?;
    let found = reads::find_principal(app, scope, &id, call.now).await?;
    if let Some(found) = &found {
        may_take(&token.value, &found.value)?;
    }
    let created = found.is_none();
    let template = &token.value.template;
    let principal = admitting::enrolled(call, scope, found, (id, template.principal_type, &template.roles))?;
    let entry = AuditEntry::done(call, "token", &token.value.id)
        .detail("principal", &principal.value.id)
        .detail("principal_created", created)
        .detail("uses_left", token.value.uses_left.saturating_sub(1));
    let used = EnrollmentToken { uses_left: token.value.uses_left.saturating_sub(1), ..token.value };
    let commit = call::audited(app, call, scope.tenant(), &entry).write(Write::replace(used, token.version));
    admitting::admission(app, call, scope, principal, created, turn, commit).await
}

/// The token with this digest, whosever it is: the secret is the right to find it.
async fn find_token_record(app: &App, call: &Call, digest: &str) -> Result<Option<Versioned<EnrollmentToken>>, Error> {
    Ok(token_of_secret(&*app.store, digest, call.now).await?)
}

fn check_source(token: &EnrollmentToken, call: &Call) -> Result<(), Error> {
    let networks = &token.source_networks;
    let within = call.source.is_some_and(|source| networks.iter().any(|network| network.contains(source)));
    if networks.is_empty() || within { Ok(()) } else { Err(refused("SOURCE_NOT_ALLOWED")) }
}

fn check_live(token: &EnrollmentToken, call: &Call) -> Result<(), Error> {
    if call.now >= token.not_after {
        return Err(refused("TOKEN_EXPIRED"));
    }
    if token.is_live(call.now) { Ok(()) } else { Err(refused("TOKEN_USED_UP")) }
}

fn holder_id(token: &EnrollmentToken, wanted: Option<&PrincipalId>) -> Result<PrincipalId, Error> {
    match (&token.template.id, wanted) {
        (Some(id), None) => Ok(id.clone()),
        (Some(id), Some(wanted)) if id == wanted => Ok(id.clone()),
        (Some(_), Some(_)) => Err(refused("OTHER_PRINCIPAL")),
        (None, Some(wanted)) => {
            let fits = token.id_pattern.as_ref().is_none_or(|pattern| matches(pattern, wanted.as_str()));
            if fits { Ok(wanted.clone()) } else { Err(refused("ID_NOT_ALLOWED")) }
        }
        (None, None) => Err(Error::invalid("principal_id", "REQUIRED", "the token does not set the id: choose one")),
    }
}

/// Whether the token may speak for a principal that exists: only one that it names.
fn may_take(token: &EnrollmentToken, principal: &Principal) -> Result<(), Error> {
    let template = &token.template;
    if template.id.is_none() {
        return Err(refused("PRINCIPAL_EXISTS"));
    }
    fits(principal, template.principal_type, &template.roles)
}
