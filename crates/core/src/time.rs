//! Instants and lifetimes. The clock is read at the edge; everything below takes a [`Time`].

use serde::{Deserialize, Serialize};

/// An instant: milliseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(i64);

impl Time {
    /// Later than all others.
    pub const MAX: Self = Self(i64::MAX);

    /// From milliseconds since the Unix epoch.
    pub const fn from_unix_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// From whole seconds since the Unix epoch.
    pub const fn from_unix_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Milliseconds since the Unix epoch.
    pub const fn unix_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    pub const fn unix_seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// The minute that holds this instant, counted from the Unix epoch: audit events are sealed by minute.
    pub const fn minute(self) -> i64 {
        self.0.div_euclid(60_000)
    }

    /// This instant without its milliseconds, as certificates carry it (RFC 5280 section 4.1.2.5).
    pub const fn floor_to_second(self) -> Self {
        Self(self.0.div_euclid(1000).saturating_mul(1000))
    }

    /// This instant moved forward.
    pub const fn plus(self, lifetime: Lifetime) -> Self {
        Self(self.0.saturating_add(lifetime.millis()))
    }

    /// This instant moved back.
    pub const fn minus(self, lifetime: Lifetime) -> Self {
        Self(self.0.saturating_sub(lifetime.millis()))
    }

    /// Milliseconds from `earlier` to this instant; negative if `earlier` is later.
    pub const fn millis_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// How long a machine has been up, in milliseconds. Unlike [`Time`] nobody sets it, so that it measures silence; it says
/// nothing about the hour, and nothing to other machines. The edge gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Uptime(u64);

impl Uptime {
    /// From milliseconds since some instant before this process began.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// In milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.0
    }
}

/// A wall clock that is this many milliseconds off its course was set: time servers turn it slowly.
const SET_BY_MILLIS: i64 = 5_000;
/// How long a wall clock must have run evenly before what seems to have expired may be thrown away, in milliseconds.
const EVEN_FOR_MILLIS: u64 = 3_600_000;

/// Tells by the machine's uptime whether a wall clock was set, which ends and brings back what has expired.
#[derive(Clone, Copy, Debug)]
pub struct ClockWatch {
    /// The wall clock less the uptime, in milliseconds, at its furthest since it was set back.
    ahead: i64,
    even_since: Uptime,
}

impl ClockWatch {
    /// Watches from now on.
    pub const fn new(now: Time, uptime: Uptime) -> Self {
        Self { ahead: Self::ahead(now, uptime), even_since: uptime }
    }

    const fn ahead(now: Time, uptime: Uptime) -> i64 {
        now.0.saturating_sub_unsigned(uptime.0)
    }

    /// Both clocks read again. Returns whether the wall clock was set back: what seemed to have expired may not have.
    pub const fn was_set_back(&mut self, now: Time, uptime: Uptime) -> bool {
        let moved = Self::ahead(now, uptime).saturating_sub(self.ahead);
        if moved.abs() > SET_BY_MILLIS {
            *self = Self::new(now, uptime);
        }
        moved < -SET_BY_MILLIS
    }

    /// Whether nobody has set the wall clock for so long that what has expired by it may be thrown away.
    pub const fn is_even(&self, uptime: Uptime) -> bool {
        uptime.0.saturating_sub(self.even_since.0) >= EVEN_FOR_MILLIS
    }
}

/// A length of time in whole seconds, never negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lifetime(u32);

impl Lifetime {
    /// From seconds.
    pub const fn seconds(seconds: u32) -> Self {
        Self(seconds)
    }

    /// From minutes.
    pub const fn minutes(minutes: u32) -> Self {
        Self(minutes.saturating_mul(60))
    }

    /// From hours.
    pub const fn hours(hours: u32) -> Self {
        Self(hours.saturating_mul(3600))
    }

    /// From days of 24 hours.
    pub const fn days(days: u32) -> Self {
        Self(days.saturating_mul(86_400))
    }

    /// In seconds.
    pub const fn as_seconds(self) -> u32 {
        self.0
    }

    /// In milliseconds.
    pub const fn millis(self) -> i64 {
        self.0 as i64 * 1000
    }
}
