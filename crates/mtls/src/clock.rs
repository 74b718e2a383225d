//! The clock as an argument.

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use rustls::{pki_types::UnixTime, time_provider::TimeProvider};
use signet_core::{Clock, Uptime};

/// How long the machine has been up, the time it slept included: nobody can set it, so that it measures silence.
pub fn system_uptime() -> Uptime {
    static START: OnceLock<Instant> = OnceLock::new();
    let up = boot_time().unwrap_or_else(|| START.get_or_init(Instant::now).elapsed());
    Uptime::from_millis(u64::try_from(up.as_millis()).unwrap_or(u64::MAX))
}

/// `Instant` stands still while Linux sleeps, and a machine that wakes up knows nothing of what was revoked meanwhile.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn boot_time() -> Option<Duration> {
    use nix::time::{ClockId, clock_gettime};
    clock_gettime(ClockId::CLOCK_BOOTTIME).ok().map(Duration::from)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn boot_time() -> Option<Duration> {
    None
}

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
