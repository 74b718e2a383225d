//! Security events: what entries of the feed take away from a principal or a certificate, for those who must be told of
//! each one. The last of them are remembered, so that who has nothing to hear costs no read.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::{
    CaId, PrincipalId, Serial, TenantId, Time,
    trust::change::{Change, ChangeEntry, FEED_SHARDS},
};

/// Most events that are remembered, some 200 bytes each.
const MOST: usize = 16_384;

/// A number for each shard of the feed.
pub type PerShard = [u64; FEED_SHARDS as usize];

/// Where an event is in the feed. No two events of one feed are at one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct EventPlace {
    pub shard: u32,
    pub sequence: u64,
    /// Which change of the entry, from 0.
    pub change: u32,
}

/// Whose sessions are over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum RevokedSession {
    /// Those with this certificate.
    Certificate {
        /// Its serial number.
        serial: Serial,
        /// Who signed it, where the change says so; else one of the tenant's CAs.
        issuer: Option<CaId>,
    },
    /// All of a principal that was suspended or deleted.
    Principal(PrincipalId),
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct SecurityEvent {
    pub tenant: TenantId,
    pub place: EventPlace,
    pub at: Time,
    pub of: RevokedSession,
}

/// The events of an entry, in order. A change of the tenant itself is none: who is told belongs to the tenant, and is
/// refused with it. What is not known here has the tenant refused, too.
pub fn security_events(entry: &ChangeEntry) -> impl Iterator<Item = SecurityEvent> {
    (0..).zip(&entry.changes).filter_map(|(change, of)| {
        let of = match of {
            Change::CertificateRevoked { serial, issuer, .. } => {
                RevokedSession::Certificate { serial: *serial, issuer: issuer.clone() }
            }
            Change::PrincipalDenied { principal, .. } => RevokedSession::Principal(principal.clone()),
            Change::PrincipalAllowed { .. }
            | Change::PrincipalRoles { .. }
            | Change::TenantChanged
            | Change::Unknown(_) => return None,
        };
        let place = EventPlace { shard: entry.shard, sequence: entry.sequence, change };
        Some(SecurityEvent { tenant: entry.tenant.clone(), place, at: entry.at, of })
    })
}

/// What a node knows of a tenant's events without a look at the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownEvents {
    /// Those that were asked for and are remembered.
    pub events: BTreeMap<EventPlace, SecurityEvent>,
    /// For each shard: all later events are among them. What is not later must be looked for in the feed.
    pub complete_after: PerShard,
    /// For each shard: nothing up to this entry turns up late.
    pub settled: PerShard,
    /// For [`crate::trust::Trust::has_security_events`].
    pub seen: u64,
}

/// The last events, each with its place in the order in which they were heard of.
#[derive(Debug, Default)]
pub(super) struct RecentEvents {
    events: VecDeque<(u64, SecurityEvent)>,
    heard: u64,
    /// Whoever has seen no more may have seen another feed.
    renumbered: u64,
    complete_after: PerShard,
    settled: PerShard,
}

impl RecentEvents {
    /// The feed begins anew, with other numbers: it is read again from its beginning, and all must look again.
    pub(super) fn renumber(&mut self) {
        let heard = self.heard.saturating_add(1);
        *self = Self { heard, renumbered: heard, ..Self::default() };
    }

    /// `remember`: false while the node loads, with whole years of entries.
    pub(super) fn apply(&mut self, entry: &ChangeEntry, remember: bool) {
        if !remember {
            return forget(&mut self.complete_after, entry.shard, entry.sequence);
        }
        for event in security_events(entry) {
            if self.events.len() >= MOST
                && let Some((_, oldest)) = self.events.pop_front()
            {
                forget(&mut self.complete_after, oldest.place.shard, oldest.place.sequence);
            }
            self.heard = self.heard.saturating_add(1);
            self.events.push_back((self.heard, event));
        }
    }

    pub(super) fn settle(&mut self, shard: u32, number: u64) {
        if let Some(settled) = self.settled.get_mut(shard as usize) {
            *settled = number;
        }
    }

    pub(super) fn known(&self, tenant: &TenantId, read: &PerShard) -> KnownEvents {
        let is_later = |place: &EventPlace| read.get(place.shard as usize).is_some_and(|read| place.sequence > *read);
        let asked = self.events.iter().filter(|(_, event)| event.tenant == *tenant && is_later(&event.place));
        KnownEvents {
            events: asked.map(|(_, event)| (event.place, event.clone())).collect(),
            complete_after: self.complete_after,
            settled: self.settled,
            seen: self.heard,
        }
    }

    /// Also if what came then is forgotten.
    pub(super) fn has_since(&self, seen: u64, tenant: &TenantId) -> bool {
        let later = self.events.iter().rev().take_while(|(heard, _)| *heard > seen);
        let is_whole = self.events.front().is_none_or(|(oldest, _)| *oldest <= seen.saturating_add(1));
        seen < self.renumbered || !is_whole || later.into_iter().any(|(_, event)| event.tenant == *tenant)
    }
}

fn forget(complete_after: &mut PerShard, shard: u32, sequence: u64) {
    if let Some(complete_after) = complete_after.get_mut(shard as usize) {
        *complete_after = sequence.max(*complete_after);
    }
}
