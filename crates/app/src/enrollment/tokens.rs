//! Join tokens: create, list, revoke.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use signet_core::{
    Actor, Cidr, Error, Lifetime, Role, TenantScope, Time, TokenId,
    authorities::signer::random,
    authorization::Permit,
    enrollment::{EnrollmentToken, Maker, PrincipalTemplate},
    store::{Index, Query, SortRange, Table, Versioned, commit::Write},
    tenants::quota::Quota,
};
use zeroize::Zeroizing;

use crate::{
    App, AuditEntry, Call, Listing, PageRequest, Planned, authorities::reservation, call,
    certificates::order::require_active_principal, ledger, paging, principals::checked_roles, reads, tenants::quotas,
};

/// What the text of every token starts with, so that scanners for leaked secrets know one.
const PREFIX: &str = "sgt_";
const DEFAULT_TTL: Lifetime = Lifetime::hours(1);
const MIN_TTL: Lifetime = Lifetime::minutes(1);
const MAX_TTL: Lifetime = Lifetime::days(7);
const MAX_USES: u32 = 1000;
const MAX_NETWORKS: usize = 16;

/// A token to be made.
#[derive(Clone, Debug, Serialize)]
pub struct CreateToken {
    /// What its holder becomes. Roles hold for a principal that does not exist yet; one that does keeps its own.
    pub template: PrincipalTemplate,
    /// How long it works, 60 seconds to 7 days; 0: an hour.
    pub ttl: Lifetime,
    /// How many enrollments, at most 1,000; 0: one. More than one only if the template names no principal.
    pub uses: u32,
    /// What an id that the holder chooses must match: 1 to 64 of `A-Z a-z 0-9 . _ - *`; `None`: any.
    pub id_pattern: Option<String>,
    /// Networks from which it works, at most 16; empty: from anywhere.
    pub source_networks: Vec<Cidr>,
}

/// A token just made.
#[derive(Debug)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct CreatedToken {
    pub token: EnrollmentToken,
    /// The text that its holder presents. Not kept anywhere.
    pub secret: SecretString,
}

/// Makes a token. A repeated request id is an error, since the first answer's secret is not kept.
pub async fn create_token(
    app: &App,
    call: &Call,
    permit: &Permit,
    scope: &TenantScope,
    input: CreateToken,
) -> Result<CreatedToken, Error> {
    let input = checked(input)?;
    permit.may_manage(input.template.principal_type, &input.template.roles)?;
    let secret = token_text(app);
    let digest = EnrollmentToken::digest(secret.expose_secret());
    let turn = quotas::turn_to_count(app, scope.tenant(), Quota::JoinTokens).await;
    let plan = || async {
        let owner = reads::require_active_tenant(app, scope, call.now).await?;
        let template = template_now(app, call, permit, scope, &input.template).await?;
        let maker = maker(app, call).await?;
        let token = EnrollmentToken { maker, ..new_token(app, call, scope, &input, template, digest.clone())? };
        let template = &token.template;
        let entry = AuditEntry::done(call, "token", &token.id)
            .detail("principal_type", template.principal_type)
            .detail("roles", join(&template.roles))
            .detail("uses", token.uses_left)
            .detail("not_after", token.not_after.unix_seconds());
        let entry = match &template.id {
            Some(id) => entry.detail("principal", id),
            None => entry,
        };
        let entry = match &token.id_pattern {
            Some(pattern) => entry.detail("id_pattern", pattern),
            None => entry,
        };
        let networks: Vec<String> = token.source_networks.iter().map(Cidr::to_string).collect();
        let entry = if networks.is_empty() { entry } else { entry.detail("source_networks", networks.join(",")) };
        let counted = quotas::one_more(app, &owner, Quota::JoinTokens, Some(token.not_after), &turn, call.now).await?;
        let commit =
            call::audited(app, call, scope.tenant(), &entry).write(Write::create(token.clone())).write(counted);
        Ok(Planned::Commit(Box::new(commit), token))
    };
    let replay = |_| async {
        // This call's own write, if its answer was lost on the way.
        let key = EnrollmentToken::key_of(&digest);
        let found = scope.get::<EnrollmentToken>(&*app.store, &key, call.now).await?;
        found.map(|found| found.value).ok_or_else(|| {
            let message = "this request created its token before; its secret was shown once and is not stored; revoke that \
                           token and create another with a new request id";
            Error::precondition("SECRET_NOT_KEPT", message)
        })
    };
    let token = ledger::mutate(app, call, scope.tenant(), &input, plan, replay).await?;
    Ok(CreatedToken { token, secret })
}

/// Lists the tenant's tokens, also used and revoked ones, until a day after they expire.
pub async fn list_tokens(
    app: &App,
    call: &Call,
    scope: &TenantScope,
    page: &PageRequest,
) -> Result<Listing<EnrollmentToken>, Error> {
    let tenant = scope.tenant();
    let query = |_| Query::index(Table::Enrollments, Index::Listing, tenant.as_str());
    let read = |query| async move { scope.page::<EnrollmentToken>(&*app.store, &query, call.now).await };
    let found = paging::list(page, &format!("tokens/{tenant}"), 1, query, read).await?;
    reads::in_tenant(app, scope, found, call.now).await
}

