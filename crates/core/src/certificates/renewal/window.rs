//! Spans of time, and places in them.

use serde::{Deserialize, Serialize};

use crate::Time;

/// A span of time: from `start` up to, not including, `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Window {
    /// First instant.
    pub start: Time,
    /// The instant after the last; not before `start`.
    pub end: Time,
}

impl Window {
    /// The middle third of a lifetime.
    pub fn of_lifetime(not_before: Time, not_after: Time) -> Self {
        let third = not_after.millis_since(not_before).max(0) / 3;
        Self { start: later(not_before, third), end: later(not_after, third.saturating_neg()) }
    }

    /// The instant of this window that `lot` stands for.
    pub fn draw(&self, lot: JitterSeed) -> Time {
        later(self.start, part(self.end.millis_since(self.start), lot.0))
    }
}

/// A holder's place in any window: 64 random bits, drawn once for each certificate and kept with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JitterSeed(pub u64);

/// `time` moved by milliseconds.
pub(super) fn later(time: Time, millis: i64) -> Time {
    Time::from_unix_millis(time.unix_millis().saturating_add(millis))
}

/// The part of `span` that 64 random bits stand for: uniform over 0 to `span`, the end not included.
pub(super) fn part(span: i64, random: u64) -> i64 {
    let part = (u128::from(span.max(0).unsigned_abs()) * u128::from(random)) >> 64;
    i64::try_from(part).unwrap_or(0)
}
