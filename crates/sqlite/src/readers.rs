//! Connections that read, each used by one blocking task at a time.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rusqlite::Connection;
use signet_core::StoreError;
use tokio::{sync::Semaphore, task::spawn_blocking};

use crate::{error::store_error, file};

/// How many reads run at once.
const CONNECTIONS: usize = 4;

#[derive(Debug)]
pub(crate) struct Readers {
    pool: Arc<Pool>,
    permits: Arc<Semaphore>,
}

#[derive(Debug)]
struct Pool {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(crate) fn new(path: &Path) -> Self {
        let pool = Pool { path: path.to_owned(), idle: Mutex::new(Vec::new()) };
        Self { pool: Arc::new(pool), permits: Arc::new(Semaphore::new(CONNECTIONS)) }
    }

    /// Runs `read` away from the async threads. It sees every transaction that had answered before.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let pool = Arc::clone(&self.pool);
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| stopped())?;
        let task = spawn_blocking(move || {
            let result = pool.lend(read);
            drop(permit);
            result
        });
        task.await.map_err(|_| stopped())?
    }
}

impl Pool {
    fn lend<T>(&self, read: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => file::open_reader(&self.path).map_err(|error| store_error(&self.path, &error))?,
        };
        let result = read(&connection);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        result
    }
}

fn stopped() -> StoreError {
    StoreError::Unavailable("the store is closing".into())
}