/// Makes a token useless.
pub async fn revoke_token(
    app: &App,
    call: &Call,
    permit: &Permit,
    scope: &TenantScope,
    id: &TokenId,
) -> Result<EnrollmentToken, Error> {
    let plan = || async {
        let mut found = token(app, scope, id, call.now).await?;
        permit.may_manage(found.value.template.principal_type, &found.value.template.roles)?;
        if found.value.revoked_at.is_some() {
            return Ok(Planned::Unchanged(found.value));
        }
        found.value.revoked_at = Some(call.now);
        let entry = AuditEntry::done(call, "token", id).detail("uses_left", found.value.uses_left);
        let commit = call::audited(app, call, scope.tenant(), &entry);
        let commit = commit.write(Write::replace(found.value.clone(), found.version));
        Ok(Planned::Commit(Box::new(commit), found.value))
    };
    let replay = |_| async { Ok(token(app, scope, id, call.now).await?.value) };
    ledger::mutate(app, call, scope.tenant(), id, plan, replay).await
}

/// A token by its public name. The index finds its key, the table says what holds.
async fn token(app: &App, scope: &TenantScope, id: &TokenId, now: Time) -> Result<Versioned<EnrollmentToken>, Error> {
    let just_this = SortRange::Between(id.to_string(), id.to_string());
    let query = Query::index(Table::Enrollments, Index::Listing, scope.tenant().as_str()).range(just_this);
    let (found, _) = scope.list::<EnrollmentToken>(&*app.store, &query, now).await?;
    let Some(found) = found.first() else { return Err(reads::missing(app, scope, "token", id, now).await) };
    let key = EnrollmentToken::key_of(&found.value.secret_sha256);
    scope.get(&*app.store, &key, now).await?.ok_or_else(|| Error::not_found("token", id))
}

/// The template with the roles of the principal it names, if that exists: nobody hands out rights that it could not
/// manage, and redeeming compares the roles again.
async fn template_now(
    app: &App,
    call: &Call,
    permit: &Permit,
    scope: &TenantScope,
    template: &PrincipalTemplate,
) -> Result<PrincipalTemplate, Error> {
    let Some(id) = &template.id else { return Ok(template.clone()) };
    let Some(found) = reads::find_principal(app, scope, id, call.now).await? else { return Ok(template.clone()) };
    let principal = found.value;
    // Groups carry rights as roles do.
    permit.may_manage(principal.principal_type, &[&*principal.roles, &*principal.groups].concat())?;
    require_active_principal(&principal)?;
    if principal.principal_type != template.principal_type {
        let message = format!("principal {id} is a {}", principal.principal_type);
        return Err(Error::invalid("principal_type", "PRINCIPAL_TYPE_DIFFERS", message));
    }
    Ok(PrincipalTemplate { roles: principal.roles, ..template.clone() })
}

/// The caller, whose right a token hands on; `None`: one of Signet's own processes.
async fn maker(app: &App, call: &Call) -> Result<Option<Maker>, Error> {
    let (Actor::Principal { principal, .. }, Some(own)) = (&call.actor, TenantScope::of_actor(&call.actor)) else {
        return Ok(None);
    };
    let maker = reads::principal(app, &own, principal, call.now).await?.value;
    require_active_principal(&maker)?;
    Ok(Some(Maker::of(&maker)))
}

fn new_token(
    app: &App,
    call: &Call,
    scope: &TenantScope,
    input: &CreateToken,
    template: PrincipalTemplate,
    secret_sha256: String,
) -> Result<EnrollmentToken, Error> {
    Ok(EnrollmentToken {
        tenant: scope.tenant().clone(),
        id: reservation::serial(app, call.now).to_string().parse().map_err(Error::internal)?,
        secret_sha256,
        template,
        id_pattern: input.id_pattern.clone(),
        source_networks: input.source_networks.clone(),
        uses_left: input.uses,
        revoked_at: None,
        created_by: call.actor.to_string(),
        maker: None,
        created_at: call.now,
        not_after: call.now.plus(input.ttl),
    })
}

/// 256 random bits as text.
fn token_text(app: &App) -> SecretString {
    let random: Zeroizing<[u8; 32]> = Zeroizing::new(random(&*app.entropy));
    let encoded = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(&random[..]));
    format!("{PREFIX}{}", *encoded).into()
}

fn checked(mut input: CreateToken) -> Result<CreateToken, Error> {
    if input.ttl == Lifetime::seconds(0) {
        input.ttl = DEFAULT_TTL;
    }
    if input.ttl < MIN_TTL || input.ttl > MAX_TTL {
        return Err(Error::invalid("ttl_seconds", "OUT_OF_RANGE", "must be 60 to 604800 (7 days)"));
    }
    input.uses = input.uses.max(1);
    if input.uses > MAX_USES {
        return Err(Error::invalid("uses", "OUT_OF_RANGE", "must be at most 1000"));
    }
    if input.uses > 1 && input.template.id.is_some() {
        return Err(Error::invalid("uses", "ONE_PRINCIPAL", "must be 1 for a token that names its principal"));
    }
    check_id_pattern(&input)?;
    if input.source_networks.len() > MAX_NETWORKS {
        return Err(Error::invalid("source_networks", "TOO_MANY", "must be at most 16"));
    }
    input.template.roles = checked_roles("roles", input.template.roles)?;
    Ok(input)
}

fn check_id_pattern(input: &CreateToken) -> Result<(), Error> {
    let Some(pattern) = &input.id_pattern else { return Ok(()) };
    if input.template.id.is_some() {
        let message = "must be empty for a token that names its principal";
        return Err(Error::invalid("principal_id_pattern", "ONE_PRINCIPAL", message));
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'*');
    if pattern.is_empty() || pattern.len() > 64 || !pattern.bytes().all(plain) {
        let message = "must be 1 to 64 of A-Z a-z 0-9 . _ - and *";
        return Err(Error::invalid("principal_id_pattern", "INVALID_PATTERN", message));
    }
    Ok(())
}

fn join(roles: &[Role]) -> String {
    roles.iter().map(Role::as_str).collect::<Vec<_>>().join(",")
}
