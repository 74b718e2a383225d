//! Makes tokens: for the caller, and for no one else.

use std::sync::Arc;

use signet_app::{
    principals,
    tokens::{
        claims::{
            ACCESS_TOKEN, AccessToken, Confirmation, ConfirmedKey, JWT_SVID, JwtSvid, WIT_SVID, WitSvid, subject,
            token_id,
        },
        signing_key,
    },
};
use signet_core::{Error, Identity, Role, TenantId, Time, audit::sha256_hex, authorization::Denial, tokens::TokenUse};
use signet_jwt::{PublicKey, SigningKey, x5t_s256_of};
use signet_policy::{Context, Rulebook, Target};

use crate::{decisions::subject as policy_subject, node::Node, services::caller::Caller, upkeep::tokens::first_keys};

/// Most permissions of a token, so that it fits into a header.
const MAX_SCOPES: usize = 100;
/// Most audiences of a JWT-SVID, and their length in bytes.
const MAX_AUDIENCES: usize = 8;
const MAX_AUDIENCE: usize = 255;

/// What a caller wants.
pub(super) struct Wanted {
    pub(super) audience: String,
    /// Empty: all that it has.
    pub(super) scopes: Vec<String>,
    /// 0: the environment's.
    pub(super) lifetime_seconds: u32,
}

/// A token and what its claims are.
pub(super) struct Minted<C> {
    pub(super) token: String,
    pub(super) claims: C,
}

/// The holder of the connection's certificate, with the roles in force.
struct Holder {
    identity: Arc<Identity>,
    roles: Arc<[Role]>,
}

impl Holder {
    fn of(node: &Node, caller: &Caller) -> Result<Self, Error> {
        let session = caller.session.as_ref().ok_or(Denial::Anonymous)?;
        let roles = session.check(&node.trust, caller.call.now)?.roles().clone();
        Ok(Self { identity: Arc::clone(session.identity()), roles })
    }
}

/// An access token for the caller: what it may of what it wants.
pub(super) async fn access_token(node: &Node, caller: &Caller, wanted: Wanted) -> Result<Minted<AccessToken>, Error> {
    caller.permit()?;
    let now = caller.call.now;
    let Holder { identity, roles } = Holder::of(node, caller)?;
    let tenant = &identity.tenant;
    let scopes = scopes(node, caller, (&identity, &roles), &wanted).await?;
    let exp = node.issuer.expiry(wanted.lifetime_seconds, identity.not_after, now)?;
    let claims = AccessToken {
        iss: node.issuer.of(tenant)?,
        sub: subject(&identity, node.app.environment().suffix()),
        aud: wanted.audience,
        client_id: identity.principal.to_string(),
        scope: scopes.join(" "),
        iat: now.unix_seconds(),
        exp: exp.unix_seconds(),
        jti: token_id(&*node.entropy, now),
        roles: roles.to_vec(),
        cnf: Confirmation { x5t_s256: x5t_s256_of(&identity.certificate_sha256) },
        certificate: format!("{}/{}", identity.issuer, identity.serial),
    };
    let token = key(node, tenant, TokenUse::AccessToken, now).await?.sign(ACCESS_TOKEN, &claims);
    Ok(Minted { token: token.map_err(Error::internal)?, claims })
}

/// A JWT-SVID for the caller.
pub(super) async fn jwt_svid(
    node: &Node,
    caller: &Caller,
    audiences: Vec<String>,
    lifetime_seconds: u32,
) -> Result<Minted<JwtSvid>, Error> {
    caller.permit()?;
    let now = caller.call.now;
    if audiences.is_empty() || audiences.len() > MAX_AUDIENCES {
        let message = format!("must be 1 to {MAX_AUDIENCES} names of those who will verify it");
        return Err(Error::invalid("audiences", "OUT_OF_RANGE", message));
    }
    if audiences.iter().any(|audience| audience.is_empty() || audience.len() > MAX_AUDIENCE) {
        return Err(Error::invalid("audiences", "OUT_OF_RANGE", format!("must have 1 to {MAX_AUDIENCE} bytes each")));
    }
    let Holder { identity, .. } = Holder::of(node, caller)?;
    let claims = JwtSvid {
        iss: node.issuer.of_svids(&identity.tenant)?,
        sub: subject(&identity, node.app.environment().suffix()),
        aud: audiences,
        iat: now.unix_seconds(),
        exp: node.issuer.expiry(lifetime_seconds, identity.not_after, now)?.unix_seconds(),
        jti: token_id(&*node.entropy, now),
    };
    let token = key(node, &identity.tenant, TokenUse::JwtSvid, now).await?.sign(JWT_SVID, &claims);
    Ok(Minted { token: token.map_err(Error::internal)?, claims })
}

