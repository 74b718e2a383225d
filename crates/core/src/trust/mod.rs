//! What a node trusts and refuses at this moment, in memory: tenants' anchors, revocations, suspensions.
//!
//! Loaded at start, then kept by the changes feed. [`Trust::epoch`] rises with every change, so that a connection
//! that was admitted at the present epoch needs no second look.

mod by_serial;
pub mod change;
mod denies;
mod event_stream;
mod events;
mod locks;
mod models;
mod recent;
mod refusal;
mod refused;
mod unrecorded;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use serde::Deserialize;

use self::{
    denies::Denies,
    events::RecentEvents,
    locks::{read, write},
    models::Models,
    recent::Recent,
};

use crate::{
    CaId, Identity, Lifetime, PrincipalId, Role, Serial, TenantId, Time, Uptime,
    authorities::{Ca, CaKind},
    tenants::{FailureLimit, Isolation, Tenant, TenantStatus},
    tokens::{TokenKeys, TokenUse, plan_keys},
    trust::change::{Change, ChangeEntry},
};

pub use event_stream::{MAX_STREAMS, STREAM_KEPT, SecurityEventStream, transaction_id};
pub use events::{EventPlace, KnownEvents, PerShard, RevokedSession, SecurityEvent, security_events};
pub use models::KnownModel;
pub use recent::Affected;
pub use refusal::Refusal;
pub use refused::{PrincipalRuling, Refused};

/// How long a node answers without having heard from the feed.
pub const DEFAULT_STALENESS_LIMIT: Lifetime = Lifetime::seconds(30);

/// What to do once the feed has been silent for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenStale {
    /// Not ready, and every call is refused: the default.
    Refuse,
    /// Go on with what is known; visible in every health answer.
    Serve,
}

/// What to do about a certificate that was never recorded, once it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenUnrecorded {
    /// Count and audit it: the default, since a restore may have lost records.
    Count,
    /// Refuse it on this node, too.
    Refuse,
}

/// A CA certificate that a tenant's leaves may be signed by.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct Anchor {
    pub ca: CaId,
    /// [`Ca::anchor`].
    pub certificate_der: Arc<[u8]>,
    /// Its end of validity.
    pub not_after: Time,
}

/// A tenant's keys for tokens, by what they sign.
pub type TenantTokenKeys = BTreeMap<TokenUse, Arc<TokenKeys>>;

/// A tenant as verifiers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantTrust {
    /// Whether its principals may act.
    pub status: TenantStatus,
    /// The CAs that may have signed its leaves.
    pub anchors: Arc<[Anchor]>,
}

/// See the module's words. Shared by all connections of a node; every method takes `&self`.
pub struct Trust {
    tenants: RwLock<HashMap<TenantId, TenantTrust>>,
    shared: RwLock<Arc<[Anchor]>>,
    /// Of the tenants without a CA of their own: when each was made.
    sharing: RwLock<HashMap<TenantId, Time>>,
    deleted: RwLock<HashMap<TenantId, bool>>,
    models: RwLock<Models>,
    token_keys: RwLock<HashMap<TenantId, TenantTokenKeys>>,
    /// Of the tenants that have one of their own.
    failure_limits: RwLock<HashMap<TenantId, FailureLimit>>,
    denies: Denies,
    epoch: AtomicU64,
    recent: Mutex<Recent>,
    events: Mutex<RecentEvents>,
    /// Reads the machine's uptime: a wall clock that steps must neither hide the feed's silence nor feign it.
    uptime: Box<dyn Fn() -> Uptime + Send + Sync>,
    /// [`NEVER`], or the uptime in milliseconds.
    heard_at: AtomicU64,
    staleness_limit: Lifetime,
    serves_stale: AtomicBool,
}

/// The feed has not answered yet.
const NEVER: u64 = u64::MAX;

