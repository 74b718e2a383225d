//! What the control plane has said, as a node of it would hold it.

use std::sync::{
    Arc, PoisonError, RwLock,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use signet_core::{
    PrincipalId, PrincipalType, Role, Serial, TenantId, Time,
    tenants::{MAX_LIFETIME, TenantStatus},
    trust::{
        Trust,
        change::{Change, ChangeEntry, LEAST_LIFE},
    },
};
use signet_proto::v1::{self, GrantedPermissions, PrincipalRefusal, RefusalsChange};

use super::{broker::BrokerKeys, settings::RefusalSettings};
use crate::bundle::Bundle;

/// See the module's words.
pub(super) struct Known {
    tenant: TenantId,
    pub(super) trust: Trust,
    tenant_refused: AtomicBool,
    granted: RwLock<Arc<[Granted]>>,
    broker_keys: RwLock<Arc<BrokerKeys>>,
    /// Of what was said: the later counts.
    sequence: AtomicU64,
}

/// To whom a permission was granted.
#[derive(Clone, Debug, Default)]
pub(super) struct Granted {
    types: Vec<PrincipalType>,
    roles: Vec<Role>,
    /// A policy may take it away, so that nobody is known to have it.
    conditional: bool,
}

impl Known {
    /// Nothing: refuses everybody.
    pub(super) fn nothing(tenant: TenantId, settings: &RefusalSettings) -> Self {
        let uptime = Arc::clone(&settings.uptime);
        Self {
            trust: Trust::new(settings.staleness_limit, settings.when_stale, move || uptime()),
            tenant,
            tenant_refused: AtomicBool::new(true),
            granted: RwLock::default(),
            broker_keys: RwLock::default(),
            sequence: AtomicU64::new(0),
        }
    }

    /// What the tenant's verifiers trust.
    pub(super) fn trusts(&self, bundle: &Bundle) {
        let is_refused = self.tenant_refused.load(Ordering::Acquire);
        let status = if is_refused { TenantStatus::Suspended } else { TenantStatus::Active };
        self.trust.set_anchors(&self.tenant, signet_core::trust::TenantTrust { status, ..bundle.trust() });
    }

    /// Takes over what is said at `now`.
    pub(super) fn take(&self, change: &RefusalsChange, bundle: &Bundle, now: Time) {
        self.trust.heard(self.trust.uptime());
        if let Some(refused) = change.tenant_refused {
            self.tenant_refused.store(refused, Ordering::Release);
            self.trusts(bundle);
        }
        if let Some(granted) = &change.granted {
            *self.granted.write().unwrap_or_else(PoisonError::into_inner) = granted_of(granted);
        }
        if let Some(keys) = &change.broker_token_keys {
            *self.broker_keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(BrokerKeys::new(keys));
        }
        let revoked = change.serial_numbers.iter().filter_map(|serial| Serial::from_der_integer(serial));
        // No certificate of today lasts longer.
        let longest = now.plus(MAX_LIFETIME);
        let revoked = revoked.map(|serial| Change::CertificateRevoked { serial, not_after: longest, issuer: None });
        let changes: Vec<_> = revoked.chain(change.principals.iter().flat_map(|of| rulings(of, now))).collect();
        if !changes.is_empty() {
            let sequence = self.sequence.fetch_add(1, Ordering::AcqRel).saturating_add(1);
            let (shard, tenant, until) = (0, self.tenant.clone(), now.plus(LEAST_LIFE));
            let notices = Vec::new();
            self.trust.apply(&ChangeEntry { shard, sequence, tenant, at: now, until, changes, notices });
        }
    }

    /// Whether a principal of this type and these roles has each of the permissions that are followed, in their order.
    pub(super) fn granted(&self, principal_type: PrincipalType, roles: &[Role]) -> Vec<bool> {
        let granted = self.granted.read().unwrap_or_else(PoisonError::into_inner);
        let has = |of: &Granted| {
            !of.conditional && (of.types.contains(&principal_type) || of.roles.iter().any(|role| roles.contains(role)))
        };
        granted.iter().map(has).collect()
    }

    /// What verifies broker tokens.
    pub(super) fn broker_keys(&self) -> Arc<BrokerKeys> {
        Arc::clone(&self.broker_keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Which of the permissions only the control plane itself can decide about, by their numbers.
    pub(super) fn conditional(&self) -> Vec<usize> {
        let granted = self.granted.read().unwrap_or_else(PoisonError::into_inner);
        granted.iter().enumerate().filter(|(_, of)| of.conditional).map(|(number, _)| number).collect()
    }
}

fn granted_of(message: &GrantedPermissions) -> Arc<[Granted]> {
    let types = |of: &[i32]| of.iter().filter_map(|number| principal_type(*number)).collect();
    let roles = |of: &[String]| of.iter().filter_map(|role| role.parse().ok()).collect();
    let all = message.permissions.iter();
    all.map(|one| Granted {
        types: types(&one.principal_types),
        roles: roles(&one.roles),
        conditional: one.conditional,
    })
    .collect()
}

fn principal_type(number: i32) -> Option<PrincipalType> {
    let of = v1::PrincipalType::try_from(number).ok()?;
    PrincipalType::ALL.into_iter().find(|known| match of {
        v1::PrincipalType::Admin => *known == PrincipalType::Admin,
        v1::PrincipalType::User => *known == PrincipalType::User,
        v1::PrincipalType::Worker => *known == PrincipalType::Worker,
        v1::PrincipalType::Service => *known == PrincipalType::Service,
        v1::PrincipalType::Device => *known == PrincipalType::Device,
        v1::PrincipalType::Unspecified => false,
    })
}

/// What holds of a principal from now on. What cannot be read refuses it.
fn rulings(of: &PrincipalRefusal, now: Time) -> Vec<Change> {
    // It has no certificate then.
    let Ok(principal) = of.principal_id.parse::<PrincipalId>() else { return Vec::new() };
    let denied = match of.refuse_end_time.as_ref().map(time) {
        Some(until) => Change::PrincipalDenied { principal: principal.clone(), until },
        None => Change::PrincipalAllowed { principal: principal.clone() },
    };
    let parsed: Result<Vec<Role>, _> = of.roles.iter().map(|role| role.parse()).collect();
    match (of.roles_end_time.as_ref().map(time), parsed) {
        (_, Err(_)) => vec![Change::PrincipalDenied { principal, until: now.plus(MAX_LIFETIME) }],
        // In force until now: those of its certificates are.
        (None, Ok(_)) => vec![denied, Change::PrincipalRoles { principal, roles: Vec::new(), until: now }],
        (Some(until), Ok(roles)) => vec![denied, Change::PrincipalRoles { principal, roles, until }],
    }
}

fn time(of: &prost_types::Timestamp) -> Time {
    let millis = of.seconds.saturating_mul(1000).saturating_add(i64::from(of.nanos / 1_000_000));
    Time::from_unix_millis(millis)
}
