//! What a decision entails is carried out whether or not its caller stays: whoever hangs up gets rid of nothing.

use std::future::Future;

use signet_core::Error;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::App;

/// Work that goes on without its caller.
#[derive(Clone, Debug)]
pub(crate) struct Detached(TaskTracker);

impl Default for Detached {
    fn default() -> Self {
        let tasks = TaskTracker::new();
        // Closed only means that waiting ends whenever nothing runs; tasks can still be added.
        tasks.close();
        Self(tasks)
    }
}

impl Detached {
    /// Starts `work` at once, and waits for it: a caller that is dropped meanwhile does not end it.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        self.0.spawn(work.in_current_span()).await.unwrap_or_else(|ended| Err(Error::internal(ended)))
    }
}

/// Tells the log, and with it the alarm `Misconfigured`, of what only the environment's operator can mend.
pub fn tell_operator(operation: &str, error: &Error) {
    if let Error::Misconfigured { what, cause } = error {
        tracing::error!(operation, what, cause, "misconfigured: the operator must act");
    }
}

/// Waits until nothing runs any more that outlived its caller. A process that ends asks for this first.
pub async fn wait_detached(app: &App) {
    app.detached.0.wait().await;
}
