//! The storage port on DynamoDB: seven tables named `<prefix>-<table>`, made by `infra/modules/tables`.
//!
//! * A read of a table is strongly consistent. An index has only keys, and may lag behind (GSIs do): a read of it finds
//!   places, whose records are then read from the table and left out if they have moved on.
//! * A transaction is one `TransactWriteItems` with a client token, so that an attempt whose answer was lost can be
//!   repeated without applying it twice. AWS remembers a token for ten minutes.
//! * The SDK retries throttling, conflicts between transactions and lost connections with backoff and jitter, within
//!   [`Limits::operation`]. What is still in doubt then is `Unknown`.

mod error;
mod item;
mod query;
mod schema;
mod transact;

use std::{fmt, time::Duration};

use async_trait::async_trait;
use aws_config::{SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_dynamodb::{Client, config};
use signet_core::{
    Store, StoreError, Time,
    store::{Body, Key, Page, Query, Table, Transaction, Versioned},
};

pub use crate::schema::{SchemaError, TableMismatch};

/// How long and how often the adapter tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For a TCP and TLS connection.
    pub connect: Duration,
    /// For one attempt's answer.
    pub attempt: Duration,
    /// For an operation with all its attempts.
    pub operation: Duration,
    /// Attempts, the first included.
    pub attempts: u32,
}

impl Default for Limits {
    /// A healthy DynamoDB answers within 10 ms: two seconds without an answer mean that none will come.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(1),
            attempt: Duration::from_secs(2),
            operation: Duration::from_secs(8),
            attempts: 6,
        }
    }
}

/// A [`Store`] on the tables of one environment.
#[derive(Clone)]
pub struct DynamoStore {
    client: Client,
    prefix: String,
    /// Behind the table's name; empty: the environment's own tables.
    suffix: String,
}

impl fmt::Debug for DynamoStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamoStore")
            .field("prefix", &self.prefix)
            .field("suffix", &self.suffix)
            .finish_non_exhaustive()
    }
}

impl DynamoStore {
    /// The tables `<prefix>-*` in the account, region and endpoint of `aws`. Asks nothing yet; see [`Self::check`].
    pub fn new(aws: &SdkConfig, prefix: impl Into<String>, limits: Limits) -> Self {
        let retry = RetryConfig::standard()
            .with_max_attempts(limits.attempts)
            .with_initial_backoff(Duration::from_millis(50))
            .with_max_backoff(Duration::from_secs(1));
        let timeout = TimeoutConfig::builder()
            .connect_timeout(limits.connect)
            .operation_attempt_timeout(limits.attempt)
            .operation_timeout(limits.operation)
            .build();
        let config = config::Builder::from(aws).retry_config(retry).timeout_config(timeout).build();
        Self { client: Client::from_conf(config), prefix: prefix.into(), suffix: String::new() }
    }

    /// Tables that were restored beside these, as `<prefix>-<table>-<suffix>`. For reading only: they have no indexes
    /// that matter, no TTL and no changes feed.
    #[must_use]
    pub fn restored(&self, suffix: &str) -> Self {
        Self { suffix: format!("-{suffix}"), ..self.clone() }
    }

    fn table(&self, table: Table) -> String {
        format!("{}-{}{}", self.prefix, table.name(), self.suffix)
    }

    /// Whether all tables exist as this version needs them. Asked once, at start.
    pub async fn check(&self) -> Result<(), SchemaError> {
        schema::check(&self.client, &self.prefix).await
    }
}

#[async_trait]
impl Store for DynamoStore {
    async fn get(&self, key: &Key, now: Time) -> Result<Option<Versioned<Body>>, StoreError> {
        let answer = self
            .client
            .get_item()
            .table_name(self.table(key.table))
            .set_key(Some(item::key(key)))
            .consistent_read(true)
            .send()
            .await
            .map_err(|e| error::unavailable(&e))?;
        Ok(answer.item.and_then(|item| item::read(key.table, item, now)).transpose()?)
    }

    async fn query(&self, query: &Query, now: Time) -> Result<Page, StoreError> {
        let table = self.table(query.table);
        let answer = if let Some(segment) = query.segment {
            let request = query::scan(&self.client, table, query, segment)?;
            let answer = request.send().await.map_err(|e| error::unavailable(&e))?;
            (answer.items.unwrap_or_default(), answer.last_evaluated_key)
        } else {
            let Some(request) = query::request(&self.client, table.clone(), query)? else { return Ok(Page::default()) };
            let answer = request.send().await.map_err(|e| error::unavailable(&e))?;
            let items = match query.index {
                Some(index) => query::whole(&self.client, &table, index, answer.items.unwrap_or_default()).await?,
                None => answer.items.unwrap_or_default(),
            };
            (items, answer.last_evaluated_key)
        };
        query::page(answer, query, now)
    }

    async fn transact(&self, transaction: Transaction) -> Result<(), StoreError> {
        transact::run(&self.client, |table| self.table(table), &transaction).await
    }
}
