//! A holder's clock against the server's.

use serde::{Deserialize, Serialize};

use super::window::later;
use crate::Time;

/// How many milliseconds the server's clock is ahead of the holder's; 0 until something is known.
///
/// Only certificates' instants are compared with it, so that a holder with a wrong clock renews at the right time. It
/// is learned again with every answer: a clock that was set right is believed within one interval of asking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClockOffset {
    ahead_millis: i64,
}

impl ClockOffset {
    /// From a certificate that has just come: it is valid now. One from the future means that the holder's clock is
    /// slow, an expired one that it is fast. Within the validity nothing is known.
    pub fn at_arrival(not_before: Time, not_after: Time, now: Time) -> Self {
        if now < not_before || now >= not_after {
            return Self { ahead_millis: not_before.millis_since(now) };
        }
        Self::default()
    }

    /// From an answer of the server that names its time: `sent` and `received` are the holder's.
    pub fn learn(&mut self, server: Time, sent: Time, received: Time) {
        let half = received.millis_since(sent).max(0) / 2;
        self.ahead_millis = server.millis_since(later(sent, half));
    }

    /// How many milliseconds the server is ahead.
    pub const fn ahead_millis(self) -> i64 {
        self.ahead_millis
    }

    /// The server's time when the holder's clock shows `own`.
    pub fn server_time(self, own: Time) -> Time {
        later(own, self.ahead_millis)
    }

    /// What the holder's clock shows at the server's `time`.
    pub fn own_time(self, time: Time) -> Time {
        later(time, self.ahead_millis.saturating_neg())
    }
}
