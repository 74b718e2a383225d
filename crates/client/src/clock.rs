//! The time, as an argument.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use signet_core::{Clock, Time};

/// The operating system's clock.
#[expect(clippy::disallowed_methods, reason = "the SDK is an edge: its user may hand in another clock")]
pub fn system_clock() -> Clock {
    Arc::new(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Time::from_unix_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    })
}
