//! A sign of life for whatever takes longer than two seconds, on terminals only.

use std::{future::Future, io::IsTerminal as _, pin::pin, time::Duration};

use indicatif::ProgressBar;

const PATIENCE: Duration = Duration::from_secs(2);

/// Waits for `work`, and shows `what` meanwhile if it takes long.
pub async fn watch<T>(what: &str, quiet: bool, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    tokio::select! {
        done = &mut work => return done,
        () = tokio::time::sleep(PATIENCE) => {}
    }
    if quiet || !std::io::stderr().is_terminal() {
        return work.await;
    }
    let spinner = ProgressBar::new_spinner().with_message(what.to_owned());
    spinner.enable_steady_tick(Duration::from_millis(120));
    let done = work.await;
    spinner.finish_and_clear();
    done
}
