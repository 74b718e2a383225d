//! The clock as an argument.

use std::{sync::Arc, time::Duration};

use rustls::{pki_types::UnixTime, time_provider::TimeProvider};
use signet_core::Time;

/// Tells the present time. The process's main makes one; tests move theirs.
pub type Clock = Arc<dyn Fn() -> Time + Send + Sync>;

/// rustls asks for the time too (ticket age, and the `now` of its verifiers): from the same clock.
pub(crate) struct TlsClock(pub(crate) Clock);

impl TimeProvider for TlsClock {
    fn current_time(&self) -> Option<UnixTime> {
        let millis = u64::try_from((self.0)().unix_millis()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_millis(millis)))
    }
}

impl std::fmt::Debug for TlsClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsClock")
    }
}
