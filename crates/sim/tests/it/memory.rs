//! The store that simulations run on, against the suite of the real ones.

use std::sync::Arc;

use signet_core::Store;
use signet_testkit::{memory_store::MemoryStore, store_suite::RawStore};

signet_testkit::store_suite!(store);
signet_testkit::raw_suite!(raw_store);

async fn store() -> (Arc<dyn Store>, ()) {
    (Arc::new(MemoryStore::default()), ())
}

async fn raw_store() -> (RawStore, ()) {
    let store = Arc::new(MemoryStore::default());
    ((Arc::<MemoryStore>::clone(&store), store), ())
}
