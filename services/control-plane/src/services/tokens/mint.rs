//! Makes tokens: for the caller, and for no one else.

use std::sync::Arc;

use signet_app::{
    enrollment::exchange,
    principals,
    tokens::{
        claims::{
            ACCESS_TOKEN, AccessToken, ActingParty, CertificateConfirmation, ConfirmedKey, JWT_SVID, JwtSvid, WIT_SVID,
            WitSvid, token_id,
        },
        signing_key,
    },
};
use signet_core::{
    Error, Identity, Role, TenantId, Time, audit::sha256_hex, authorization::Denial, principals::Principal,
    tokens::TokenUse,
};
use signet_jwt::{PublicKey, SigningKey, x5t_s256_of};
use signet_policy::{Context, Rulebook, Subject, Target};

use crate::{
    node::Node,
    services::{caller::Caller, wire},
    upkeep::tokens::first_keys,
};

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
pub(super) struct Holder {
    pub(super) identity: Arc<Identity>,
    pub(super) roles: Arc<[Role]>,
}

impl Holder {
    pub(super) fn of(node: &Node, caller: &Caller) -> Result<Self, Error> {
        caller.permit()?;
        let session = caller.session.as_ref().ok_or(Denial::Anonymous)?;
        let roles = session.check(&node.trust, caller.call.now)?.roles().clone();
        Ok(Self { identity: Arc::clone(session.identity()), roles })
    }

    pub(super) fn spiffe_id(&self, node: &Node) -> String {
        let Identity { tenant, principal_type, principal, .. } = &*self.identity;
        wire::spiffe_id(node, tenant, *principal_type, principal)
    }

    /// Its groups of today, where rules ask for them.
    pub(super) async fn groups(
        &self,
        node: &Node,
        caller: &Caller,
        book: Option<&Rulebook>,
    ) -> Result<Vec<Role>, Error> {
        if !book.is_some_and(Rulebook::has_groups) {
            return Ok(Vec::new());
        }
        let Identity { tenant, principal, .. } = &*self.identity;
        let scope = caller.permit()?.tenant(tenant, Some(principal))?;
        Ok(principals::get_principal(&node.app, &caller.call, &scope, principal).await?.groups)
    }

    /// As what is revoked names it: its issuer and, behind a slash, its serial number.
    pub(super) fn certificate(&self) -> String {
        format!("{}/{}", self.identity.issuer, self.identity.serial)
    }
}

/// An access token for the caller: what it may of what it wants.
pub(super) async fn access_token(node: &Node, caller: &Caller, wanted: Wanted) -> Result<Minted<AccessToken>, Error> {
    let holder = Holder::of(node, caller)?;
    let Identity { tenant, principal_type, principal, not_after, .. } = &*holder.identity;
    let book = book(node, tenant)?;
    let groups = holder.groups(node, caller, book.as_deref()).await?;
    let subject =
        Subject { tenant, principal_type: *principal_type, id: principal, roles: &holder.roles, groups: &groups };
    bound(node, caller, (&holder, None), &subject, book.as_deref(), wanted, *not_after).await
}

/// An access token for whom another's token speaks for. The caller acts for it.
pub(super) async fn exchanged(
    node: &Node,
    caller: &Caller,
    subject_token: String,
    wanted: Wanted,
) -> Result<Minted<AccessToken>, Error> {
    let holder = Holder::of(node, caller)?;
    let identity = &holder.identity;
    let scope = caller.permit()?.tenant(&identity.tenant, None)?;
    let key_sha256 = hex::encode(identity.spki_sha256);
    let exchanged = exchange::exchange_token(&node.app, &caller.call, &scope, subject_token, key_sha256).await?;
    let Principal { tenant, principal_type, id, roles, groups, .. } = &exchanged.principal;
    let subject = Subject { tenant, principal_type: *principal_type, id, roles, groups };
    let act = ActingParty { sub: holder.spiffe_id(node) };
    let end = identity.not_after.min(exchanged.not_after);
    let book = book(node, tenant)?;
    bound(node, caller, (&holder, Some(act)), &subject, book.as_deref(), wanted, end).await
}

/// An access token for `subject`, bound to the holder's certificate.
async fn bound(
    node: &Node,
    caller: &Caller,
    (holder, act): (&Holder, Option<ActingParty>),
    subject: &Subject<'_>,
    book: Option<&Rulebook>,
    wanted: Wanted,
    end: Time,
) -> Result<Minted<AccessToken>, Error> {
    let (now, identity) = (caller.call.now, &holder.identity);
    let scopes = scopes(caller, subject, book, &wanted)?;
    let exp = node.issuer.expiry(TokenUse::AccessToken, wanted.lifetime_seconds, end, now)?;
    let claims = AccessToken {
        iss: node.issuer.of(subject.tenant)?,
        sub: wire::spiffe_id(node, subject.tenant, subject.principal_type, subject.id),
        aud: wanted.audience,
        client_id: identity.principal.to_string(),
        act,
        scope: scopes.join(" "),
        iat: now.unix_seconds(),
        exp: exp.unix_seconds(),
        jti: token_id(&*node.entropy, now),
        roles: subject.roles.to_vec(),
        cnf: CertificateConfirmation { x5t_s256: x5t_s256_of(&identity.certificate_sha256) },
        certificate: holder.certificate(),
    };
    let token = key(node, subject.tenant, TokenUse::AccessToken, now).await?.sign(ACCESS_TOKEN, &claims);
    Ok(Minted { token: token.map_err(Error::internal)?, claims })
}

