//! What programs hold.

use std::{fmt, sync::Arc};

use signet_core::{
    Identity, PrincipalId, PrincipalType, Role, Serial, TenantId, Time, spiffe::SpiffeId, trust::Refusal,
};
use signet_x509::{ChainError, verify_client};

use super::{broker::ShownBrokerToken, follow, settings::RefusalSettings, state::Inner};
use crate::identity::{Shared, Task};

/// Who is refused in the tenant at this moment, from [`crate::Identity::refusals`]. Nothing here waits; clones share
/// what is known. The identity must be a service's or an admin's.
#[derive(Clone)]
pub struct Refusals {
    inner: Arc<Inner>,
    shared: Arc<Shared>,
    _follower: Arc<Task>,
}

impl Refusals {
    pub(crate) fn new(shared: Arc<Shared>, settings: RefusalSettings) -> Self {
        let inner = Arc::new(Inner::new(shared.anchors.tenant.clone(), settings));
        let follower = Task::spawn(follow::run(Arc::clone(&shared), Arc::clone(&inner)));
        Self { inner, shared, _follower: Arc::new(follower) }
    }

    /// The tenant.
    pub fn tenant(&self) -> &TenantId {
        &self.shared.anchors.tenant
    }

    /// The time now, by the identity's clock.
    pub fn now(&self) -> Time {
        self.shared.now()
    }

    /// Whose certificate it is: signed by a CA of the tenant, for a client, valid at `now`. [`Self::admit`] tells
    /// whether its holder may act.
    pub fn identify(&self, leaf_der: &[u8], now: Time) -> Result<Identity, ChainError> {
        let known = self.inner.known.load();
        let own = |tenant: &TenantId| known.trust.tenant(tenant);
        verify_client(leaf_der, &self.shared.anchors.environment, own, now)
    }

    /// The principal of the tenant that a SPIFFE ID names.
    pub fn principal(&self, spiffe_id: &str) -> Option<SpiffeId> {
        let suffix = self.shared.anchors.environment.suffix();
        SpiffeId::parse(spiffe_id, suffix).filter(|id| id.tenant == *self.tenant())
    }

    /// Whether the holder of a certificate may act at `now`, and with which roles.
    pub fn admit(&self, identity: &Identity, now: Time) -> Result<Arc<[Role]>, Refusal> {
        self.inner.known.load().trust.admit(identity, now)
    }

    /// Whether a principal may act at `now`, whatever its certificates say.
    pub fn admit_principal(&self, principal: &PrincipalId, now: Time) -> Result<(), Refusal> {
        let known = self.inner.known.load();
        match () {
            () if known.trust.refuses_all() => Err(Refusal::Stale),
            () if known.trust.refuses_tenant(self.tenant(), now) => Err(Refusal::TenantSuspended),
            () if known.trust.ruling(self.tenant(), principal, now).denied_until.is_some() => {
                Err(Refusal::PrincipalDenied)
            }
            () => Ok(()),
        }
    }

    /// Whether a certificate was revoked.
    pub fn is_revoked(&self, serial: &Serial) -> bool {
        self.inner.known.load().trust.is_revoked(serial)
    }

    /// A broker token ([`ShownBrokerToken::is_one`]), if the tenant's issuer made it for `audience` and it is not over
    /// at `now`; otherwise a reason. [`Self::admit_broker_token`] tells whether its holder may act.
    pub fn verify_broker_token(
        &self,
        token: &str,
        audience: &str,
        now: Time,
    ) -> Result<ShownBrokerToken, &'static str> {
        let claims = self.inner.known.load().broker_keys().verified(token, audience, now)?;
        let principal = |id: &str| self.principal(id);
        ShownBrokerToken::new(claims, principal).ok_or("BROKER_TOKEN_MALFORMED")
    }

    /// Whether the holder of a broker token may act at `now`, and with which roles: its key, its certificate and its
    /// principal are good. Otherwise a reason.
    pub fn admit_broker_token(&self, shown: &ShownBrokerToken, now: Time) -> Result<Arc<[Role]>, &'static str> {
        let (known, identity) = (self.inner.known.load(), shown.identity());
        // The token names its certificate's CA by an id that nothing here has: that one is over is not seen.
        self.admit_principal(&identity.principal, now).map_err(Refusal::reason)?;
        if known.trust.is_revoked(&identity.serial) {
            return Err("CERTIFICATE_REVOKED");
        }
        if !known.broker_keys().has(shown.key_id()) {
            return Err("BROKER_TOKEN_KEY_UNKNOWN");
        }
        let changed = known.trust.ruling(self.tenant(), &identity.principal, now).roles;
        Ok(changed.map_or_else(|| Arc::clone(&identity.roles), |(roles, _)| roles))
    }

    /// Whether a principal of this type and these roles has each of [`RefusalSettings::permissions`], in their order.
    /// Nobody has one that a policy may take away, or any before something was heard.
    pub fn granted(&self, principal_type: PrincipalType, roles: &[Role]) -> Vec<bool> {
        let mut granted = self.inner.known.load().granted(principal_type, roles);
        granted.resize(self.inner.settings.permissions.len(), false);
        granted
    }

    /// Those of [`RefusalSettings::permissions`] that a policy may take away, so that nobody is known to have them.
    pub fn conditional(&self) -> Vec<String> {
        let numbers = self.inner.known.load().conditional();
        numbers.into_iter().filter_map(|number| self.inner.settings.permissions.get(number).cloned()).collect()
    }

    /// Rises with every change that may turn a yes into a no, but for those that time alone brings.
    pub fn epoch(&self) -> u64 {
        self.inner.epoch()
    }

    /// Whether everybody is refused, since nothing was heard for too long, or never.
    pub fn refuses_all(&self) -> bool {
        self.inner.known.load().trust.refuses_all()
    }
}

impl fmt::Debug for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refusals").field("epoch", &self.epoch()).finish_non_exhaustive()
    }
}
