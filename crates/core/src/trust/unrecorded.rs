//! Certificates that were never recorded, so that a CA's key signed them past us. Whoever has that key chooses their
//! serial numbers, also so that they are another issuer's: a serial number alone refuses nobody here.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
};

use super::refusal::Refusal;
use crate::{CaId, Identity, Serial, TenantId};

/// Most that are remembered of those found here. When there are more, all are forgotten: they are found again.
const MOST_FOUND: usize = 65_536;

/// See the module's words. Each with the second after which it may go.
#[derive(Debug, Default)]
pub(super) struct Unrecorded {
    /// Revoked, for every node.
    revoked: HashMap<CaId, HashMap<Serial, u32>>,
    /// Found and refused here, by a hash of all that the certificate says.
    found: HashMap<u64, u32>,
    hasher: RandomState,
}

impl Unrecorded {
    pub(super) fn revoke(&mut self, issuer: &CaId, serial: Serial, until: u32) {
        self.revoked.entry(issuer.clone()).or_default().insert(serial, until);
    }

    pub(super) fn refuse(&mut self, identity: &Identity, until: u32) {
        if self.found.len() >= MOST_FOUND {
            self.found.clear();
        }
        self.found.insert(self.hasher.hash_one(identity), until);
    }

    /// The revoked ones of a tenant's CAs.
    pub(super) fn revoked_of(&self, signer: &TenantId) -> Vec<Serial> {
        let own = self.revoked.iter().filter(|(issuer, _)| issuer.owner() == *signer);
        own.flat_map(|(_, serials)| serials.keys().copied()).collect()
    }

    /// Whether one of this number was revoked, of whichever issuer.
    pub(super) fn is_revoked(&self, serial: &Serial) -> bool {
        self.revoked.values().any(|of| of.contains_key(serial))
    }

    pub(super) fn refusal_of(&self, identity: &Identity) -> Option<Refusal> {
        if self.revoked.get(&identity.issuer).is_some_and(|of| of.contains_key(&identity.serial)) {
            return Some(Refusal::Revoked);
        }
        let is_found = !self.found.is_empty() && self.found.contains_key(&self.hasher.hash_one(identity));
        is_found.then_some(Refusal::Unrecorded)
    }

    pub(super) fn forget(&mut self, second: u32) {
        self.found.retain(|_, until| *until >= second);
        self.revoked.values_mut().for_each(|of| of.retain(|_, until| *until >= second));
        self.revoked.retain(|_, of| !of.is_empty());
    }
}
