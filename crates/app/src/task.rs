//! Long tasks over many tenants: when they stop, and what they tell.

use signet_core::{Error, StoreError, Time, store::Unreadable};

/// Whether a long task may begin its next piece, and at what time that begins: asked between pieces, so that each
/// piece's audit event says when it was done and not when the task began. `None`: no more in this run.
pub type GoOn<'a> = &'a (dyn Fn() -> Option<Time> + Send + Sync);

/// What a task over many tenants did. What failed for one did not stop the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskReport {
    /// What was done, in words.
    pub done: Vec<String>,
    /// What it was about, and why it failed.
    pub failed: Vec<(String, Error)>,
    /// That time was over before all of it was looked at; the next run goes on.
    pub unfinished: bool,
}

impl TaskReport {
    /// Names the records that the task had to go on without.
    pub(crate) fn cannot_read(&mut self, unreadable: impl IntoIterator<Item = Unreadable>) {
        self.failed.extend(unreadable.into_iter().map(|record| {
            let key = record.key.to_string();
            (key, Error::from(StoreError::from(record)))
        }));
    }
}
