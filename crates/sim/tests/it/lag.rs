//! What queries do not see yet of the newest writes: DynamoDB isolates no query from a transaction beside it and says
//! nothing of how long that may be so, and its indexes follow the tables.

use std::collections::BTreeMap;

use signet_core::store::{Key, Query};
use signet_testkit::memory_store::Image;

/// See the module's words.
#[derive(Debug, Default)]
pub(crate) struct Lag(Vec<Unseen>);

#[derive(Debug)]
struct Unseen {
    key: Key,
    before: Image,
    /// From when on (true milliseconds) queries of the table see it.
    seen_at: u64,
    /// And those of its indexes.
    indexed_at: u64,
}

impl Lag {
    /// A record was written in place of `before`. Returns from when on queries of its table see it: not before
    /// `seen_at`.
    pub(crate) fn wrote(&mut self, key: Key, before: Image, seen_at: u64, indexed_at: u64) -> u64 {
        // Of one record nothing newer is seen before what is older.
        let of_it = self.0.iter().filter(|unseen| unseen.key == key);
        let (seen_at, indexed_at) =
            of_it.fold((seen_at, indexed_at), |at, unseen| (at.0.max(unseen.seen_at), at.1.max(unseen.indexed_at)));
        self.0.push(Unseen { key, before, seen_at, indexed_at });
        seen_at
    }

    /// What `query` sees at `now` in place of what is there.
    pub(crate) fn earlier(&mut self, query: &Query, now: u64) -> BTreeMap<Key, Image> {
        self.0.retain(|unseen| now < unseen.indexed_at);
        let mut earlier = BTreeMap::new();
        for unseen in self.0.iter().filter(|unseen| unseen.key.table == query.table) {
            let at = if query.index.is_some() { unseen.indexed_at } else { unseen.seen_at };
            if now < at {
                earlier.entry(unseen.key.clone()).or_insert_with(|| unseen.before.clone());
            }
        }
        earlier
    }
}
