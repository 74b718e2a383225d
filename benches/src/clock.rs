//! The clocks: this program is an edge.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use cpu_time::{ProcessTime, ThreadTime};
use signet_core::{Clock, Time};

/// The present time.
#[expect(clippy::disallowed_methods, reason = "the edge")]
pub(crate) fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time::from_unix_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// The same as an argument.
pub(crate) fn system_clock() -> Clock {
    Arc::new(now)
}

/// Processor time of this thread so far.
pub(crate) fn thread_cpu() -> Duration {
    ThreadTime::now().as_duration()
}

/// Processor time of all threads of this process so far.
pub(crate) fn process_cpu() -> Duration {
    ProcessTime::now().as_duration()
}
