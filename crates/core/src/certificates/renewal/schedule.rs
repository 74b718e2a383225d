//! What a holder does with one certificate, and when.

use serde::{Deserialize, Serialize};

use super::{
    advice::{Advice, ask_again},
    clock::ClockOffset,
    window::{JitterSeed, Window, later, part},
};
use crate::{Lifetime, Time};

/// Longest grace after expiry that a tenant may give; what a holder assumes until it is told.
pub const MAX_GRACE: Lifetime = Lifetime::days(30);
/// Sleep at most this long, then ask [`Schedule::next`] again: clocks jump, and a machine may have been asleep.
pub const LONGEST_SLEEP: Lifetime = Lifetime::minutes(1);
/// From this failure in a row on, every other attempt takes the out-of-band path, if the holder has one.
const OTHER_PATH_AFTER: u32 = 3;
/// How far clocks may be apart, and what is known of them wrong, milliseconds.
const MAX_DIFFERENCE: i64 = 300_000;
/// Shortest wait between two attempts, milliseconds.
const SHORTEST_WAIT: i64 = 250;

/// What a holder should do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing until then, by the holder's own clock. See [`LONGEST_SLEEP`].
    Wait {
        /// When to look again.
        until: Time,
    },
    /// Ask the server for its window (`GetRenewalInfo`), then [`Schedule::advised`]. What fails here is no failed
    /// renewal.
    AskWindow,
    /// Renew by mTLS.
    Renew,
    /// Renew out of band: no handshake accepts the certificate, or the control plane does not answer.
    RenewOutOfBand,
    /// Only a new enrollment helps.
    EnrollAgain,
}

/// How a renewal failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No answer, or one that says: later.
    Passing {
        /// What the server asked for, if anything.
        retry_after: Option<Lifetime>,
    },
    /// The certificate is not renewed as things stand: revoked, locked, principal deleted, grace over. An operator may
    /// take some of that back, so whoever enrolls again asks for a renewal once more first.
    Final,
}

/// What a holder knows of one certificate; kept with it, also on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    not_before: Time,
    not_after: Time,
    lot: JitterSeed,
    window: Window,
    /// What the tenant gives after expiry, once the server has said so.
    grace: Option<Lifetime>,
    /// How far the holder's clock is from the server's.
    pub clock: ClockOffset,
    /// Whether the holder has an out-of-band path.
    pub out_of_band: bool,
    ask_at: Time,
    ask_every: Lifetime,
    failures: u32,
    last_attempt: Option<Time>,
    /// When the next attempt is due, once one has failed or come late.
    retry_at: Option<Time>,
    /// Since when only a new enrollment helps.
    refused_at: Option<Time>,
}

impl Schedule {
    /// Of a certificate that was made at `made_at` (its validity may begin earlier, see [`advise`]) and came at `now`,
    /// by the holder's clock. The lot is drawn from `random`.
    pub fn new(made_at: Time, not_after: Time, now: Time, random: u64) -> Self {
        let clock = ClockOffset::at_arrival(made_at, not_after, now);
        let window = Window::of_lifetime(made_at, not_after);
        let mut schedule = Self {
            not_before: made_at,
            not_after,
            lot: JitterSeed(random),
            window,
            grace: None,
            clock,
            out_of_band: false,
            ask_at: made_at,
            ask_every: ask_again(made_at, not_after),
            failures: 0,
            last_attempt: None,
            retry_at: None,
            refused_at: None,
        };
        schedule.ask_later(now, random.rotate_left(32));
        schedule
    }

    /// What to do at `now`. `random` is used only when something is drawn for good; the schedule is to be kept then.
    pub fn next(&mut self, now: Time, random: u64) -> Next {
        let at = self.clock.server_time(now);
        if self.was_set_back(at) {
            (self.retry_at, self.refused_at, self.last_attempt) = Default::default();
        }
        let action = self.action(now, at);
        if let Some(late) = self.comes_late(now, at) {
            self.retry_at = Some(later(at, part(late, random)));
        }
        let due = self.attempt_at();
        if at >= due {
            return action;
        }
        if action == Next::Renew && self.should_ask(at) {
            return Next::AskWindow;
        }
        // What is due at expiry is another path, not another instant.
        let until = if action == Next::Renew { due.min(self.ask_at) } else { due };
        Next::Wait { until: self.clock.own_time(until) }
    }

    /// Whether the next attempt was put off by a clock that has been set back since, to `at`: so may be what was
    /// refused then.
    fn was_set_back(&self, at: Time) -> bool {
        let latest = later(at, MAX_DIFFERENCE);
        // Nothing puts off the first attempt but the jitter of whoever comes late.
        let first = self.retry_at.filter(|_| self.failures == 0).map(|retry| later(retry, -self.lifetime() / 24));
        [self.last_attempt, self.refused_at, first].into_iter().flatten().any(|made| made > latest)
    }

    /// Whether the window is to be asked for: it is time, or was set by a clock that has been turned back since.
    fn should_ask(&self, at: Time) -> bool {
        at >= self.ask_at || self.ask_at.millis_since(at) > self.ask_every.millis().saturating_mul(2)
    }

    /// Which way an attempt takes at `now`, the server's `at`.
    fn action(&self, now: Time, at: Time) -> Next {
        let over = |end: Time| at >= end && now >= end;
        // A wrong clock costs no enrollment: both must agree, or the server have said so.
        let end = later(self.not_after, self.grace.unwrap_or(MAX_GRACE).millis());
        if self.refused_at.is_some() || over(end) || (!self.out_of_band && over(self.not_after)) {
            return Next::EnrollAgain;
        }
        let try_other = self.failures >= OTHER_PATH_AFTER && self.failures % 2 == 1;
        if self.out_of_band && (at >= self.not_after || try_other) {
            return Next::RenewOutOfBand;
        }
        Next::Renew
    }

