//! How far somebody was told of security events: one record for each receiver.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    Lifetime, PrincipalId, TenantId, Time,
    audit::sha256_hex,
    store::layout::{Entity, Key, Query, Table},
    trust::{
        change::FEED_SHARDS,
        events::{EventPlace, PerShard, SecurityEvent},
    },
};

/// How long the record of a receiver that is gone is kept: as long as a certificate lives, and with it what a receiver
/// that comes back must hear of.
pub const STREAM_KEPT: Lifetime = Lifetime::days(90);
/// Most receivers of a tenant.
pub const MAX_STREAMS: u32 = 100;
/// Most events that are acknowledged before others that came earlier are.
const MAX_AHEAD: usize = 1000;
/// How often the record is written where nothing is acknowledged: so that it is kept.
const WRITTEN_EVERY: Lifetime = Lifetime::days(1);
/// The same where the feed goes on: so that no node has more to read than a page.
const ENTRIES_AT_ONCE: u64 = 1000;

/// See the module's words. Beside the feed, and with it: its numbers mean nothing elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityEventStream {
    /// Whose events.
    pub tenant: TenantId,
    /// Who is told.
    pub receiver: PrincipalId,
    /// Unlike that of all other streams, also of this receiver.
    pub id: String,
    /// Nothing that is earlier is told.
    pub created_at: Time,
    /// Whether the receiver knows that it begins.
    pub is_known: bool,
    /// For each shard of the feed: up to this entry all was acknowledged, or is none of the tenant's events.
    pub read: PerShard,
    /// What was acknowledged of later entries: also by its `jti`, since a feed that was put back has other events in
    /// the same places.
    pub ahead: BTreeSet<(EventPlace, String)>,
    /// When this record was written.
    pub written_at: Time,
}

impl SecurityEventStream {
    /// The stream of a new receiver, who hears of what comes after `read`. `id`: a new one.
    pub fn new(tenant: TenantId, receiver: PrincipalId, id: String, read: PerShard, now: Time) -> Self {
        let (is_known, ahead) = (false, BTreeSet::new());
        Self { tenant, receiver, id, created_at: now, is_known, read, ahead, written_at: now }
    }

    fn partition(tenant: &TenantId) -> String {
        format!("receivers#{tenant}")
    }

    /// Where a receiver's is.
    pub fn key_of(tenant: &TenantId, receiver: &PrincipalId) -> Key {
        Key::new(Table::Changes, Self::partition(tenant), receiver.as_str())
    }

    /// All of a tenant.
    pub fn all_of(tenant: &TenantId) -> Query {
        Query::table(Table::Changes, Self::partition(tenant)).limit(MAX_STREAMS)
    }

    /// `jti` of the token that tells of the event on this stream: always the same, unlike all others, and without a
    /// word of the feed.
    pub fn token_id(&self, event: &SecurityEvent) -> String {
        digest(&[&self.id, &transaction_id(event)])
    }

    /// `jti` of the token that tells that the stream begins.
    pub fn first_token_id(&self) -> String {
        digest(&[&self.id, "begins"])
    }

    /// Whether the receiver has not acknowledged it.
    pub fn is_open(&self, event: &SecurityEvent) -> bool {
        let read = self.read.get(event.place.shard as usize);
        read.is_some_and(|read| event.place.sequence > *read)
            && !self.ahead.contains(&(event.place, self.token_id(event)))
    }

    /// The receiver has it. False: it had it before, or has too many ahead of one that it does not have, and is told of
    /// this one again.
    pub fn acknowledge(&mut self, event: &SecurityEvent) -> bool {
        let id = self.token_id(event);
        self.is_open(event) && self.ahead.len() < MAX_AHEAD && self.ahead.insert((event.place, id))
    }

    /// Goes on to `reached` in each shard, but not beyond what is `open` (all that is, of the entries up to there).
    pub fn go_on<'a>(&mut self, reached: &PerShard, open: impl IntoIterator<Item = &'a EventPlace>) {
        let mut reached = *reached;
        for place in open {
            if let Some(reached) = reached.get_mut(place.shard as usize) {
                *reached = place.sequence.saturating_sub(1).min(*reached);
            }
        }
        for (read, reached) in self.read.iter_mut().zip(reached) {
            *read = reached.max(*read);
        }
        let read = self.read;
        self.ahead.retain(|(place, _)| read.get(place.shard as usize).is_some_and(|read| place.sequence > *read));
    }

    /// The shard ends before what was read: the feed was put back. All that still matters is told again.
    pub fn start_over(&mut self, shard: u32) {
        if let Some(read) = self.read.get_mut(shard as usize) {
            *read = 0;
        }
        self.ahead.retain(|(place, _)| place.shard != shard);
    }

    /// The same, over at `now`.
    pub fn ended(self, now: Time) -> Self {
        Self { written_at: now.minus(STREAM_KEPT), ..self }
    }

    /// Whether it should be written at `now` in place of `before`, where nothing was acknowledged.
    pub fn is_due(&self, before: &Self, now: Time) -> bool {
        let each = || self.read.iter().zip(before.read);
        let entries = each().fold(0_u64, |sum, (now, before)| sum.saturating_add(now.saturating_sub(before)));
        let went_back = each().any(|(now, before)| *now < before);
        went_back || entries >= ENTRIES_AT_ONCE || before.written_at.plus(WRITTEN_EVERY) <= now
    }
}

impl Entity for SecurityEventStream {
    fn key(&self) -> Key {
        Self::key_of(&self.tenant, &self.receiver)
    }
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
    fn principal(&self) -> Option<&PrincipalId> {
        Some(&self.receiver)
    }
    fn expires_at(&self) -> Option<Time> {
        Some(self.written_at.plus(STREAM_KEPT))
    }
}

/// `txn` of an event: the same on all streams. A feed that was put back has other events with numbers that were used.
pub fn transaction_id(event: &SecurityEvent) -> String {
    let SecurityEvent { tenant, place: EventPlace { shard, sequence, change }, at, of } = event;
    let of = serde_json::to_string(of).unwrap_or_default();
    digest(&[tenant.as_str(), &format!("{shard}/{sequence}/{change}/{}", at.unix_millis()), &of])
}

/// No part holds a line break.
fn digest(parts: &[&str]) -> String {
    sha256_hex(parts.join("\n").as_bytes()).get(..32).unwrap_or_default().to_owned()
}

const _: () =
    assert!(FEED_SHARDS == 4, "streams have a number for each shard: one more needs a way to read old records");
