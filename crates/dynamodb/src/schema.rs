//! Whether the tables are those that this version needs.

use std::fmt;

use aws_sdk_dynamodb::{
    Client,
    types::{
        AttributeDefinition, KeySchemaElement, KeyType, ScalarAttributeType, TableDescription, TableStatus,
        TimeToLiveStatus,
    },
};
use signet_core::store::Table;
use thiserror::Error;

use crate::{
    error::describe,
    item::{EXPIRES_AT, PARTITION, SORT},
};

/// Why the store cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SchemaError {
    /// Tables are missing or not as they should be.
    #[error("the tables do not match the schema:{}\napply infra/modules/tables of this version with name_prefix = \"{prefix}\" in the region that is set here",
        problems.iter().map(|p| format!("\n  {p}")).collect::<String>())]
    Mismatch {
        /// The prefix that was asked for.
        prefix: String,
        /// Everything that is wrong.
        problems: Vec<TableMismatch>,
    },
    /// DynamoDB could not be asked.
    #[error("cannot describe table {table}: {reason}")]
    Unavailable {
        /// Full name of the table.
        table: String,
        /// What DynamoDB or the network said.
        reason: String,
    },
}

/// One thing that is wrong with a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableMismatch {
    /// Full name of the table.
    pub table: String,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for TableMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.table, self.what)
    }
}

/// Looks at every table.
pub(crate) async fn check(client: &Client, prefix: &str) -> Result<(), SchemaError> {
    let mut problems = Vec::new();
    for table in Table::ALL {
        let name = format!("{prefix}-{}", table.name());
        let found = look(client, &name, table).await?;
        problems.extend(found.into_iter().map(|what| TableMismatch { table: name.clone(), what }));
    }
    if problems.is_empty() { Ok(()) } else { Err(SchemaError::Mismatch { prefix: prefix.to_owned(), problems }) }
}

async fn look(client: &Client, name: &str, table: Table) -> Result<Vec<String>, SchemaError> {
    let unavailable = |reason| SchemaError::Unavailable { table: name.to_owned(), reason };
    let description = match client.describe_table().table_name(name).send().await {
        Ok(answer) => answer.table,
        Err(e) if e.as_service_error().is_some_and(|e| e.is_resource_not_found_exception()) => None,
        Err(e) => return Err(unavailable(describe(&e))),
    };
    let Some(description) = description else {
        return Ok(vec!["does not exist".into()]);
    };
    let mut wrong = compare(&description, table);
    let ttl = client
        .describe_time_to_live()
        .table_name(name)
        .send()
        .await
        .map_err(|e| unavailable(describe(&e)))?
        .time_to_live_description;
    let on = |status: &TimeToLiveStatus| matches!(status, TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling);
    if !ttl.is_some_and(|ttl| ttl.time_to_live_status().is_some_and(on) && ttl.attribute_name() == Some(EXPIRES_AT)) {
        wrong.push(format!("has no TTL on {EXPIRES_AT}"));
    }
    Ok(wrong)
}

fn compare(found: &TableDescription, table: Table) -> Vec<String> {
    let mut wrong = Vec::new();
    if !matches!(found.table_status(), Some(TableStatus::Active | TableStatus::Updating)) {
        wrong.push(format!("is {}", found.table_status().map_or("in an unknown state", TableStatus::as_str)));
    }
    let types = found.attribute_definitions();
    if !keyed_by(found.key_schema(), types, PARTITION, SORT) {
        wrong.push(format!("is not keyed by the strings {PARTITION} and {SORT}"));
    }
    for index in table.indexes() {
        let (partition, sort) = (format!("{}_{PARTITION}", index.name()), format!("{}_{SORT}", index.name()));
        match found.global_secondary_indexes().iter().find(|it| it.index_name() == Some(index.name())) {
            None => wrong.push(format!("has no index {}", index.name())),
            Some(it) if !keyed_by(it.key_schema(), types, &partition, &sort) => {
                wrong.push(format!("has an index {} that is not keyed by {partition} and {sort}", index.name()));
            }
            Some(_) => {}
        }
    }
    wrong
}

fn keyed_by(schema: &[KeySchemaElement], types: &[AttributeDefinition], partition: &str, sort: &str) -> bool {
    let has = |name: &str, kind: KeyType| {
        schema.iter().any(|key| key.attribute_name() == name && *key.key_type() == kind)
            && types.iter().any(|t| t.attribute_name() == name && *t.attribute_type() == ScalarAttributeType::S)
    };
    schema.len() == 2 && has(partition, KeyType::Hash) && has(sort, KeyType::Range)
}
