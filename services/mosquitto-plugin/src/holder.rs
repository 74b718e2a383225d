//! By what a client was let in, and whether that is still good.

use signet_client::{Refusals, ShownToken};
use signet_core::{Identity, PrincipalId, PrincipalType, Serial, Time, spiffe::SpiffeId, trust::Refusal};

use crate::rules::{Rights, Rules};

/// A client's principal, and what it has shown.
pub(crate) struct Holder {
    /// Its tenant's place among the tenants.
    pub(crate) tenant: usize,
    pub(crate) principal: PrincipalId,
    principal_type: PrincipalType,
    by: By,
}

enum By {
    Certificate(Box<Identity>),
    Token(Box<Token>),
}

/// An access token. Whoever has it is its holder: it came without a certificate.
struct Token {
    shown: ShownToken,
    until: Time,
    /// Of the certificate that it was given for.
    serial: Serial,
    /// Who acts for its holder.
    actors: Vec<PrincipalId>,
}

impl Holder {
    pub(crate) fn of_certificate(tenant: usize, identity: Identity) -> Self {
        let (principal, principal_type) = (identity.principal.clone(), identity.principal_type);
        Self { tenant, principal, principal_type, by: By::Certificate(Box::new(identity)) }
    }

    /// `None`: it names nobody of the tenant.
    pub(crate) fn of_token(tenant: usize, refusals: &Refusals, shown: ShownToken) -> Option<Self> {
        let holders: Vec<SpiffeId> = shown.holders().map(|id| refusals.principal(id)).collect::<Option<_>>()?;
        let mut holders = holders.into_iter();
        let first = holders.next()?;
        let until = Time::from_unix_seconds(shown.claims().exp);
        let serial = shown.serial()?.parse().ok()?;
        let actors = holders.map(|id| id.principal).collect();
        let by = By::Token(Box::new(Token { shown, until, serial, actors }));
        Some(Self { tenant, principal: first.principal, principal_type: first.principal_type, by })
    }

    /// When it ends by itself.
    pub(crate) const fn until(&self) -> Time {
        match &self.by {
            By::Certificate(identity) => identity.not_after,
            By::Token(token) => token.until,
        }
    }

    /// The reason of that end.
    pub(crate) const fn end(&self) -> &'static str {
        match &self.by {
            By::Certificate(_) => "CERTIFICATE_EXPIRED",
            By::Token(_) => "ACCESS_TOKEN_EXPIRED",
        }
    }

    /// The token that it has shown.
    pub(crate) const fn token(&self) -> Option<&ShownToken> {
        match &self.by {
            By::Certificate(_) => None,
            By::Token(token) => Some(&token.shown),
        }
    }

    /// What it may at `now`; otherwise why it may nothing.
    pub(crate) fn rights(&self, refusals: &Refusals, rules: &Rules, now: Time) -> Result<Rights, &'static str> {
        if now >= self.until() {
            return Err(self.end());
        }
        let rights = match &self.by {
            By::Certificate(identity) => {
                let roles = refusals.admit(identity, now).map_err(Refusal::reason)?;
                rules.rights(self.principal_type, &refusals.granted(self.principal_type, &roles))
            }
            By::Token(token) => {
                for principal in [&self.principal].into_iter().chain(&token.actors) {
                    refusals.admit_principal(principal, now).map_err(Refusal::reason)?;
                }
                if refusals.is_revoked(&token.serial) {
                    return Err("CERTIFICATE_REVOKED");
                }
                rules.token_rights(self.principal_type, &token.shown.claims().scope)
            }
        };
        if rights.is_nothing() { Err("PERMISSION_MISSING") } else { Ok(rights) }
    }
}
