//! A sign of life for whatever takes longer than two seconds, on terminals only.

use std::{
    future::Future,
    io::IsTerminal as _,
    pin::pin,
    time::{Duration, Instant},
};

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

/// The same for work of many steps, each of which tells how far it is.
#[derive(Debug)]
pub struct Progress {
    started: Instant,
    quiet: bool,
    spinner: Option<ProgressBar>,
}

impl Progress {
    /// Nothing is shown yet.
    pub fn new(quiet: bool) -> Self {
        let quiet = quiet || !std::io::stderr().is_terminal();
        Self { started: Instant::now(), quiet, spinner: None }
    }

    /// Shows `text` once the work takes long.
    pub fn tell(&mut self, text: &str) {
        if self.quiet || self.started.elapsed() < PATIENCE {
            return;
        }
        let spinner = self.spinner.get_or_insert_with(|| {
            let spinner = ProgressBar::new_spinner();
            spinner.enable_steady_tick(Duration::from_millis(120));
            spinner
        });
        spinner.set_message(text.to_owned());
    }

    /// Shows nothing any more.
    pub fn end(&mut self) {
        if let Some(spinner) = self.spinner.take() {
            spinner.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}
