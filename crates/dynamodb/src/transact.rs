//! A transaction as one `TransactWriteItems`.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use aws_sdk_dynamodb::{
    Client,
    config::{
        self,
        interceptors::InterceptorContext,
        retry::{ClassifyRetry, RetryAction},
    },
    error::BuildError,
    operation::transact_write_items::TransactWriteItemsError,
    types::{CancellationReason, ConditionCheck, Delete, Put, TransactWriteItem, error::TransactionCanceledException},
};
use signet_core::{
    StoreError, Time,
    store::{Key, Table, Transaction, Version, Write},
};

use crate::{
    error,
    item::{self, EXPIRES_AT_MILLIS, Item, PARTITION, VERSION, number},
};

/// As many writes as DynamoDB takes in one transaction.
const MAX_WRITES: usize = 100;

/// There is nothing, or only what has expired. Attribute names that are reserved words would need `#`; these are not.
fn absent() -> String {
    format!("attribute_not_exists({PARTITION}) OR {EXPIRES_AT_MILLIS} <= :now")
}

/// It is there, unexpired, at the version that was read.
fn unchanged() -> String {
    format!("{VERSION} = :version AND (attribute_not_exists({EXPIRES_AT_MILLIS}) OR {EXPIRES_AT_MILLIS} > :now)")
}

/// Applies `transaction`; `name` gives a table's full name.
pub(crate) async fn run(
    client: &Client,
    name: impl Fn(Table) -> String,
    transaction: &Transaction,
) -> Result<(), StoreError> {
    let writes = transaction.writes();
    if writes.is_empty() {
        return Ok(());
    }
    if writes.len() > MAX_WRITES {
        return Err(StoreError::TooLarge(format!("{} writes, DynamoDB takes {MAX_WRITES}", writes.len())));
    }
    let items = writes
        .iter()
        .map(|write| translate(write, name(write.key().table), transaction.now()))
        .collect::<Result<Vec<_>, _>>()?;
    let in_doubt = Arc::new(AtomicBool::new(false));
    let classifier = Attempts { in_doubt: Arc::clone(&in_doubt) };
    client
        .transact_write_items()
        .set_transact_items(Some(items))
        .customize()
        .config_override(config::Builder::new().retry_classifier(classifier))
        .send()
        .await
        .map(|_| ())
        .map_err(|e| error::transaction(&e, in_doubt.load(Relaxed)))
}

fn translate(write: &Write, table: String, now: Time) -> Result<TransactWriteItem, StoreError> {
    let builder = TransactWriteItem::builder();
    let built = match write {
        Write::Create(body) => {
            put(table, item::write(body, None)?, absent(), values(None, now)).map(|put| builder.put(put))
        }
        Write::Replace(body, version) => {
            let item = item::write(body, Some(version))?;
            put(table, item, unchanged(), values(Some(version), now)).map(|put| builder.put(put))
        }
        Write::Delete(key, version) => delete(table, key, values(Some(version), now)).map(|it| builder.delete(it)),
        Write::Check(key, version) => {
            check(table, key, values(Some(version), now)).map(|it| builder.condition_check(it))
        }
    };
    built.map(|builder| builder.build()).map_err(|e| error::unbuildable(&write.key(), &e))
}

fn put(table: String, item: Item, condition: String, values: Item) -> Result<Put, BuildError> {
    Put::builder()
        .table_name(table)
        .set_item(Some(item))
        .condition_expression(condition)
        .set_expression_attribute_values(Some(values))
        .build()
}

fn delete(table: String, key: &Key, values: Item) -> Result<Delete, BuildError> {
    Delete::builder()
        .table_name(table)
        .set_key(Some(item::key(key)))
        .condition_expression(unchanged())
        .set_expression_attribute_values(Some(values))
        .build()
}

fn check(table: String, key: &Key, values: Item) -> Result<ConditionCheck, BuildError> {
    ConditionCheck::builder()
        .table_name(table)
        .set_key(Some(item::key(key)))
        .condition_expression(unchanged())
        .set_expression_attribute_values(Some(values))
        .build()
}

fn values(version: Option<&Version>, now: Time) -> Item {
    let mut values = Item::from([(":now".into(), number(now.unix_millis()))]);
    if let Some(version) = version {
        values.insert(":version".into(), number(version.number()));
    }
    values
}

/// Sees every attempt of one transaction: has a cancelled one that only met others tried again, under the same client
/// token, and remembers whether an attempt may have been applied although no answer came.
#[derive(Debug)]
struct Attempts {
    in_doubt: Arc<AtomicBool>,
}

impl ClassifyRetry for Attempts {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let Some(Err(failure)) = context.output_or_error() else {
            return RetryAction::NoActionIndicated;
        };
        let answer = failure.as_operation_error().and_then(|error| error.downcast_ref::<TransactWriteItemsError>());
        // Only a 4xx says that nothing was done: of all else (DynamoDB Developer Guide, "Error handling": 5xx),
        // whatever stands in it, nobody knows.
        let turned_away = context.response().is_some_and(|answer| (400..500).contains(&answer.status().as_u16()));
        // An attempt before, with the same token, is still being carried out.
        let under_way = matches!(answer, Some(TransactWriteItemsError::TransactionInProgressException(_)));
        if under_way || !(turned_away || error::never_connected(failure)) {
            self.in_doubt.store(true, Relaxed);
        }
        match answer {
            Some(TransactWriteItemsError::TransactionCanceledException(it)) if only_met_others(it) => {
                RetryAction::throttling_error()
            }
            _ => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "signet transaction attempts"
    }
}

/// Whether no condition failed and at least one item was in another transaction or throttled.
fn only_met_others(cancelled: &TransactionCanceledException) -> bool {
    let mut codes =
        cancelled.cancellation_reasons().iter().filter_map(CancellationReason::code).filter(|c| *c != "None");
    let transient = |code| matches!(code, "TransactionConflict" | "ThrottlingError" | "ProvisionedThroughputExceeded");
    codes.next().is_some_and(transient) && codes.all(transient)
}