impl Trust {
    /// Knows nobody yet, and is stale until [`Self::heard`]. `uptime` is the edge's.
    pub fn new(
        staleness_limit: Lifetime,
        when_stale: WhenStale,
        uptime: impl Fn() -> Uptime + Send + Sync + 'static,
    ) -> Self {
        Self {
            tenants: RwLock::default(),
            shared: RwLock::new(Arc::new([])),
            sharing: RwLock::default(),
            deleted: RwLock::default(),
            models: RwLock::default(),
            token_keys: RwLock::default(),
            failure_limits: RwLock::default(),
            denies: Denies::default(),
            epoch: AtomicU64::new(1),
            recent: Mutex::default(),
            events: Mutex::default(),
            uptime: Box::new(uptime),
            heard_at: AtomicU64::new(NEVER),
            staleness_limit,
            serves_stale: AtomicBool::new(when_stale == WhenStale::Serve),
        }
    }

    /// Rises with every change that could turn a yes into a no.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// What decisions the changes after `epoch` may have turned, of those about `tenant`'s principals; in order.
    pub fn affected_since(&self, epoch: u64, tenant: &TenantId) -> Vec<Affected> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).since(epoch, tenant)
    }

    fn changed(&self, affected: impl IntoIterator<Item = Affected>) {
        // Under the lock: who has seen an epoch finds what it was about.
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let epoch = self.epoch.load(Ordering::Acquire).saturating_add(1);
        if self.heard_at.load(Ordering::Acquire) == NEVER {
            recent.skip(epoch);
        } else {
            affected.into_iter().for_each(|affected| recent.push(epoch, affected));
        }
        self.epoch.store(epoch, Ordering::Release);
    }

    /// The tenant's security events of entries after those that were `read`, as far as they are remembered.
    pub fn known_events(&self, tenant: &TenantId, read: &PerShard) -> KnownEvents {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).known(tenant, read)
    }

    /// Whether there may be security events of the tenant that were not yet `seen`. No allocation, no wait.
    pub fn has_security_events(&self, seen: u64, tenant: &TenantId) -> bool {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).has_since(seen, tenant)
    }

    /// Nothing of the feed's shard up to this entry turns up late.
    pub fn settle(&self, shard: u32, number: u64) {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).settle(shard, number);
    }

    /// The machine's uptime now, for [`Self::heard`].
    pub fn uptime(&self) -> Uptime {
        (self.uptime)()
    }

    /// The feed answered a question put at `asked_at`: everything committed before is known.
    pub fn heard(&self, asked_at: Uptime) {
        let (at, order) = (asked_at.as_millis().min(NEVER - 1), Ordering::AcqRel);
        // An earlier question whose answer comes late takes nothing back.
        let later = |known| (known == NEVER || known < at).then_some(at);
        let _ = self.heard_at.fetch_update(order, Ordering::Acquire, later);
    }

    /// Milliseconds since the feed last answered; `None` if it never did.
    pub fn staleness_millis(&self) -> Option<u64> {
        let heard = self.heard_at.load(Ordering::Acquire);
        (heard != NEVER).then(|| self.uptime().as_millis().saturating_sub(heard))
    }

    /// Whether the feed has been silent for longer than the limit.
    pub fn is_stale(&self) -> bool {
        let limit = self.staleness_limit.millis().unsigned_abs();
        self.staleness_millis().is_none_or(|age| age > limit)
    }

    /// What a stale node does.
    pub fn when_stale(&self) -> WhenStale {
        if self.serves_stale.load(Ordering::Acquire) { WhenStale::Serve } else { WhenStale::Refuse }
    }

    /// Chooses anew what a stale node does: an operator's word during an outage.
    pub fn set_when_stale(&self, when_stale: WhenStale) {
        self.serves_stale.store(when_stale == WhenStale::Serve, Ordering::Release);
    }

    /// Whether calls are refused because the feed has been silent for too long.
    pub fn refuses_all(&self) -> bool {
        self.when_stale() == WhenStale::Refuse && self.is_stale()
    }

    /// Sets what is known of a tenant: its record and all its CAs. For the system tenant this also sets the shared CA.
    /// Where nothing is new, the epoch stays.
    pub fn set_tenant(&self, tenant: &Tenant, cas: &[Ca]) {
        let is_purged = tenant.purge().is_some();
        let anchors = |kind: CaKind| -> Arc<[Anchor]> {
            let is_trusted = |ca: &&Ca| ca.kind == kind && ca.state.is_trusted() && !is_purged;
            cas.iter().filter(is_trusted).map(Anchor::from).collect()
        };
        let status = if tenant.is_active() { TenantStatus::Active } else { TenantStatus::Suspended };
        let trust = TenantTrust { status, anchors: anchors(CaKind::Tenant) };
        let mut shared_changed = false;
        if tenant.id.is_system() {
            let shared = anchors(CaKind::Shared);
            shared_changed = std::mem::replace(&mut *write(&self.shared), Arc::clone(&shared)) != shared;
        }
        let mut deleted = write(&self.deleted);
        if tenant.is_deleted() {
            deleted.insert(tenant.id.clone(), is_purged)
        } else {
            deleted.remove(&tenant.id)
        };
        drop(deleted);
        let mut failure_limits = write(&self.failure_limits);
        match tenant.failure_limit {
            Some(limit) => failure_limits.insert(tenant.id.clone(), limit),
            None => failure_limits.remove(&tenant.id),
        };
        drop(failure_limits);
        let shares = (tenant.isolation == Isolation::Shared && !is_purged).then_some(tenant.created_at);
        let mut sharing = write(&self.sharing);
        let before = match shares {
            Some(created_at) => sharing.insert(tenant.id.clone(), created_at),
            None => sharing.remove(&tenant.id),
        };
        drop(sharing);
        let mut changed = before != shares;
        changed |= write(&self.tenants).insert(tenant.id.clone(), trust.clone()).as_ref() != Some(&trust);
        changed |= self.denies.readable(&tenant.id);
        if shared_changed {
            self.changed([Affected::Everybody]);
        } else if changed {
            self.changed([Affected::Tenant(tenant.id.clone())]);
        }
    }

    /// Sets the anchors of a tenant for a process that follows one and has no records of it. Where nothing is new, the
    /// epoch stays.
    pub fn set_anchors(&self, tenant: &TenantId, trust: TenantTrust) {
        let before = write(&self.tenants).insert(tenant.clone(), trust.clone());
        if before != Some(trust) {
            self.changed([Affected::Tenant(tenant.clone())]);
        }
    }

    /// Sets what is known of a tenant's authorization model; `None`: it has none. Where nothing is new, the epoch
    /// stays.
    pub fn set_model(&self, tenant: &TenantId, model: Option<KnownModel>) {
        if write(&self.models).set(tenant, model) {
            // The environment's holds in every tenant.
            let everywhere = tenant.is_system();
            self.changed([if everywhere { Affected::Everybody } else { Affected::Tenant(tenant.clone()) }]);
        }
    }

    /// What is known of a tenant's authorization model; `None`: it has none.
    pub fn model(&self, tenant: &TenantId) -> Option<KnownModel> {
        read(&self.models).get(tenant).cloned()
    }

    /// Sets what is known of a tenant's keys for tokens. Whoever follows the epoch hears of them; a key of access
    /// tokens that is gone turns what was decided by such a token.
    pub fn set_token_keys(&self, tenant: &TenantId, keys: TenantTokenKeys) {
        let mut all = write(&self.token_keys);
        let before = all.get(tenant);
        if before == Some(&keys) || (before.is_none() && keys.is_empty()) {
            return;
        }
        let access = |keys: &TenantTokenKeys| keys.get(&TokenUse::AccessToken).cloned();
        let (old, new) = (before.and_then(access), access(&keys));
        let stays = |id: &str| new.as_ref().is_some_and(|new| new.find(id).is_some());
        let is_less = old.is_some_and(|old| old.keys.iter().any(|key| !stays(&key.id)));
        all.insert(tenant.clone(), keys);
        drop(all);
        self.changed(is_less.then(|| Affected::Tenant(tenant.clone())));
    }

    /// A tenant's keys for a kind of token, if it has some.
    pub fn token_keys(&self, tenant: &TenantId, for_use: TokenUse) -> Option<Arc<TokenKeys>> {
        read(&self.token_keys).get(tenant)?.get(&for_use).cloned()
    }

    /// All tenants' keys for tokens for which something is due at `now`.
    pub fn token_keys_due(&self, now: Time) -> Vec<(TenantId, TokenUse)> {
        let all = read(&self.token_keys);
        let each = all.values().flat_map(|of| of.values());
        let due = each.filter(|keys| plan_keys(keys.for_use, &keys.keys, now).is_some());
        due.map(|keys| (keys.tenant.clone(), keys.for_use)).collect()
    }

    /// To be called again and again: if a grant for a time has ended since the last call, every session looks again at
    /// what it may.
    pub fn end_grants(&self, now: Time) {
        if write(&self.models).end_grants(now) {
            // Who keeps an answer does so no longer than a grant.
            self.changed([]);
        }
    }

    /// Refuses the holder of a certificate that was never recorded, until it expires. What it says counts, not its
    /// serial number, which may be another's.
    pub fn refuse_unrecorded(&self, identity: &Identity) {
        self.denies.refuse_unrecorded(identity);
        self.changed([Affected::Certificate(identity.tenant.clone(), identity.serial)]);
    }

    /// The tenant's record cannot be read: refuses the tenant until [`Self::set_tenant`].
    pub fn deny_unreadable(&self, tenant: &TenantId) {
        if self.denies.deny_unreadable(tenant) {
            self.changed([Affected::Tenant(tenant.clone())]);
        }
    }

    /// Sets whether a CA of the tenant cannot be read: whoever has a certificate that no other CA of it signed is told
    /// that, and not that the CA is none.
    pub fn set_lacks_cas(&self, tenant: &TenantId, lacks: bool) {
        if self.denies.set_lacks_cas(tenant, lacks) {
            self.changed([Affected::Tenant(tenant.clone())]);
        }
    }

    /// Whether what this node knows of the tenant is not all, since a record of it (or a shared CA, if it uses these)
    /// cannot be read: what is unknown here may be good.
    pub fn lacks_records(&self, tenant: &TenantId) -> bool {
        let shares = read(&self.sharing).contains_key(tenant);
        let signer = if shares { TenantId::system() } else { tenant.clone() };
        self.denies.is_unreadable(tenant) || self.denies.lacks_cas(&signer)
    }

    /// A feed entry that matters until then cannot be read: it may have taken away any right of its tenant, or, where
    /// that cannot be read either, of any tenant of the shard. These are refused until then.
    pub fn deny_unknown_change(&self, shard: u32, tenant: Option<&TenantId>, until: Time) {
        self.denies.deny_unknown(shard, tenant, until);
        self.changed([tenant.map_or(Affected::Everybody, |tenant| Affected::Tenant(tenant.clone()))]);
    }

    /// The feed begins anew with other numbers, after a restore: what follows is later than all that was applied.
    /// Nothing is forgotten.
    pub fn renumber(&self) {
        self.denies.renumber();
        self.events.lock().unwrap_or_else(PoisonError::into_inner).renumber();
    }

    /// How many tenants, or shards of tenants, are refused since a record or a change of theirs cannot be read; or have
    /// rules that cannot be, which then grant nothing.
    pub fn unreadable_len(&self) -> usize {
        self.denies.unreadable_len().saturating_add(read(&self.models).unreadable_len())
    }

    /// What is known of a tenant, with the anchors that hold for it.
    pub fn tenant(&self, tenant: &TenantId) -> Option<TenantTrust> {
        let mut known = read(&self.tenants).get(tenant)?.clone();
        if read(&self.sharing).contains_key(tenant) {
            known.anchors = Arc::clone(&read(&self.shared));
        }
        Some(known)
    }

    /// The anchors of the shared CA.
    pub fn shared_anchors(&self) -> Arc<[Anchor]> {
        Arc::clone(&read(&self.shared))
    }

    /// The anchor of a CA that may have signed leaves, of a tenant or shared.
    pub fn anchor(&self, ca: &CaId) -> Option<Anchor> {
        let of = |anchors: &[Anchor]| anchors.iter().find(|anchor| anchor.ca == *ca).cloned();
        let own = read(&self.tenants).get(&ca.owner()).and_then(|owner| of(&owner.anchors));
        own.or_else(|| of(&read(&self.shared)))
    }

    /// Whether the shared CA signs for the tenant, as for others.
    pub fn shares_ca(&self, tenant: &TenantId) -> bool {
        read(&self.sharing).contains_key(tenant)
    }

    /// Whether the tenant is known here, and not suspended.
    pub fn is_active(&self, tenant: &TenantId) -> bool {
        read(&self.tenants).get(tenant).is_some_and(|known| known.status == TenantStatus::Active)
    }

    /// When the tenant's principals are suspended by themselves.
    pub fn failure_limit(&self, tenant: &TenantId) -> FailureLimit {
        read(&self.failure_limits).get(tenant).copied().unwrap_or_default()
    }

    /// Whether the tenant was deleted, purged or not.
    pub fn is_deleted(&self, tenant: &TenantId) -> bool {
        read(&self.deleted).contains_key(tenant)
    }

    /// Whether the tenant's purge has begun, so that nothing of it is trusted any more.
    pub fn is_purged(&self, tenant: &TenantId) -> bool {
        read(&self.deleted).get(tenant).is_some_and(|is_purged| *is_purged)
    }

    /// All tenants known here.
    pub fn tenants(&self) -> Vec<TenantId> {
        read(&self.tenants).keys().cloned().collect()
    }

    /// Applies a feed entry; a change that is not known here has its tenant refused until it no longer matters. Returns
    /// whether the tenant's records must be read again ([`Self::set_tenant`]).
    pub fn apply(&self, entry: &ChangeEntry) -> bool {
        let mut reload = false;
        for change in &entry.changes {
            match change {
                Change::TenantChanged => reload = true,
                Change::Unknown(_) => {
                    reload = true;
                    self.denies.deny_unknown(entry.shard, Some(&entry.tenant), entry.until);
                }
                other => self.denies.apply(entry, other),
            }
        }
        let is_loaded = self.heard_at.load(Ordering::Acquire) != NEVER;
        self.events.lock().unwrap_or_else(PoisonError::into_inner).apply(entry, is_loaded);
        // After it: who has seen an epoch finds its events.
        let changes = entry.changes.iter().filter_map(|change| change.affects(&entry.tenant));
        self.changed(changes.chain(entry.notices.iter().filter_map(|notice| notice.affects(&entry.tenant))));
        reload
    }

    /// Whether the identity may act at `now`, and with which roles. No allocation, no wait.
    pub fn admit(&self, identity: &Identity, now: Time) -> Result<Arc<[Role]>, Refusal> {
        if self.refuses_all() {
            return Err(Refusal::Stale);
        }
        if now < identity.not_before {
            return Err(Refusal::NotYetValid);
        }
        if now >= identity.not_after {
            return Err(Refusal::Expired);
        }
        self.admit_tenant(identity)?;
        let roles = self.denies.roles_of(identity, now)?;
        Ok(roles.unwrap_or_else(|| Arc::clone(&identity.roles)))
    }

    /// Whether what a principal has sent counts at `now`, whoever brings it: its tenant is active, and it is not
    /// refused itself. Who was suspended for longer than its certificates live is not known here: its record says it.
    pub fn admit_sender(&self, tenant: &TenantId, principal: &PrincipalId, now: Time) -> Result<(), Refusal> {
        if self.refuses_all() {
            return Err(Refusal::Stale);
        }
        match read(&self.tenants).get(tenant) {
            None if self.lacks_records(tenant) => return Err(Refusal::TenantUnreadable),
            None => return Err(Refusal::UnknownTenant),
            Some(known) if known.status != TenantStatus::Active => return Err(Refusal::TenantSuspended),
            Some(_) => {}
        }
        self.denies.admit_sender(tenant, principal, now)
    }

    fn admit_tenant(&self, identity: &Identity) -> Result<(), Refusal> {
        let tenants = read(&self.tenants);
        let Some(tenant) = tenants.get(&identity.tenant) else {
            let lacks = self.lacks_records(&identity.tenant);
            return Err(if lacks { Refusal::TenantUnreadable } else { Refusal::UnknownTenant });
        };
        if tenant.status != TenantStatus::Active {
            return Err(Refusal::TenantSuspended);
        }
        let signed = |anchors: &[Anchor]| anchors.iter().any(|anchor| anchor.ca == identity.issuer);
        let shares = read(&self.sharing).get(&identity.tenant).copied();
        let trusted = if shares.is_some() { signed(&read(&self.shared)) } else { signed(&tenant.anchors) };
        match shares {
            _ if !trusted && self.lacks_records(&identity.tenant) => Err(Refusal::TenantUnreadable),
            _ if !trusted => Err(Refusal::IssuerRetired),
            // The CA is older than both; where a tenant has its own, that one's age tells (`x509::chain`).
            Some(created_at) if identity.serial.predates(created_at) => Err(Refusal::TenantReplaced),
            _ => Ok(()),
        }
    }

    /// Forgets some refusals that can no longer matter, so few that nobody waits for it; to be called again and again.
    /// Not a change: what they refused has expired.
    pub fn forget_some(&self, now: Time) {
        self.denies.forget_some(now);
    }

    /// How many revoked certificates are held.
    pub fn revoked_len(&self) -> usize {
        self.denies.revoked_len()
    }

    /// One part of what is refused of a tenant at `now`, from 0 on; `None`: that was the last one. What changes
    /// meanwhile may be in it or not: [`Self::affected_since`] tells.
    pub fn refused(&self, tenant: &TenantId, part: u32, now: Time) -> Option<Refused> {
        let signer = if self.shares_ca(tenant) { &TenantId::system() } else { tenant };
        self.denies.refused(tenant, signer, part, now)
    }

    /// Whether a certificate of this serial number was revoked, be it for one issuer only: to be told to those who do
    /// not know issuers by name.
    pub fn is_revoked_somewhere(&self, serial: &Serial) -> bool {
        self.denies.is_revoked_somewhere(serial)
    }

    /// What holds of a principal at `now`, whatever its certificates say.
    pub fn ruling(&self, tenant: &TenantId, principal: &PrincipalId, now: Time) -> PrincipalRuling {
        self.denies.ruling(tenant, principal, now)
    }

    /// Whether nobody of the tenant may act at `now`: it is suspended, not known, or cannot be read.
    pub fn refuses_tenant(&self, tenant: &TenantId, now: Time) -> bool {
        !self.is_active(tenant) || self.denies.is_in_doubt(tenant, now)
    }

    /// Whether this serial number is revoked.
    pub fn is_revoked(&self, serial: &Serial) -> bool {
        self.denies.is_revoked(serial)
    }
}

impl From<&Ca> for Anchor {
    fn from(ca: &Ca) -> Self {
        Self { ca: ca.id.clone(), certificate_der: ca.anchor().into(), not_after: ca.not_after }
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (epoch, staleness_millis) = (self.epoch(), self.staleness_millis());
        f.debug_struct("Trust")
            .field("epoch", &epoch)
            .field("staleness_millis", &staleness_millis)
            .finish_non_exhaustive()
    }
}
