//! What is true, as the store's transactions tell it, and what must never be.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use signet_app::IssuedLeaf;
use signet_core::{
    CaId, Identity, PrincipalId, Role, Serial, TenantId, Time,
    audit::AuditEvent,
    authorities::{Ca, CaKind, CaState},
    certificates::{Certificate, CertificateKind, CertificateState},
    principals::{Principal, PrincipalStatus},
    store::{Body, Transaction, Write},
    tenants::{Tenant, TenantStatus},
    trust::{Anchor, change::Change},
};

/// A fact and since when (true milliseconds) it is so.
#[derive(Clone, Debug)]
struct Since<T> {
    value: T,
    at: u64,
}

/// See the module's words.
#[derive(Clone, Debug, Default)]
pub(crate) struct Oracle {
    /// What went wrong, the first first.
    pub(crate) violations: Vec<String>,
    /// To-be-signed bytes that were recorded.
    recorded: HashSet<Vec<u8>>,
    /// SHA-256 of what audit events announce that it will be signed.
    events: Vec<String>,
    certificates: BTreeMap<Serial, Since<Certificate>>,
    principals: BTreeMap<(TenantId, PrincipalId), Since<Principal>>,
    tenants: BTreeMap<TenantId, Since<TenantStatus>>,
    cas: BTreeMap<CaId, Since<Ca>>,
    /// Requests that were answered, and with which certificate.
    answered: BTreeMap<String, Option<Serial>>,
    /// What single-use tokens gave.
    redeemed: BTreeMap<String, BTreeSet<Serial>>,
}

impl Oracle {
    pub(crate) fn has_record_of(&self, message: &[u8]) -> bool {
        self.recorded.contains(message)
    }

    /// The store has applied this at `now`, and queries see all of it at `at`.
    pub(crate) fn applied(&mut self, now: u64, at: u64, transaction: &Transaction) {
        // What is late is asked for every 200 ms, and a tenant again when a quarter of the time since it changed has
        // passed.
        let at = if at > now { at + 200 } else { at };
        let read_at = at + (at - now) / 3;
        let (mut events, mut changes, mut states, mut announces) = (0, Vec::new(), 0, false);
        for write in transaction.writes() {
            let (Write::Create(body) | Write::Replace(body, _)) = write else { continue };
            match body {
                Body::AuditEvent(event) => {
                    events += 1;
                    self.hear(event);
                }
                Body::Change(entry) => {
                    changes.extend(entry.changes.iter().map(|change| (entry.tenant.clone(), change.clone())));
                }
                Body::ChangeHead(_) => announces = true,
                Body::Certificate(new) if new.state == CertificateState::Reserved => {}
                // The lists of a simulation have one part.
                Body::RevocationListPart(part) => drop(self.recorded.insert(part.tbs_der.clone())),
                Body::Tenant(_)
                | Body::Ca(_)
                | Body::Principal(_)
                | Body::Token(_)
                | Body::Rule(_)
                | Body::RevocationList(_)
                | Body::Certificate(_) => states += 1,
                _ => {}
            }
        }
        // Several commits may share a transaction that moves the feed's head.
        if states > 0 && (events == 0 || (events > 1 && !announces)) {
            self.violations.push(format!("invariant 5: {states} changes of state with {events} audit events"));
        }
        for write in transaction.writes() {
            match write {
                Write::Create(Body::Tenant(new)) | Write::Replace(Body::Tenant(new), _) => {
                    self.tenant(read_at, new, &changes);
                }
                Write::Create(Body::Ca(new)) | Write::Replace(Body::Ca(new), _) => self.ca(read_at, new, &changes),
                Write::Create(Body::Principal(new)) | Write::Replace(Body::Principal(new), _) => {
                    self.principal(at, new, &changes);
                }
                Write::Create(Body::Certificate(new)) | Write::Replace(Body::Certificate(new), _) => {
                    self.certificate(at, new, &changes);
                }
                _ => {}
            }
        }
    }

    /// Invariants 9 and 14: what was answered does not happen again, however late its repetition comes.
    fn hear(&mut self, event: &AuditEvent) {
        let payload: serde_json::Value = serde_json::from_str(&event.payload).unwrap();
        let request = payload["request_id"].as_str().unwrap_or_default();
        let closes = payload["details"]["state"] == "abandoned";
        if payload["outcome"] == "OK" && !closes && self.answered.contains_key(request) {
            self.violations.push(format!("invariant 9: {request} was answered and acted again: {}", event.payload));
        }
        self.events.push(event.payload.clone());
    }

