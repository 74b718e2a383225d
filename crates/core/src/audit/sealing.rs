//! The plan of one tenant's seal: what a minute's events state, and which events of earlier minutes came late.
//!
//! An event is of the minute in which its piece of work began, and may be written after that minute was sealed. To tell
//! such an event from those that the seal covers, each stored seal has a *cover*: the first bytes of its leaves. It is
//! not signed: whoever alters it can only make the sealer name a covered event as late or a late one not, and
//! [`crate::audit::verify`] then finds that the minute's root does not match.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    TenantId, Uptime,
    audit::{
        LATE_MINUTES, LateEvent, Seal, SealStatement,
        merkle::{self, Digest},
    },
};

/// How long the head stands still before a node that has minutes to seal takes itself for the only one, in
/// milliseconds: others move it once a minute.
const ALONE_AFTER_MILLIS: u64 = 180_000;
/// Who has not looked for so long does not know whether the head stood still, in milliseconds.
const BLIND_AFTER_MILLIS: u64 = 90_000;
/// How long a node that goes on from another's head takes for a minute: a tenth less, so that it catches up with its
/// own clock.
const MINUTE_MILLIS: u64 = 54_545;

/// The head as a node sees it move: where others do that, and it stays far behind this node's clock, the clock is
/// ahead. Whoever sealed by it would seal minutes in which others still write. And no clock makes the head move much
/// faster than time passes: others must hear of it before what they write can no longer be named as late.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadWatch {
    /// While there are minutes to seal behind the head.
    seen: Option<Seen>,
    /// Where the head was when this node began to count, and when that was.
    start: Option<(i64, Uptime)>,
}

/// The head as it was seen last.
#[derive(Clone, Copy, Debug)]
struct Seen {
    head: i64,
    /// Since when it stands there, as far as it was watched.
    since: Uptime,
    last: Uptime,
}

impl HeadWatch {
    /// Up to which minute this node seals, if the head stands at `head` and the last minute that is closed by its clock
    /// is `closed`: not far ahead of others, and from where it found the head hardly faster than time passes by
    /// `uptime`. If nobody moves the head for three minutes, this node alone goes on, as far as its clock says; one
    /// whose clock was set lately (not `is_unset`) no further than what others then write can be named as late.
    pub fn may_seal_through(&mut self, head: i64, closed: i64, uptime: Uptime, is_unset: bool) -> i64 {
        let still =
            self.seen.filter(|seen| seen.head == head && millis_between(seen.last, uptime) < BLIND_AFTER_MILLIS);
        let since = still.map_or(uptime, |seen| seen.since);
        self.seen = (closed > head).then_some(Seen { head, since, last: uptime });
        if closed > head && millis_between(since, uptime) >= ALONE_AFTER_MILLIS {
            let through = if is_unset { closed } else { closed.min(head.saturating_add(LATE_MINUTES)) };
            self.start = Some((through, uptime));
            return through;
        }
        let after = |(head, at): (i64, Uptime)| {
            let passed = millis_between(at, uptime).checked_div(MINUTE_MILLIS).unwrap_or(0);
            head.saturating_add(i64::try_from(passed).unwrap_or(i64::MAX))
        };
        // Where others have gone on alone, it counts from there.
        let start = self.start.filter(|start| after(*start) >= head).unwrap_or((head, uptime));
        self.start = Some(start);
        if closed.saturating_sub(head) > LATE_MINUTES {
            return head;
        }
        if closed > start.0 && closed <= after(start) {
            // Nothing was held back: the time that passed is no credit for a step of the clock.
            self.start = Some((closed, uptime));
        }
        closed.min(after(start))
    }
}

const fn millis_between(since: Uptime, now: Uptime) -> u64 {
    now.as_millis().saturating_sub(since.as_millis())
}

/// Bytes of a leaf in a cover.
const COVER_BYTES: usize = 4;
/// Largest number of events in a minute that has a cover: it must fit in an item of 400 kB, as base64. Late events of a
/// tenant's minute with more are not named, and so are found as added.
const MOST_COVERED: usize = 50_000;
/// Most late events that one seal names; the next one goes on.
pub const MOST_LATE: usize = 500;

/// An event as the sealer sees it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct EventLeaf {
    pub id: String,
    /// Its [`crate::audit::AuditEvent::leaf`].
    pub leaf: Digest,
}

/// What to seal for one tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedSeal {
    /// What the seal states.
    pub statement: SealStatement,
    /// [`Seal::cover`].
    pub cover: Vec<u8>,
}

/// Plans the seal of `tenant`'s `minute`. `events`: what is there now, for `minute` and the [`LATE_MINUTES`] before it.
/// `seals`: the tenant's last [`LATE_MINUTES`] + 1 seals or more. `None`: there is nothing to state, or it is sealed.
pub fn plan(
    tenant: &TenantId,
    minute: i64,
    events: &BTreeMap<i64, Vec<EventLeaf>>,
    seals: &[Seal],
) -> Option<PlannedSeal> {
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
    Some(PlannedSeal { statement, cover: covered.iter().flat_map(prefix).collect() })
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
