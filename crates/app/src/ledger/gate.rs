//! Who may write: everybody, but while a restore is under way its own run only.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use signet_core::{
    Store, StoreError, Time,
    restore::Restoration,
    store::{Body, Key, Page, Query, Transaction, Versioned, scope::Books},
};
use tokio::time::Instant;

/// A writer looks this often whether a restore has begun.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// So long after the marker is there, nobody writes who had looked before: what they look at is a second old at most,
/// and a call of a store takes eight seconds at most.
pub(crate) const QUIET_AFTER: Duration = Duration::from_secs(10);

/// The store, which writes nothing while another run restores it. What cannot be looked at is not written to either.
pub(crate) struct Gate {
    inner: Arc<dyn Store>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// When it was last seen that this process may write.
    open_at: Option<Instant>,
    /// The run of this process.
    own: Option<String>,
}

impl Gate {
    pub(crate) fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, state: Mutex::default() }
    }

    /// From now on this process writes as `run`.
    pub(crate) fn act_as(&self, run: &str) {
        *self.state() = State { open_at: None, own: Some(run.to_owned()) };
    }

    /// From now on this process writes when nobody restores.
    pub(crate) fn act_as_others(&self) {
        *self.state() = State::default();
    }

    async fn pass(&self, now: Time) -> Result<(), StoreError> {
        let asked_at = Instant::now();
        if self.state().open_at.is_some_and(|open_at| asked_at.duration_since(open_at) < LOOK_EVERY) {
            return Ok(());
        }
        let marker = Books.get::<Restoration>(&*self.inner, &Restoration::key_of(), now).await;
        let marker = match marker {
            Ok(marker) => marker,
            // Somebody restores, and nobody knows who.
            Err(StoreError::Corrupt { key, .. }) => {
                return Err(StoreError::Restoring(format!("a restore is under way: its record {key} cannot be read")));
            }
            Err(error) => return Err(error),
        };
        let mut state = self.state();
        let (own, marker) = (state.own.as_ref(), marker.map(|marker| marker.value));
        let refused = match &marker {
            Some(marker) if own == Some(&marker.run) => None,
            Some(_) if own.is_some() => Some("another run took this restore over: leave it to that one".to_owned()),
            Some(Restoration { source, .. }) => Some(format!(
                "a restore from {source} is under way or was cut off; until it has ended, nobody else writes (runbooks \
                 RestoreTables, RestoreStore)"
            )),
            None => own.map(|_| "this restore was ended by somebody else".to_owned()),
        };
        if let Some(refused) = refused {
            return Err(StoreError::Restoring(refused));
        }
        state.open_at = Some(asked_at);
        Ok(())
    }

    /// A poisoned lock means that another thread panicked between two complete steps.
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl Store for Gate {
    async fn get(&self, key: &Key, now: Time) -> Result<Option<Versioned<Body>>, StoreError> {
        self.inner.get(key, now).await
    }

    async fn query(&self, query: &Query, now: Time) -> Result<Page, StoreError> {
        self.inner.query(query, now).await
    }

    async fn transact(&self, transaction: Transaction) -> Result<(), StoreError> {
        self.pass(transaction.now()).await?;
        self.inner.transact(transaction).await
    }

    async fn settle(&self) -> Result<(), StoreError> {
        self.inner.settle().await
    }
}