    fn must_announce(
        &mut self,
        what: &str,
        changes: &[(TenantId, Change)],
        is_it: impl Fn(&TenantId, &Change) -> bool,
    ) {
        if !changes.iter().any(|(tenant, change)| is_it(tenant, change)) {
            self.violations.push(format!("invariant 4: no node hears of {what}"));
        }
    }

    fn tenant(&mut self, at: u64, new: &Tenant, changes: &[(TenantId, Change)]) {
        if self.tenants.get(&new.id).is_none_or(|known| known.value != new.status) {
            let is_it = |tenant: &TenantId, change: &Change| *tenant == new.id && *change == Change::TenantChanged;
            self.must_announce(&format!("the tenant {}", new.id), changes, is_it);
            let at = self.tenants.get(&new.id).map_or(at, |known| known.at.max(at));
            self.tenants.insert(new.id.clone(), Since { value: new.status, at });
        }
    }

    fn ca(&mut self, at: u64, new: &Ca, changes: &[(TenantId, Change)]) {
        let before = self.cas.get(&new.id);
        let unchanged = before.filter(|known| known.value.state.is_trusted() == new.state.is_trusted());
        let since = unchanged.map_or(at.max(before.map_or(at, |known| known.at)), |known| known.at);
        if before.is_some_and(|known| known.value.state == CaState::Prepared && new.updated_at < known.value.known_at())
            && new.state == CaState::Active
            && self.cas.values().any(|ca| Self::signs_for(&ca.value, new) && new.updated_at < ca.value.not_after)
        {
            self.violations.push(format!("{} signs before verifiers know it", new.id));
        }
        if unchanged.is_none() {
            let is_it = |tenant: &TenantId, change: &Change| *tenant == new.tenant && *change == Change::TenantChanged;
            self.must_announce(&format!("the CA {}", new.id), changes, is_it);
        }
        self.cas.insert(new.id.clone(), Since { value: new.clone(), at: since });
    }

    fn signs_for(ca: &Ca, like: &Ca) -> bool {
        ca.state == CaState::Active && ca.kind == like.kind && ca.tenant == like.tenant
    }

    /// The tenant's CAs that sign at `now`.
    pub(crate) fn signing(&self, tenant: &TenantId, now: Time) -> usize {
        let of = |ca: &Ca| ca.tenant == *tenant && ca.state == CaState::Active && now < ca.not_after;
        self.cas.values().filter(|known| of(&known.value)).count()
    }

    fn principal(&mut self, at: u64, new: &Principal, changes: &[(TenantId, Change)]) {
        let key = (new.tenant.clone(), new.id.clone());
        let Some(known) = self.principals.get_mut(&key) else {
            self.principals.insert(key, Since { value: new.clone(), at });
            return;
        };
        let before = std::mem::replace(&mut known.value, new.clone());
        let (status, roles) = (before.status != new.status, before.roles != new.roles);
        if status || roles {
            // An earlier change may be seen later.
            known.at = known.at.max(at);
        }
        if before.status == PrincipalStatus::Deleted && new.status != PrincipalStatus::Deleted {
            if before.free_at.is_none_or(|free_at| new.created_at < free_at) {
                self.violations.push(format!("invariant 14: {} came back after its deletion", new.id));
            }
            // Another life of the id, which nobody refuses any more.
            return;
        }
        if status {
            let is_it = |tenant: &TenantId, change: &Change| match change {
                Change::PrincipalAllowed { principal } => new.status == PrincipalStatus::Active && *principal == new.id,
                Change::PrincipalDenied { principal, .. } => {
                    new.status != PrincipalStatus::Active && *principal == new.id
                }
                _ => false,
            } && *tenant == new.tenant;
            self.must_announce(&format!("the status of {}", new.id), changes, is_it);
        }
        if roles {
            let is_it = |tenant: &TenantId, change: &Change| {
                let Change::PrincipalRoles { principal, roles, .. } = change else { return false };
                *tenant == new.tenant && *principal == new.id && *roles == new.roles
            };
            self.must_announce(&format!("the roles of {}", new.id), changes, is_it);
        }
    }

