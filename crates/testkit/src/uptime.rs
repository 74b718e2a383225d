//! A machine's uptime that a test moves.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use signet_core::{Time, Uptime};

use crate::fixtures::NOW;

/// Stands still until it is moved.
#[derive(Clone, Debug)]
pub struct TestUptime(Arc<AtomicU64>);

impl Default for TestUptime {
    /// A machine that has been up for a day.
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(86_400_000)))
    }
}

impl TestUptime {
    /// What `Trust::new` takes.
    pub fn clock(&self) -> impl Fn() -> Uptime + Send + Sync + 'static {
        let millis = Arc::clone(&self.0);
        move || Uptime::from_millis(millis.load(Ordering::SeqCst))
    }

    /// So many milliseconds pass.
    pub fn advance(&self, millis: u64) {
        self.0.fetch_add(millis, Ordering::SeqCst);
    }

    /// As much time has passed since the default as from [`NOW`] to `now`: for tests without a clock that steps.
    pub fn follow(&self, now: Time) {
        self.0.store(86_400_000u64.saturating_add_signed(now.millis_since(NOW)), Ordering::SeqCst);
    }
}
