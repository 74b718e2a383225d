//! Instants and lifetimes. The clock is read at the edge; everything below takes a [`Time`].

use std::{fmt, sync::Arc};

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

/// As people and programs write it, to the second: `2026-11-28T22:53:19Z` (RFC 3339).
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DAY: i64 = 86_400;
        // Days in 400 years of the Gregorian calendar, counted from March, so that the leap day comes last.
        const ERA: i64 = 146_097;
        let (seconds, days) = (self.unix_seconds().rem_euclid(DAY), self.unix_seconds().div_euclid(DAY) + 719_468);
        let day_of_era = days.rem_euclid(ERA);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = year_of_era + days.div_euclid(ERA) * 400 + i64::from(month <= 2);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// Tells the present time. A process's main makes one; tests move theirs.
pub type Clock = Arc<dyn Fn() -> Time + Send + Sync>;

/// How long a machine has been up, in milliseconds. Unlike [`Time`] nobody sets it, so that it measures silence; it
/// says nothing about the hour, and nothing to other machines. The edge gives it.
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
    was_set: bool,
}

impl ClockWatch {
    /// Watches from now on.
    pub const fn new(now: Time, uptime: Uptime) -> Self {
        Self { ahead: Self::ahead(now, uptime), even_since: uptime, was_set: false }
    }

    const fn ahead(now: Time, uptime: Uptime) -> i64 {
        now.0.saturating_sub_unsigned(uptime.0)
    }

    /// Both clocks read again. Returns whether the wall clock was set back: what seemed to have expired may not have.
    pub const fn was_set_back(&mut self, now: Time, uptime: Uptime) -> bool {
        let moved = Self::ahead(now, uptime).saturating_sub(self.ahead);
        if moved.abs() > SET_BY_MILLIS {
            *self = Self { was_set: true, ..Self::new(now, uptime) };
        }
        moved < -SET_BY_MILLIS
    }

    /// Whether nobody has set the wall clock since the watch began, or for so long as [`Self::is_even`] wants.
    pub const fn is_unset(&self, uptime: Uptime) -> bool {
        !self.was_set || self.is_even(uptime)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_counts_again_after_an_hour() {
        let (start, hour) = (Time::from_unix_seconds(1_000_000), 3_600_000);
        let at = |millis: u64, ahead: i64| Time::from_unix_millis(start.unix_millis() + millis as i64 + ahead);
        let mut watch = ClockWatch::new(start, Uptime::from_millis(0));
        for (uptime, ahead, unset, even) in [
            (10, 0, true, false),
            (hour, 0, true, true),
            (hour + 1, 86_400_000, false, false),
            (2 * hour, 0, false, false),
            (3 * hour - 1, 0, false, false),
            (3 * hour, 0, true, true),
        ] {
            let clock = Uptime::from_millis(uptime);
            let _ = watch.was_set_back(at(uptime, ahead), clock);
            assert_eq!((watch.is_unset(clock), watch.is_even(clock)), (unset, even), "{uptime}");
        }
    }

    #[test]
    fn instants_are_written_as_people_read_them() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (1_795_906_399, "2026-11-28T22:53:19Z"),
        ] {
            assert_eq!(Time::from_unix_seconds(seconds).to_string(), text);
        }
    }
}
