//! What is refused, in parts with a lock each: no writer and no clearing away holds up a look-up for longer than a part
//! takes, and a part that grows moves itself and not ten million entries.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, BuildHasherDefault},
    sync::{
        Arc, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{
    by_serial::{BySerial, SerialHasher},
    locks::{read, write},
    refusal::Refusal,
    refused::{PrincipalRuling, Refused},
    unrecorded::Unrecorded,
};
use crate::{
    Identity, PrincipalId, Role, Serial, TenantId, Time,
    store::layout::shard_of,
    trust::change::{Change, ChangeEntry, ChangeHead, LEAST_LIFE},
};

/// Parts of the revocations: with ten million entries each has 6,500, which take less than 0.1 ms to go through, and is
/// four fifths full.
const REVOKED_PARTS: u32 = 1536;
/// Parts of the rulings over principals.
const RULING_PARTS: u32 = 64;
/// How long a revocation is kept beyond its certificate's end, in seconds: for a clock that was ahead and is set right.
const KEPT_LONGER: u32 = 3600;
/// Parts that one [`Denies::forget_some`] goes through.
const PARTS_AT_ONCE: usize = 12;

/// A revoked certificate.
#[derive(Clone, Copy, Debug)]
struct Revoked {
    /// The second after which it may go (u32: until 2106).
    until: u32,
    /// [`Denies::tenants`] has the number.
    tenant: u32,
}

/// One tenant's principals, of one part.
type Rulings = HashMap<PrincipalId, Ruling>;

#[derive(Debug)]
struct Ruling {
    denied_until: Option<Time>,
    roles: Option<(Arc<[Role]>, Time)>,
    /// Sequence numbers of the feed entries that each of the two follows: one that turns up late takes back nothing
    /// later, and is not taken back by what is about the other.
    denied_by: u64,
    roles_by: u64,
    /// Until then an earlier entry may turn up, which must find the later one's number here.
    late_until: Time,
}

impl Ruling {
    const fn new(late_until: Time) -> Self {
        Self { denied_until: None, roles: None, denied_by: 0, roles_by: 0, late_until }
    }

    fn shown(&self, principal: &PrincipalId, now: Time) -> PrincipalRuling {
        PrincipalRuling {
            principal: principal.clone(),
            denied_until: self.denied_until.filter(|until| now < *until),
            roles: self.roles.as_ref().filter(|(_, until)| now < *until).cloned(),
        }
    }
}

/// Whose records or changes this node cannot read.
#[derive(Debug, Default)]
struct Unreadable {
    /// Whose record.
    tenants: HashSet<TenantId>,
    /// Of whom a CA.
    cas: HashSet<TenantId>,
    /// Of whom a change is not known here, and until when it matters.
    changes: HashMap<TenantId, Time>,
    /// The same for a feed shard: it is not even known whose change it is.
    in_shard: HashMap<u32, Time>,
}

/// See the module's words.
#[derive(Debug)]
pub(super) struct Denies {
    /// By serial number; 24 bytes an entry.
    revoked: Box<[RwLock<BySerial<Revoked>>]>,
    /// A number for each tenant that has had a certificate revoked.
    tenants: RwLock<HashMap<TenantId, u32>>,
    principals: Box<[RwLock<HashMap<TenantId, Rulings>>]>,
    unreadable: RwLock<Unreadable>,
    unrecorded: RwLock<Unrecorded>,
    /// The part that is cleared next.
    next: AtomicUsize,
}

impl Default for Denies {
    fn default() -> Self {
        Self {
            revoked: (0..REVOKED_PARTS).map(|_| RwLock::default()).collect(),
            tenants: RwLock::default(),
            principals: (0..RULING_PARTS).map(|_| RwLock::default()).collect(),
            unreadable: RwLock::default(),
            unrecorded: RwLock::default(),
            next: AtomicUsize::new(0),
        }
    }
}

impl Denies {
    /// A change of the feed entry.
    pub(super) fn apply(&self, entry: &ChangeEntry, change: &Change) {
        let ChangeEntry { tenant, sequence, .. } = entry;
        let sequence = *sequence;
        let late_until = entry.at.plus(LEAST_LIFE);
        let rule = |principal: &PrincipalId, then: &dyn Fn(&mut Ruling)| {
            let Some(part) = self.ruling_part(principal) else { return };
            let mut part = write(part);
            let rulings = part.entry(tenant.clone()).or_default();
            let ruling = rulings.entry(principal.clone()).or_insert(Ruling::new(late_until));
            ruling.late_until = ruling.late_until.max(late_until);
            then(ruling);
        };
        let deny = |ruling: &mut Ruling, until| {
            if ruling.denied_by <= sequence {
                (ruling.denied_by, ruling.denied_until) = (sequence, until);
            }
        };
        match change {
            // Also what seems to have expired: this node's clock may be ahead.
            Change::CertificateRevoked { serial, not_after, issuer: Some(issuer) } => {
                write(&self.unrecorded).revoke(issuer, *serial, seconds(*not_after).saturating_add(KEPT_LONGER));
            }
            Change::CertificateRevoked { serial, not_after, issuer: None } => {
                let until = seconds(*not_after).saturating_add(KEPT_LONGER);
                let revoked = Revoked { until, tenant: self.number_of(tenant) };
                if let Some(part) = self.revoked_part(serial) {
                    write(part).insert(*serial.as_bytes(), revoked);
                }
            }
            Change::PrincipalDenied { principal, until } => {
                rule(principal, &|ruling| deny(ruling, Some(*until)));
            }
            Change::PrincipalAllowed { principal } => {
                rule(principal, &|ruling| deny(ruling, None));
            }
            Change::PrincipalRoles { principal, roles, until } => {
                rule(principal, &|ruling| {
                    if ruling.roles_by <= sequence {
                        (ruling.roles_by, ruling.roles) = (sequence, Some((roles.clone().into(), *until)));
                    }
                });
            }
            Change::TenantChanged | Change::Unknown(_) => {}
        }
    }

    /// The roles that hold instead of those in the certificate, if any.
    pub(super) fn roles_of(&self, identity: &Identity, now: Time) -> Result<Option<Arc<[Role]>>, Refusal> {
        if read(&self.unreadable).matters_to(&identity.tenant, now) {
            return Err(Refusal::TenantUnreadable);
        }
        if self.is_revoked(&identity.serial) {
            return Err(Refusal::Revoked);
        }
        if let Some(refusal) = read(&self.unrecorded).refusal_of(identity) {
            return Err(refusal);
        }
        let Some(part) = self.ruling_part(&identity.principal) else { return Ok(None) };
        let part = read(part);
        let ruling = part.get(&identity.tenant).and_then(|of| of.get(&identity.principal));
        let Some(ruling) = ruling else { return Ok(None) };
        if ruling.denied_until.is_some_and(|until| now < until) {
            return Err(Refusal::PrincipalDenied);
        }
        Ok(ruling.roles.as_ref().filter(|(_, until)| now < *until).map(|(roles, _)| Arc::clone(roles)))
    }

    /// Whether a principal counts as a sender: by what is known of it and its tenant, without a certificate.
    pub(super) fn admit_sender(&self, tenant: &TenantId, id: &PrincipalId, now: Time) -> Result<(), Refusal> {
        if read(&self.unreadable).matters_to(tenant, now) {
            return Err(Refusal::TenantUnreadable);
        }
        let part = self.ruling_part(id).map(read);
        let ruling = part.as_ref().and_then(|part| part.get(tenant)?.get(id));
        let is_denied = ruling.and_then(|ruling| ruling.denied_until).is_some_and(|until| now < until);
        if is_denied { Err(Refusal::PrincipalDenied) } else { Ok(()) }
    }

    pub(super) fn is_revoked(&self, serial: &Serial) -> bool {
        self.revoked_part(serial).is_some_and(|part| read(part).contains_key(serial.as_bytes()))
    }

    /// Whether it was, by this number alone or of some issuer only.
    pub(super) fn is_revoked_somewhere(&self, serial: &Serial) -> bool {
        self.is_revoked(serial) || read(&self.unrecorded).is_revoked(serial)
    }

    pub(super) fn revoked_len(&self) -> usize {
        self.revoked.iter().map(|part| read(part).len()).sum()
    }

    /// Forgets what can no longer matter in the next few parts.
    pub(super) fn forget_some(&self, now: Time) {
        let first = self.next.fetch_add(PARTS_AT_ONCE, Ordering::Relaxed);
        let second = seconds(now);
        write(&self.unreadable).forget(now);
        // Few, and they cost a walk through all of them.
        if first.is_multiple_of(self.revoked.len()) {
            write(&self.unrecorded).forget(second);
        }
        for number in first..first.saturating_add(PARTS_AT_ONCE) {
            let revoked = number.checked_rem(self.revoked.len()).and_then(|index| self.revoked.get(index));
            if let Some(part) = revoked {
                write(part).retain(|_, revoked| revoked.until >= second);
            }
            let rulings = number.checked_rem(self.principals.len()).and_then(|index| self.principals.get(index));
            if let Some(part) = rulings {
                forget_rulings(&mut write(part), now);
            }
        }
    }

    pub(super) fn refuse_unrecorded(&self, identity: &Identity) {
        write(&self.unrecorded).refuse(identity, seconds(identity.not_after).saturating_add(KEPT_LONGER));
    }

    /// Returns whether that is new.
    pub(super) fn deny_unreadable(&self, tenant: &TenantId) -> bool {
        write(&self.unreadable).tenants.insert(tenant.clone())
    }

    /// Whether the tenant's record cannot be read.
    pub(super) fn is_unreadable(&self, tenant: &TenantId) -> bool {
        read(&self.unreadable).tenants.contains(tenant)
    }

    /// Sets whether a CA of the tenant cannot be read. Returns whether that is new.
    pub(super) fn set_lacks_cas(&self, tenant: &TenantId, lacks: bool) -> bool {
        let cas = &mut write(&self.unreadable).cas;
        if lacks { cas.insert(tenant.clone()) } else { cas.remove(tenant) }
    }

    /// Whether a CA of the tenant cannot be read.
    pub(super) fn lacks_cas(&self, tenant: &TenantId) -> bool {
        read(&self.unreadable).cas.contains(tenant)
    }

    /// Returns whether that is new.
    pub(super) fn readable(&self, tenant: &TenantId) -> bool {
        write(&self.unreadable).tenants.remove(tenant)
    }

    /// No entry that comes is earlier than what holds now.
    pub(super) fn renumber(&self) {
        for part in &self.principals {
            write(part).values_mut().flat_map(HashMap::values_mut).for_each(|ruling| {
                (ruling.denied_by, ruling.roles_by) = (0, 0);
            });
        }
    }

    pub(super) fn deny_unknown(&self, shard: u32, tenant: Option<&TenantId>, until: Time) {
        let mut unreadable = write(&self.unreadable);
        let latest = match tenant {
            Some(tenant) => unreadable.changes.entry(tenant.clone()).or_insert(until),
            None => unreadable.in_shard.entry(shard).or_insert(until),
        };
        *latest = until.max(*latest);
    }

    pub(super) fn unreadable_len(&self) -> usize {
        let unreadable = read(&self.unreadable);
        let tenants = unreadable.tenants.union(&unreadable.cas).count();
        [tenants, unreadable.changes.len(), unreadable.in_shard.len()].into_iter().sum()
    }

    /// One part of what is refused of a tenant, whose CAs are `signer`'s; `None`: there is no such part.
    pub(super) fn refused(&self, tenant: &TenantId, signer: &TenantId, part: u32, now: Time) -> Option<Refused> {
        let index = part as usize;
        let revoked = self.revoked.get(index)?;
        let number = read(&self.tenants).get(tenant).copied();
        let revoked = read(revoked);
        let own = revoked.iter().filter(|(_, revoked)| Some(revoked.tenant) == number);
        let mut certificates: Vec<Serial> = own.filter_map(|(serial, _)| Serial::from_der_integer(serial)).collect();
        drop(revoked);
        if part == 0 {
            certificates.extend(read(&self.unrecorded).revoked_of(signer));
        }
        let principals = self.principals.get(index).map(|part| {
            let part = read(part);
            let all = part.get(tenant).into_iter().flatten().map(|(id, ruling)| ruling.shown(id, now));
            all.filter(PrincipalRuling::says_something).collect()
        });
        Some(Refused { certificates, principals: principals.unwrap_or_default() })
    }

    /// What holds of a principal at `now`.
    pub(super) fn ruling(&self, tenant: &TenantId, principal: &PrincipalId, now: Time) -> PrincipalRuling {
        let found = self.ruling_part(principal).and_then(|part| {
            let part = read(part);
            Some(part.get(tenant)?.get(principal)?.shown(principal, now))
        });
        found.unwrap_or_else(|| PrincipalRuling::none(principal))
    }

    /// Whether records or changes of the tenant cannot be read, so that it is refused.
    pub(super) fn is_in_doubt(&self, tenant: &TenantId, now: Time) -> bool {
        read(&self.unreadable).matters_to(tenant, now)
    }

    fn number_of(&self, tenant: &TenantId) -> u32 {
        if let Some(number) = read(&self.tenants).get(tenant) {
            return *number;
        }
        let mut all = write(&self.tenants);
        let next = u32::try_from(all.len()).unwrap_or(u32::MAX);
        *all.entry(tenant.clone()).or_insert(next)
    }

    fn revoked_part(&self, serial: &Serial) -> Option<&RwLock<BySerial<Revoked>>> {
        let hash = BuildHasherDefault::<SerialHasher>::default().hash_one(serial.as_bytes());
        // Bits by which the part's own map does not tell its entries apart: those are the lowest and the highest.
        self.revoked.get((hash >> 40) as usize % REVOKED_PARTS as usize)
    }

    fn ruling_part(&self, principal: &PrincipalId) -> Option<&RwLock<HashMap<TenantId, Rulings>>> {
        self.principals.get(shard_of(principal.as_str(), RULING_PARTS) as usize)
    }
}

impl Unreadable {
    fn matters_to(&self, tenant: &TenantId, now: Time) -> bool {
        let matters = |until: Option<&Time>| until.is_some_and(|until| now < *until);
        self.tenants.contains(tenant)
            || matters(self.changes.get(tenant))
            || (!self.in_shard.is_empty() && matters(self.in_shard.get(&ChangeHead::shard_of(tenant))))
    }

    fn forget(&mut self, now: Time) {
        self.changes.retain(|_, until| now < *until);
        self.in_shard.retain(|_, until| now < *until);
    }
}

fn forget_rulings(part: &mut HashMap<TenantId, Rulings>, now: Time) {
    for of in part.values_mut() {
        of.retain(|_, ruling| {
            now < ruling.late_until
                || ruling.denied_until.is_some_and(|until| now < until)
                || ruling.roles.as_ref().is_some_and(|(_, until)| now < *until)
        });
    }
    part.retain(|_, of| !of.is_empty());
}

fn seconds(time: Time) -> u32 {
    u32::try_from(time.unix_seconds().max(0)).unwrap_or(u32::MAX)
}