    /// Whether nothing but a new enrollment helps, at `now` by the holder's clock.
    pub fn needs_enrollment(&self, now: Time) -> bool {
        self.action(now, self.clock.server_time(now)) == Next::EnrollAgain
    }

    /// When the next attempt is due, by the server's clock.
    pub fn attempt_at(&self) -> Time {
        self.retry_at.unwrap_or_else(|| self.renew_at())
    }

    /// The instant drawn from the window; at the latest five sixths into the lifetime, so that time to retry is left.
    pub fn renew_at(&self) -> Time {
        let last = later(self.not_after, (self.lifetime() / 6).saturating_neg());
        self.window.draw(self.lot).max(self.not_before).min(last)
    }

    /// The width of the jitter for whoever comes late to an attempt at `now`, the server's `at`, if that is so and it
    /// was not drawn yet.
    fn comes_late(&self, now: Time, at: Time) -> Option<i64> {
        if self.refused_at.is_some() || at.millis_since(self.attempt_at()) <= self.lifetime() / 288 + 1000 {
            return None;
        }
        // Its own clock may have been set while it slept: whichever says that little is left is believed.
        let left = [at, now].map(|time| self.not_after.millis_since(time)).into_iter().filter(|left| *left > 0).min();
        let hour = self.lifetime() / 24;
        Some(left.map_or(hour / 12, |left| hour.min(left / 4)))
    }

    /// Somebody wants the next attempt at `now`, whatever it is.
    pub fn hurry(&mut self, now: Time) {
        self.retry_at = Some(self.clock.server_time(now));
    }

    /// An attempt (of any kind) is made at `now`. For those that show it.
    pub fn attempted(&mut self, now: Time) {
        self.last_attempt = Some(self.clock.server_time(now));
    }

    /// An attempt failed at `now`. A failed enrollment counts too, as [`Failure::Passing`].
    pub fn failed(&mut self, now: Time, failure: Failure, random: u64) {
        let at = self.clock.server_time(now);
        self.failures = self.failures.saturating_add(1);
        self.last_attempt = Some(at);
        let retry_after = match failure {
            Failure::Passing { retry_after } => retry_after,
            Failure::Final => {
                self.refused_at = self.refused_at.or(Some(at));
                // Whoever revokes a fleet does not want all of it back in the same instant.
                self.retry_at = Some(later(at, part(self.quick(), random)));
                return;
            }
        };
        let mut wait = self.backoff(at, random);
        if let Some(asked) = retry_after {
            // All who were refused got the same number.
            wait = wait.max(asked.millis().saturating_add(part(asked.millis() / 2, random)));
        }
        let left = self.not_after.millis_since(at);
        if left > 0 && self.refused_at.is_none() {
            // Also what the server asked for ends before expiry does.
            wait = wait.min(left / 10 * 9);
        }
        self.retry_at = Some(later(at, wait.max(SHORTEST_WAIT)));
    }

    /// The width of the first jitter, milliseconds: ten seconds of a day.
    fn quick(&self) -> i64 {
        (self.lifetime() / 8640).clamp(500, 30_000)
    }

    /// Milliseconds to the next attempt after one that failed at `at`.
    fn backoff(&self, at: Time, random: u64) -> i64 {
        let (life, quick) = (self.lifetime(), self.quick());
        let down_since = self.refused_at.or((at >= self.not_after).then_some(self.not_after));
        if let Some(since) = down_since {
            // The longer it lasts, the more are down with it; each minute of it counts for somebody.
            let ceiling = at.millis_since(since).saturating_mul(3).saturating_add(quick);
            return part(ceiling.min((life / 12).max(60_000)), random);
        }
        let left = self.not_after.millis_since(at);
        match self.failures {
            0 | 1 => part(quick.min(left / 2), random),
            2 => part(quick.saturating_mul(12).min(left / 2), random),
            // A request may be lost: near the end a few of them fit in.
            _ if left < quick.saturating_mul(12) => (left / 4).saturating_add(part(left / 4, random)),
            _ => (left / 4 * 3).saturating_add(part(left / 5, random)),
        }
    }

    /// The server's word on this certificate, or `None` if it gave none.
    pub fn advised(&mut self, now: Time, advice: Option<&Advice>, random: u64) {
        if let Some(advice) = advice {
            if advice.window.end >= advice.window.start {
                self.window = advice.window;
            }
            self.grace = Some(advice.grace);
            self.ask_every = advice.ask_again.max(Lifetime::seconds(1));
        }
        self.ask_later(now, random);
    }

    fn ask_later(&mut self, now: Time, random: u64) {
        let (at, interval) = (self.clock.server_time(now), self.ask_every.millis());
        self.ask_at = later(at, (interval / 2).saturating_add(part(interval, random)));
    }

    fn lifetime(&self) -> i64 {
        self.not_after.millis_since(self.not_before).max(0)
    }

    /// Failed attempts since this certificate came.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// When the last attempt was made, by the server's clock.
    pub fn last_attempt(&self) -> Option<Time> {
        self.last_attempt
    }

    /// The window in force.
    pub fn window(&self) -> Window {
        self.window
    }

    /// From when it was made until it expires.
    pub fn validity(&self) -> Window {
        Window { start: self.not_before, end: self.not_after }
    }
}
