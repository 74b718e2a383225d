//! By what a client was let in, and whether that is still good.

use signet_client::{Refusals, ShownBrokerToken, ShownToken};
use signet_core::{
    Identity, PrincipalId, PrincipalType, Serial, Time,
    brokers::{TopicRights, TopicRules, TopicUse},
    spiffe::SpiffeId,
    trust::Refusal,
};

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
    Broker(Box<ShownBrokerToken>),
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

    pub(crate) fn of_broker_token(tenant: usize, shown: ShownBrokerToken) -> Self {
        let Identity { principal, principal_type, .. } = shown.identity();
        let (principal, principal_type) = (principal.clone(), *principal_type);
        Self { tenant, principal, principal_type, by: By::Broker(Box::new(shown)) }
    }

    pub(crate) const fn is_device(&self) -> bool {
        matches!(self.principal_type, PrincipalType::Device)
    }

    /// When it ends by itself.
    pub(crate) fn until(&self) -> Time {
        match &self.by {
            By::Certificate(identity) => identity.not_after,
            By::Token(token) => token.until,
            By::Broker(shown) => shown.identity().not_after,
        }
    }

    /// The reason of that end.
    pub(crate) const fn end(&self) -> &'static str {
        match &self.by {
            By::Certificate(_) => "CERTIFICATE_EXPIRED",
            By::Token(_) => "ACCESS_TOKEN_EXPIRED",
            By::Broker(_) => "BROKER_TOKEN_EXPIRED",
        }
    }

    /// The access token that it has shown.
    pub(crate) const fn token(&self) -> Option<&ShownToken> {
        match &self.by {
            By::Certificate(_) | By::Broker(_) => None,
            By::Token(token) => Some(&token.shown),
        }
    }

    /// Whether what it has shown is for this client id.
    pub(crate) fn is_for(&self, client_id: &[u8]) -> bool {
        match &self.by {
            By::Certificate(_) | By::Token(_) => true,
            By::Broker(shown) => shown.client_id().is_none_or(|named| named.as_bytes() == client_id),
        }
    }

    /// Whether what it has shown leaves it what it may do otherwise.
    pub(crate) fn allows(&self, how: TopicUse, filter: &[u8]) -> bool {
        match &self.by {
            By::Certificate(_) | By::Token(_) => true,
            By::Broker(shown) => shown.allows(how, filter),
        }
    }

    /// What it may at `now`; otherwise why it may nothing.
    pub(crate) fn rights(
        &self,
        refusals: &Refusals,
        rules: &TopicRules,
        now: Time,
    ) -> Result<TopicRights, &'static str> {
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
            By::Broker(shown) => {
                let roles = refusals.admit_broker_token(shown, now)?;
                rules.rights(self.principal_type, &refusals.granted(self.principal_type, &roles))
            }
        };
        if rights.is_nothing() { Err("PERMISSION_MISSING") } else { Ok(rights) }
    }
}