/// A JWT-SVID for the caller.
pub(super) async fn jwt_svid(
    node: &Node,
    caller: &Caller,
    audiences: Vec<String>,
    lifetime_seconds: u32,
) -> Result<Minted<JwtSvid>, Error> {
    let now = caller.call.now;
    if audiences.is_empty() || audiences.len() > MAX_AUDIENCES {
        let message = format!("must be 1 to {MAX_AUDIENCES} names of those who will verify it");
        return Err(Error::invalid("audiences", "OUT_OF_RANGE", message));
    }
    if audiences.iter().any(|audience| audience.is_empty() || audience.len() > MAX_AUDIENCE) {
        return Err(Error::invalid("audiences", "OUT_OF_RANGE", format!("must have 1 to {MAX_AUDIENCE} bytes each")));
    }
    let holder = Holder::of(node, caller)?;
    let identity = &holder.identity;
    let claims = JwtSvid {
        iss: node.issuer.of_svids(&identity.tenant)?,
        sub: holder.spiffe_id(node),
        aud: audiences,
        iat: now.unix_seconds(),
        exp: node.issuer.expiry(TokenUse::JwtSvid, lifetime_seconds, identity.not_after, now)?.unix_seconds(),
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
    let now = caller.call.now;
    let holder = Holder::of(node, caller)?;
    let identity = &holder.identity;
    let is_its_own = sha256_hex(public_key_der) == hex::encode(identity.spki_sha256);
    let public = PublicKey::from_spki(public_key_der).ok().filter(|_| is_its_own);
    let public = public.ok_or_else(|| {
        let message = "must be the key of the certificate that this connection uses, DER SubjectPublicKeyInfo";
        Error::invalid("public_key_der", "FOREIGN_KEY", message)
    })?;
    let claims = WitSvid {
        iss: node.issuer.of_svids(&identity.tenant)?,
        sub: holder.spiffe_id(node),
        iat: now.unix_seconds(),
        exp: node.issuer.expiry(TokenUse::WitSvid, lifetime_seconds, identity.not_after, now)?.unix_seconds(),
        jti: token_id(&*node.entropy, now),
        cnf: ConfirmedKey { jwk: public.jwk() },
    };
    let token = key(node, &identity.tenant, TokenUse::WitSvid, now).await?.sign(WIT_SVID, &claims);
    Ok(Minted { token: token.map_err(Error::internal)?, claims })
}

/// The tenant's key that signs now. The first time it is made.
pub(super) async fn key(
    node: &Node,
    tenant: &TenantId,
    for_use: TokenUse,
    now: Time,
) -> Result<Arc<SigningKey>, Error> {
    let keys = match node.trust.token_keys(tenant, for_use) {
        Some(keys) => keys,
        None => first_keys(node, tenant, for_use, now).await?,
    };
    signing_key(&node.app, &keys, now).await
}

pub(super) fn book(node: &Node, tenant: &TenantId) -> Result<Option<Arc<Rulebook>>, Error> {
    let message = "the tenant's rules cannot be read: an admin must set them anew";
    node.decisions.book(tenant).map_err(|_| Error::precondition("POLICIES_UNUSABLE", message))
}

/// The permissions of the audience that the token is to have.
fn scopes(
    caller: &Caller,
    subject: &Subject<'_>,
    book: Option<&Rulebook>,
    wanted: &Wanted,
) -> Result<Vec<String>, Error> {
    let known = book.map(|book| permissions(book, &wanted.audience)).unwrap_or_default();
    let Some(book) = book.filter(|_| !known.is_empty()) else {
        let message = format!(
            "{} is none of tenant {}: an audience is what stands before the colon of its permissions",
            wanted.audience, subject.tenant
        );
        return Err(Error::invalid("audience", "UNKNOWN_AUDIENCE", message));
    };
    let asked = if wanted.scopes.is_empty() { &known } else { &wanted.scopes };
    if asked.len() > MAX_SCOPES {
        let message = format!("may be {MAX_SCOPES} permissions: name those that are needed");
        return Err(Error::invalid("scopes", "OUT_OF_RANGE", message));
    }
    let context = Context { now: caller.call.now, source: caller.call.source, method: None, path: None, host: None };
    let may = |scope: &String| {
        known.contains(scope) && book.decide(subject, scope, &Target::Tenant(subject.tenant), &context, false).allowed
    };
    let given: Vec<String> = asked.iter().filter(|scope| may(scope)).cloned().collect();
    let is_less = !wanted.scopes.is_empty() && given.len() < asked.len();
    if given.is_empty() || is_less {
        let message = match wanted.scopes.is_empty() {
            true => format!("{} has no permission of {}", subject.id, wanted.audience),
            false => format!("{} has not all of the permissions of {} that are asked for", subject.id, wanted.audience),
        };
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
