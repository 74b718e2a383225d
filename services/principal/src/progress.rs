//! A sign of life for whatever takes longer than two seconds, on terminals only.

use std::{future::Future, io::IsTerminal as _, pin::pin, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

const PATIENCE: Duration = Duration::from_secs(2);

/// Waits for `work`, and shows `what` meanwhile if it takes long.
pub async fn watch<T>(what: &str, quiet: bool, work: impl Future<Output = T>) -> T {
    Progress::default().watch(what, quiet, work).await
}

/// A sign of life that says how far the work has come. A clone shows the same.
#[derive(Clone, Debug)]
pub struct Progress(ProgressBar);

impl Default for Progress {
    /// Nothing is shown yet.
    fn default() -> Self {
        Self(ProgressBar::new_spinner())
    }
}

impl Progress {
    /// Of `total` things that are done one by one.
    pub fn of(total: u64) -> Self {
        const BAR: &str = "{spinner} {prefix} {bar:30} {pos}/{len}, {eta} left";
        let bar = ProgressBar::new(total);
        // The template is ours; were it wrong, the bar without it would do.
        Self(ProgressStyle::with_template(BAR).map_or_else(|_| bar.clone(), |style| bar.clone().with_style(style)))
    }

    /// One more of them is done.
    pub fn advance(&self) {
        self.0.inc(1);
    }

    /// The work has come to `done` of its part `part`.
    pub fn tell(&self, part: &str, done: u64) {
        self.0.set_message(format!("{} ({part}: {done})", self.0.prefix()));
    }

    /// As [`watch`], and shows what it is told.
    pub async fn watch<T>(&self, what: &str, quiet: bool, work: impl Future<Output = T>) -> T {
        self.0.set_draw_target(ProgressDrawTarget::hidden());
        self.0.set_prefix(what.to_owned());
        self.0.set_message(what.to_owned());
        let mut work = pin!(work);
        tokio::select! {
            done = &mut work => return done,
            () = tokio::time::sleep(PATIENCE) => {}
        }
        if quiet || !std::io::stderr().is_terminal() {
            return work.await;
        }
        self.0.set_draw_target(ProgressDrawTarget::stderr());
        self.0.enable_steady_tick(Duration::from_millis(120));
        let done = work.await;
        self.0.disable_steady_tick();
        self.0.finish_and_clear();
        // What is reset is drawn once more.
        self.0.set_draw_target(ProgressDrawTarget::hidden());
        self.0.reset();
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_says_what_is_done_and_how_much() {
        let progress = Progress::default();
        let said = |part: &str, done| {
            progress.tell(part, done);
            progress.0.message()
        };
        let told = progress.watch("restoring", true, async { said("principals", 25) }).await;
        assert_eq!(told, "restoring (principals: 25)");
        let next = progress.watch("checking", true, async { progress.0.message() }).await;
        assert_eq!(next, "checking");
    }

    #[tokio::test]
    async fn of_a_number_of_things_it_counts_those_that_are_done() {
        let progress = Progress::of(3);
        progress.watch("provisioning", true, async { progress.advance() }).await;
        assert_eq!((progress.0.position(), progress.0.length()), (1, Some(3)));
    }
}