    fn certificate(&mut self, at: u64, new: &Certificate, changes: &[(TenantId, Change)]) {
        use CertificateState::{Abandoned, Issued, Reserved, Revoked};
        self.recorded.insert(new.tbs_der.clone());
        let before = self.certificates.get(&new.serial).map(|known| known.value.state.clone());
        let changed = before.as_ref() != Some(&new.state);
        let may = match (&before, &new.state) {
            (None, Reserved) | (Some(Reserved), Issued | Abandoned) | (Some(Issued), Revoked { .. }) => true,
            _ => !changed,
        };
        if !may {
            self.violations.push(format!("invariant 14: {} went from {before:?} to {:?}", new.serial, new.state));
        }
        if changed && matches!(new.state, Revoked { .. }) {
            let is_it = |_: &TenantId, change: &Change| matches!(change, Change::CertificateRevoked { serial, .. } if *serial == new.serial);
            self.must_announce(&format!("the revocation of {}", new.serial), changes, is_it);
        }
        let before = self.certificates.get(&new.serial).map_or(0, |known| known.at);
        let at = if changed { at.max(before) } else { before };
        self.certificates.insert(new.serial, Since { value: new.clone(), at });
    }

    /// A request was answered well.
    pub(crate) fn answered(&mut self, request: &str, leaf: Option<&IssuedLeaf>, token: Option<&str>) {
        let serial = leaf.map(|leaf| leaf.certificate.serial);
        if self.answered.get(request).is_some_and(|before| *before != serial) {
            self.violations.push(format!("invariant 9: {request} was answered with another certificate"));
        }
        self.answered.insert(request.to_owned(), serial);
        let Some(leaf) = leaf else { return };
        let known = self.on_record(&leaf.certificate.serial);
        let on_record = known.is_some_and(|known| known.value.certificate_der == leaf.chain_der[0]);
        if !on_record {
            self.violations.push(format!("invariant 1: {} was released without a record", leaf.certificate.serial));
        }
        if let Some(token) = token {
            let redeemed = self.redeemed.entry(token.to_owned()).or_default();
            redeemed.insert(leaf.certificate.serial);
            if redeemed.len() > 1 {
                self.violations.push(format!("invariant 6: a single-use token gave {redeemed:?}"));
            }
        }
    }

    /// Whether there is a record of the certificate: a restore takes it away.
    pub(crate) fn has_record(&self, identity: &Identity) -> bool {
        self.on_record(&identity.serial).is_some()
    }

    /// The record of a certificate that was released; a restore may have taken it back to its reservation.
    fn on_record(&self, serial: &Serial) -> Option<&Since<Certificate>> {
        let released = |known: &&Since<Certificate>| {
            matches!(known.value.state, CertificateState::Issued | CertificateState::Revoked { .. })
        };
        self.certificates.get(serial).filter(released)
    }

    /// The roles that the holder should have everywhere (`None`: it should be refused), and since when that is so. Its
    /// period of validity aside. `None` at all: it was signed in a time that a restore has undone.
    pub(crate) fn verdict(&self, identity: &Identity) -> Option<(Option<&[Role]>, u64)> {
        let certificate = self.on_record(&identity.serial)?;
        let principal = self.principals.get(&(identity.tenant.clone(), identity.principal.clone()))?;
        let tenant = &self.tenants[&identity.tenant];
        let ca = self.cas.get(&identity.issuer)?;
        let since = certificate.at.max(principal.at).max(tenant.at).max(ca.at);
        let admitted = certificate.value.state == CertificateState::Issued
            && principal.value.status == PrincipalStatus::Active
            && tenant.value == TenantStatus::Active
            && principal.value.is_holder_of(&certificate.value)
            && ca.value.state.is_trusted();
        Some((admitted.then_some(&principal.value.roles[..]), since))
    }

    /// The CAs of a tenant, also those that were retired.
    pub(crate) fn anchors(&self, tenant: &TenantId) -> impl Iterator<Item = Anchor> {
        let cas = self.cas.values().map(|known| &known.value);
        cas.filter(move |ca| ca.kind == CaKind::Tenant && ca.tenant == *tenant).map(Anchor::from)
    }

    /// All leaves that were ever released, with their certificates.
    pub(crate) fn released(&self) -> impl Iterator<Item = &Certificate> {
        let leaves = self.certificates.values().map(|known| &known.value);
        leaves.filter(|leaf| leaf.kind == CertificateKind::Leaf && !leaf.certificate_der.is_empty())
    }
}
