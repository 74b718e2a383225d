//! What happens to the fleet, and when.

use signet_core::{
    Lifetime,
    certificates::renewal::{Steering, Window},
};

use super::{DAY, HOUR, MINUTE, at};

/// A span during which something is not there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outage {
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) of: What,
}

/// What is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// The control plane; the out-of-band path still answers.
    ControlPlane,
    /// The whole region.
    Everything,
    /// The signing keys: questions are answered, renewals are told to come back later.
    Keys,
}

/// How a request fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Served,
    Silence,
    Later(Lifetime),
}

/// A course of events. Times are milliseconds from its start.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) length: i64,
    pub(crate) lifetime: i64,
    pub(crate) grace: Lifetime,
    pub(crate) outages: &'static [Outage],
    /// From when on renewals are steered, and where to, as hours from then.
    pub(crate) steered: Option<(i64, i64, i64)>,
    /// When half of the fleet is restarted within a minute.
    pub(crate) mass_restart: Option<i64>,
    /// When clocks that are wrong are set right.
    pub(crate) clocks_set: Option<i64>,
}

const fn outage(of: What, start: i64, length: i64) -> Outage {
    Outage { start, end: start + length, of }
}

/// Thirty days with everything that is to be expected, and some more.
pub(crate) const MONTH: Scenario = Scenario {
    length: 30 * DAY,
    lifetime: 24 * HOUR,
    grace: Lifetime::days(2),
    outages: &[
        outage(What::ControlPlane, 4 * DAY + 9 * HOUR, 3 * HOUR),
        outage(What::Keys, 7 * DAY + 2 * HOUR, 2 * HOUR),
        outage(What::Everything, 10 * DAY + 14 * HOUR, 6 * HOUR),
        outage(What::ControlPlane, 17 * DAY + HOUR, 10 * MINUTE),
        outage(What::ControlPlane, 17 * DAY + HOUR + 20 * MINUTE, 10 * MINUTE),
        outage(What::Everything, 17 * DAY + 2 * HOUR, 30 * MINUTE),
        outage(What::ControlPlane, 25 * DAY + 8 * HOUR, 7 * HOUR),
    ],
    steered: Some((21 * DAY + 9 * HOUR, 2, 10)),
    mass_restart: Some(14 * DAY + 10 * HOUR),
    clocks_set: Some(15 * DAY),
};

/// Ten days with an outage of ten hours, which is longer than the window of eight.
pub(crate) const LONG_OUTAGE: Scenario = Scenario {
    length: 10 * DAY,
    outages: &[outage(What::Everything, 3 * DAY + 6 * HOUR, 10 * HOUR)],
    steered: None,
    mass_restart: None,
    clocks_set: None,
    ..MONTH
};

impl Scenario {
    fn out(&self, now: i64, of: What) -> Option<&Outage> {
        self.outages.iter().find(|outage| outage.of == of && (outage.start..outage.end).contains(&now))
    }

    /// Whether the control plane answers questions.
    pub(crate) fn answers(&self, now: i64) -> bool {
        self.out(now, What::ControlPlane).or(self.out(now, What::Everything)).is_none()
    }

    /// How a renewal fares, over mTLS or out of band.
    pub(crate) fn renewal(&self, now: i64, out_of_band: bool) -> Answer {
        let no_path = !out_of_band && self.out(now, What::ControlPlane).is_some();
        if no_path || self.out(now, What::Everything).is_some() {
            return Answer::Silence;
        }
        match self.out(now, What::Keys) {
            Some(_) => Answer::Later(Lifetime::seconds(30)),
            None => Answer::Served,
        }
    }

    /// Since when a worker has been able to renew in some way; `None`: it cannot.
    pub(crate) fn open_since(&self, now: i64) -> Option<i64> {
        let closes = |outage: &&Outage| outage.of != What::ControlPlane;
        if self.outages.iter().filter(closes).any(|outage| (outage.start..outage.end).contains(&now)) {
            return None;
        }
        Some(self.outages.iter().filter(closes).map(|outage| outage.end).filter(|end| *end <= now).max().unwrap_or(0))
    }

    /// Where renewals are steered to at `now`.
    pub(crate) fn steering(&self, now: i64) -> Option<Steering> {
        let (from, start, end) = self.steered.filter(|(from, ..)| now >= *from)?;
        let window = Window { start: at(from + start * HOUR), end: at(from + end * HOUR) };
        Some(Steering { issued_before: at(from), window })
    }
}
