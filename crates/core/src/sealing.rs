//! The plan of one tenant's seal: what a minute's events state, and which events of earlier minutes came late.
//!
//! An event is of the minute in which its piece of work began, and may be written after that minute was sealed. To tell
//! such an event from those that the seal covers, each stored seal has a *cover*: the first bytes of its leaves. It is
//! not signed: whoever alters it can only make the sealer name a covered event as late or a late one not, and
//! [`crate::audit::verify`] then finds that the minute's root does not match.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    TenantId, Uptime,
    audit::{LATE_MINUTES, LateEvent, Seal, SealStatement},
    merkle::{self, Digest},
};

/// How long the head stands still before a node that finds it far behind takes itself for the only one, in milliseconds:
/// others move it once a minute.
const ALONE_AFTER_MILLIS: u64 = 180_000;

/// The head as a node sees it move: where others do that, and it stays far behind this node's clock, the clock is ahead.
/// Whoever sealed by it would seal minutes in which others still write.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadWatch {
    /// The head that was far behind, and since when it is known.
    seen: Option<(i64, Uptime)>,
    /// The head that this node saw first, or had reached alone, and when.
    first: Option<(i64, Uptime)>,
}

impl HeadWatch {
    /// Up to which minute this node seals, if the head stands at `head` and the last minute that is closed by its clock is
    /// `closed`. No further than what is then written can still be named as late, and from there hardly faster than time passes by
    /// `uptime`; or this node alone goes on.
    pub fn may_seal_through(&mut self, head: i64, closed: i64, uptime: Uptime) -> i64 {
        let (first, at) = *self.first.get_or_insert((head, uptime));
        if closed.saturating_sub(head) <= LATE_MINUTES {
            self.seen = None;
            // A tenth faster, so that who began behind another's head catches up with its own clock.
            let passed = i64::try_from(millis_between(at, uptime) / 54_545).unwrap_or(i64::MAX);
            let bound = first.saturating_add(LATE_MINUTES).saturating_add(passed);
            return closed.min(bound.max(head));
        }
        let since = match self.seen {
            Some((seen, since)) if seen == head => since,
            _ => uptime,
        };
        self.seen = Some((head, since));
        if millis_between(since, uptime) < ALONE_AFTER_MILLIS {
            return head;
        }
        self.first = Some((closed, uptime));
        closed
    }
}

const fn millis_between(since: Uptime, now: Uptime) -> u64 {
    now.as_millis().saturating_sub(since.as_millis())
}

/// Bytes of a leaf in a cover.
const COVER_BYTES: usize = 4;
/// Largest number of events in a minute that has a cover: it must fit in an item of 400 kB, as base64. Late events of a
/// tenant's minute with more are not named, and so are found as added.
pub const MOST_COVERED: usize = 50_000;
/// Most late events that one seal names; the next one goes on.
pub const MOST_LATE: usize = 500;

/// An event as the sealer sees it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventLeaf {
    /// Its id.
    pub id: String,
    /// Its [`crate::audit::AuditEvent::leaf`].
    pub leaf: Digest,
}

/// What to seal for one tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// What the seal states.
    pub statement: SealStatement,
    /// [`Seal::cover`].
    pub cover: Vec<u8>,
}

/// Plans the seal of `tenant`'s `minute`. `events`: what is there now, for `minute` and the [`LATE_MINUTES`] before it.
/// `seals`: the tenant's last [`LATE_MINUTES`] + 1 seals or more. `None`: there is nothing to state, or it is sealed.
pub fn plan(tenant: &TenantId, minute: i64, events: &BTreeMap<i64, Vec<EventLeaf>>, seals: &[Seal]) -> Option<Planned> {
    let last = seals.iter().map(|seal| &seal.statement).max_by_key(|statement| statement.minute);
    if last.is_some_and(|last| last.minute >= minute) {
        return None;
    }
    let mut own = events.get(&minute).cloned().unwrap_or_default();
    own.sort();
    let leaves: Vec<Digest> = own.iter().map(|event| event.leaf).collect();
    let earlier = events.range(minute.saturating_sub(LATE_MINUTES)..minute);
    let mut late: Vec<LateEvent> = earlier.flat_map(|(minute, events)| late_events(*minute, events, seals)).collect();
    late.truncate(MOST_LATE);
    if leaves.is_empty() && late.is_empty() {
        return None;
    }
    let covered = if leaves.len() > MOST_COVERED { &[] } else { leaves.as_slice() };
    let statement = SealStatement {
        tenant: tenant.clone(),
        minute,
        count: leaves.len() as u64,
        root: merkle::root(&leaves),
        late,
        previous: last.map_or([0; 32], SealStatement::digest),
    };
    Some(Planned { statement, cover: covered.iter().flat_map(prefix).collect() })
}

/// The events of a sealed minute that its seal does not cover and no seal names yet.
fn late_events(minute: i64, events: &[EventLeaf], seals: &[Seal]) -> Vec<LateEvent> {
    let named: BTreeSet<&str> =
        seals.iter().flat_map(|seal| &seal.statement.late).map(|late| late.id.as_str()).collect();
    let mut unnamed: Vec<&EventLeaf> = events.iter().filter(|event| !named.contains(event.id.as_str())).collect();
    unnamed.sort();
    let seal = seals.iter().find(|seal| seal.statement.minute == minute);
    let (count, cover) = seal.map_or((0, &[][..]), |seal| (seal.statement.count, &seal.cover));
    if unnamed.len() as u64 <= count || cover.len() as u64 != count.saturating_mul(COVER_BYTES as u64) {
        return Vec::new();
    }
    let covered: BTreeSet<&[u8]> = cover.chunks_exact(COVER_BYTES).collect();
    unnamed.retain(|event| !covered.contains(&prefix(&event.leaf)[..]));
    let late = |event: &EventLeaf| LateEvent { minute, id: event.id.clone(), leaf: event.leaf };
    unnamed.into_iter().map(late).collect()
}

fn prefix(leaf: &Digest) -> [u8; COVER_BYTES] {
    let [a, b, c, d, ..] = *leaf;
    [a, b, c, d]
}
