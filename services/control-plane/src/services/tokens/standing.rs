//! Access tokens of ours that others show: whose they are, and whether they are good now. From memory alone.

use std::sync::Arc;

use signet_app::tokens::claims::{ACCESS_TOKEN, AccessToken};
use signet_core::{CaId, Identity, Lifetime, Role, Serial, TenantId, Time, spiffe::SpiffeId, tokens::TokenUse};
use signet_jwt::{Algorithm, PublicKey, Token};

use crate::node::Node;

/// As everywhere: clocks are right within five minutes.
const CLOCKS_DIFFER: Lifetime = Lifetime::minutes(5);

/// A token that is good.
pub(crate) struct Good {
    pub(crate) claims: AccessToken,
    /// Of the certificate that it is bound to, as far as the token tells.
    pub(crate) identity: Identity,
    /// The roles in force.
    pub(crate) roles: Arc<[Role]>,
}

/// What nobody but the tenant's own key can have signed, and whose holder and certificate are good; otherwise a reason.
pub(crate) fn standing(node: &Node, tenant: &TenantId, token: &str, now: Time) -> Result<Good, &'static str> {
    let token = Token::parse(token, &[Algorithm::ES256, Algorithm::RS256]).map_err(|_| "ACCESS_TOKEN_MALFORMED")?;
    if token.typ() != Some(ACCESS_TOKEN) {
        return Err("ACCESS_TOKEN_OF_ANOTHER_KIND");
    }
    let keys = node.trust.token_keys(tenant, TokenUse::AccessToken).ok_or("ACCESS_TOKEN_KEY_UNKNOWN")?;
    // A look-up, before anything is computed.
    let key = token.key_id().and_then(|id| keys.find(id)).ok_or("ACCESS_TOKEN_KEY_UNKNOWN")?;
    let key = PublicKey::from_spki(&key.spki_der)
        .and_then(|key| key.decoding_key())
        .map_err(|_| "ACCESS_TOKEN_KEY_UNKNOWN")?;
    let claims: AccessToken = token.verify(&key).map_err(|_| "ACCESS_TOKEN_BAD_SIGNATURE")?;
    if now.unix_seconds() >= claims.exp {
        return Err("ACCESS_TOKEN_EXPIRED");
    }
    let identity = identity(node, tenant, &claims, &claims.sub).ok_or("ACCESS_TOKEN_MALFORMED")?;
    let roles = node.trust.admit(&identity, now).map_err(|refusal| refusal.reason())?;
    if let Some(acting) = &claims.act {
        let acting = self::identity(node, tenant, &claims, &acting.sub).ok_or("ACCESS_TOKEN_MALFORMED")?;
        node.trust.admit(&acting, now).map_err(|refusal| refusal.reason())?;
    }
    Ok(Good { claims, identity, roles })
}

/// A principal that the token names, as the holder of its certificate.
fn identity(node: &Node, tenant: &TenantId, claims: &AccessToken, subject: &str) -> Option<Identity> {
    let suffix = node.app.environment().suffix();
    let SpiffeId { tenant: of, principal_type, principal } = SpiffeId::parse(subject, suffix)?;
    let (issuer, serial) = claims.certificate.split_once('/')?;
    (of == *tenant).then_some(())?;
    Some(Identity {
        tenant: of,
        principal,
        principal_type,
        roles: claims.roles.clone().into(),
        issuer: issuer.parse::<CaId>().ok()?,
        serial: serial.parse::<Serial>().ok()?,
        // Nodes' clocks differ; the token is not told from the certificate's beginning.
        not_before: Time::from_unix_seconds(claims.iat).minus(CLOCKS_DIFFER),
        not_after: Time::from_unix_seconds(claims.exp),
        spki_sha256: [0; 32],
        certificate_sha256: [0; 32],
    })
}
