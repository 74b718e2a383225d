//! Queues for records that many callers of one process want to change at once. Only a courtesy: what keeps the records
//! right is the compare-and-swap in the store.

use signet_core::store::shard_of;
use tokio::sync::Mutex;

/// As many as there are queues; names that share one only wait a little longer.
const QUEUES: usize = 64;

#[derive(Debug)]
pub(crate) struct Turns([Mutex<()>; QUEUES]);

impl Default for Turns {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::default()))
    }
}

impl Turns {
    /// The queue of `name`.
    pub(crate) fn of(&self, name: &str) -> &Mutex<()> {
        let [first, ..] = &self.0;
        self.0.get(shard_of(name, QUEUES as u32) as usize).unwrap_or(first)
    }
}