/// A WIT-SVID for the caller, over the key of its certificate.
pub(super) async fn wit_svid(
    node: &Node,
    caller: &Caller,
    public_key_der: &[u8],
    lifetime_seconds: u32,
) -> Result<Minted<WitSvid>, Error> {
    caller.permit()?;
    let now = caller.call.now;
    let Holder { identity, .. } = Holder::of(node, caller)?;
    let is_its_own = sha256_hex(public_key_der) == hex::encode(identity.spki_sha256);
    let public = PublicKey::from_spki(public_key_der).ok().filter(|_| is_its_own);
    let public = public.ok_or_else(|| {
        let message = "must be the key of the certificate that this connection uses, DER SubjectPublicKeyInfo";
        Error::invalid("public_key_der", "FOREIGN_KEY", message)
    })?;
    let claims = WitSvid {
        iss: node.issuer.of_svids(&identity.tenant)?,
        sub: subject(&identity, node.app.environment().suffix()),
        iat: now.unix_seconds(),
        exp: node.issuer.expiry(lifetime_seconds, identity.not_after, now)?.unix_seconds(),
        jti: token_id(&*node.entropy, now),
        cnf: ConfirmedKey { jwk: public.jwk() },
    };
    let token = key(node, &identity.tenant, TokenUse::WitSvid, now).await?.sign(WIT_SVID, &claims);
    Ok(Minted { token: token.map_err(Error::internal)?, claims })
}

/// The tenant's key that signs now. The first time it is made.
async fn key(node: &Node, tenant: &TenantId, for_use: TokenUse, now: Time) -> Result<Arc<SigningKey>, Error> {
    let keys = match node.trust.token_keys(tenant, for_use) {
        Some(keys) => keys,
        None => first_keys(node, tenant, for_use, now).await?,
    };
    signing_key(&node.app, &keys, now).await
}

/// The permissions of the audience that the token is to have.
async fn scopes(
    node: &Node,
    caller: &Caller,
    (identity, roles): (&Arc<Identity>, &[Role]),
    wanted: &Wanted,
) -> Result<Vec<String>, Error> {
    let unusable =
        |_| Error::precondition("POLICIES_UNUSABLE", "the tenant's rules cannot be read: an admin must set them anew");
    let book = node.decisions.book(&identity.tenant).map_err(unusable)?;
    let known = book.as_deref().map(|book| permissions(book, &wanted.audience)).unwrap_or_default();
    let Some(book) = book.filter(|_| !known.is_empty()) else {
        let message = "is none of this tenant's: an audience is what stands before the colon of its permissions";
        return Err(Error::invalid("audience", "UNKNOWN_AUDIENCE", message));
    };
    let asked: Vec<&String> =
        if wanted.scopes.is_empty() { known.iter().collect() } else { wanted.scopes.iter().collect() };
    if asked.len() > MAX_SCOPES {
        let message = format!("may be {MAX_SCOPES} permissions: name those that are needed");
        return Err(Error::invalid("scopes", "OUT_OF_RANGE", message));
    }
    let groups = if book.has_groups() {
        let scope = caller.permit()?.tenant(&identity.tenant, Some(&identity.principal))?;
        principals::get_principal(&node.app, &caller.call, &scope, &identity.principal).await?.groups
    } else {
        Vec::new()
    };
    let who = policy_subject(identity, roles, &groups);
    let context = Context { now: caller.call.now, source: caller.call.source, method: None, path: None, host: None };
    let may = |scope: &str| {
        known.iter().any(|known| known == scope)
            && book.decide(&who, scope, &Target::Tenant(&identity.tenant), &context, false).allowed
    };
    let given: Vec<String> = asked.iter().filter(|scope| may(scope)).map(|scope| (*scope).clone()).collect();
    let is_less = !wanted.scopes.is_empty() && given.len() < asked.len();
    if given.is_empty() || is_less {
        let message = format!("the caller has not all of the permissions of {} that it asks for", wanted.audience);
        return Err(Error::invalid("scopes", "SCOPE_NOT_GRANTED", message));
    }
    Ok(given)
}

/// The permissions whose audience this is, sorted.
fn permissions(book: &Rulebook, audience: &str) -> Vec<String> {
    let of = |name: &&str| name.split_once(':').is_some_and(|(before, _)| before == audience);
    let mut found: Vec<String> = book.permissions().filter(of).map(str::to_owned).collect();
    found.sort_unstable();
    found.dedup();
    found
}
