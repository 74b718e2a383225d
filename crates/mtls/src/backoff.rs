//! What to do when the operating system gives no connection.

use std::{io, time::Duration};

const FIRST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(1);

/// Pauses that double while accepting fails, so that a node without file descriptors does not spin.
#[derive(Debug, Default)]
pub(crate) struct Backoff(Option<Duration>);

impl Backoff {
    /// The pause after `error`; none if it concerns only the connection that was to be accepted (accept(2), ERRORS).
    pub(crate) fn after(&mut self, error: &io::Error) -> Option<Duration> {
        use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
        if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted) {
            return None;
        }
        let pause = self.0.map_or(FIRST, |last| last.saturating_mul(2).min(LONGEST));
        self.0 = Some(pause);
        Some(pause)
    }

    /// A connection came in.
    pub(crate) fn reset(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn want_of_descriptors_pauses_and_a_lost_connection_does_not() {
        const EMFILE: i32 = 24;
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..8).filter_map(|_| backoff.after(&io::Error::from_raw_os_error(EMFILE))).collect();
        assert_eq!(pauses.first(), Some(&FIRST));
        assert_eq!(pauses.last(), Some(&LONGEST));
        assert!(pauses.is_sorted() && pauses.len() == 8);
        assert_eq!(backoff.after(&io::ErrorKind::ConnectionAborted.into()), None);
        backoff.reset();
        assert_eq!(backoff.after(&io::Error::from_raw_os_error(EMFILE)), Some(FIRST));
    }
}
