//! A JWT of an OpenID Connect issuer that a rule names.
//!
//! Nothing binds such a token to the caller's key: whoever holds it while it lives is its subject. Rules should name an
//! audience of their own, and issuers should make short-lived tokens.

mod claims;
mod issuer;
mod keys;
mod token;

use std::{collections::BTreeSet, sync::Arc};

use moka::future::Cache;
use signet_core::enrollment::{
    attestation::{AttestationError, Challenge, Facts, ProofKind},
    rule::Source,
};

use self::{
    issuer::{Issuer, Reach},
    token::Token,
};
use crate::{options::Checked, refused, shown};

/// Issuers whose keys are kept; the least used ones go first.
const MAX_ISSUERS: u64 = 1_000;

#[derive(Debug)]
pub(crate) struct Oidc {
    reach: Arc<Reach>,
    issuers: Cache<String, Arc<Issuer>>,
}

impl Oidc {
    pub(crate) fn new(options: &Checked) -> Self {
        Self { reach: Arc::new(Reach::new(options)), issuers: Cache::new(MAX_ISSUERS) }
    }

    pub(crate) async fn attest(&self, text: &str, challenge: &Challenge<'_>) -> Result<Facts, AttestationError> {
        let token = Token::parse(text)?;
        let audiences = audiences(challenge.sources, token.claimed_issuer())?;
        let issuer = token.claimed_issuer().to_owned();
        let known = self.issuers.get_with_by_ref(&issuer, async { Arc::new(Issuer::new(&issuer)) }).await;
        let key = known.key(&self.reach, token.key_id(), token.algorithm(), challenge.now).await?;
        let claims = token.verify(&key)?;
        claims.check(&issuer, &audiences, challenge.now)?;
        Ok(Facts { proof: ProofKind::Oidc, values: claims.facts()? })
    }
}

/// The audiences that the tenant's rules expect of this issuer's tokens.
fn audiences<'a>(sources: &'a [Source], issuer: &str) -> Result<BTreeSet<&'a str>, AttestationError> {
    let of_issuer = sources.iter().filter_map(|source| match source {
        Source::Oidc { issuer: named, audience } if named == issuer => Some(audience.as_str()),
        _ => None,
    });
    let audiences: BTreeSet<&str> = of_issuer.collect();
    if audiences.is_empty() {
        return Err(refused("OIDC_ISSUER_NOT_TRUSTED", format!("no rule names the issuer {}", shown(issuer))));
    }
    Ok(audiences)
}
