//! Records as rows: writes made ready before they queue for the writer, and rows read back.

use std::collections::BTreeSet;

use rusqlite::{Row, types::Value};
use signet_core::{
    StoreError, Time,
    store::{Body, Key, SCHEMA_VERSION, Table, Unreadable, Version, Versioned, Write, stored::Stored},
};

/// DynamoDB `TransactWriteItems`: 100 actions, 4 MB; an item has 400 KB.
const MAX_WRITES: usize = 100;
const MAX_RECORD: usize = 400 * 1024;
const MAX_TRANSACTION: usize = 4 << 20;

/// What a write does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Create,
    Replace,
    Delete,
    Check,
}

/// A write with its parameters, except for `now`, which comes last.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) action: Action,
    pub(crate) table: Table,
    pub(crate) parameters: Vec<Value>,
}

/// Turns writes into rows and refuses what would be too large in production.
pub(crate) fn prepare(writes: &[Write]) -> Result<Vec<Prepared>, StoreError> {
    if writes.len() > MAX_WRITES {
        return Err(StoreError::TooLarge(format!("{} writes, at most {MAX_WRITES}", writes.len())));
    }
    let mut keys = BTreeSet::new();
    let mut total = 0_usize;
    let mut prepared = Vec::with_capacity(writes.len());
    for write in writes {
        let key = write.key();
        let one = prepare_one(write, &key)?;
        let size = size(&one.parameters);
        total = total.saturating_add(size);
        if size > MAX_RECORD {
            return Err(StoreError::TooLarge(format!("{key} has {size} bytes, at most {MAX_RECORD}")));
        }
        if total > MAX_TRANSACTION {
            return Err(StoreError::TooLarge(format!("more than {MAX_TRANSACTION} bytes in one transaction")));
        }
        if let Some(key) = keys.replace(key) {
            return Err(StoreError::TooLarge(format!("two writes of {key} in one transaction")));
        }
        prepared.push(one);
    }
    Ok(prepared)
}

fn prepare_one(write: &Write, key: &Key) -> Result<Prepared, StoreError> {
    let at = |version: &Version| {
        vec![Value::Text(key.partition.clone()), Value::Text(key.sort.clone()), version_value(version)]
    };
    let (action, parameters) = match write {
        Write::Create(body) => (Action::Create, columns(body, None, key)?),
        Write::Replace(body, version) => {
            let mut parameters = columns(body, Some(version), key)?;
            parameters.push(version_value(version));
            (Action::Replace, parameters)
        }
        Write::Delete(_, version) => (Action::Delete, at(version)),
        Write::Check(_, version) => (Action::Check, at(version)),
    };
    Ok(Prepared { action, table: key.table, parameters })
}

/// The parameters of [`crate::statements::Statements`]: key, schema version, entity, body, expiry, index columns.
/// `before`: the record that it replaces.
fn columns(body: &Body, before: Option<&Version>, key: &Key) -> Result<Vec<Value>, StoreError> {
    let corrupt = |error: serde_json::Error| StoreError::Corrupt { key: key.to_string(), reason: error.to_string() };
    let form = before.map_or(Ok(None), |before| before.form_of(body)).map_err(corrupt)?;
    let json = form.map_or_else(|| serde_json::to_string(body), |form| Ok(form.to_string())).map_err(corrupt)?;
    let expires_at = body.expires_at().map_or(Value::Null, |at| Value::Integer(at.unix_millis()));
    let mut columns = vec![
        Value::Text(key.partition.clone()),
        Value::Text(key.sort.clone()),
        Value::Integer(SCHEMA_VERSION.into()),
        Value::Text(body.name().into()),
        Value::Text(json),
        expires_at,
    ];
    let places = body.indexes();
    for index in key.table.indexes() {
        match places.iter().find(|place| place.index == *index) {
            None => columns.extend([Value::Null, Value::Null]),
            Some(place) => columns.extend([Value::Text(place.partition.clone()), Value::Text(place.sort.clone())]),
        }
    }
    Ok(columns)
}

/// No record has a version that SQLite cannot hold, so -1 matches none.
fn version_value(version: &Version) -> Value {
    Value::Integer(i64::try_from(version.number()).unwrap_or(-1))
}

fn size(parameters: &[Value]) -> usize {
    let sizes = parameters.iter().map(|value| match value {
        Value::Text(text) => text.len(),
        _ => 8,
    });
    sizes.sum()
}

/// Reads a row of `version, schema_version, body, expires_at`; `key` names it in errors.
pub(crate) fn read(row: &Row<'_>, key: Key) -> Result<Versioned<Body>, Unreadable> {
    try_read(row, &key).map_err(|reason| {
        let expires_at = row.get::<_, i64>(3).ok().map(Time::from_unix_millis);
        let version = row.get::<_, i64>(0).ok().and_then(|version| u64::try_from(version).ok()).map(Version::new);
        Unreadable { key, expires_at, version, reason }
    })
}

fn try_read(row: &Row<'_>, key: &Key) -> Result<Versioned<Body>, String> {
    let column = |error: rusqlite::Error| error.to_string();
    let version: i64 = row.get(0).map_err(column)?;
    let version = u64::try_from(version).map_err(|error| error.to_string())?;
    let schema: u32 = row.get(1).map_err(column)?;
    if schema > SCHEMA_VERSION || schema.saturating_add(1) < SCHEMA_VERSION {
        return Err(format!("its form is {schema}, this release reads {SCHEMA_VERSION} and the one before"));
    }
    let body = row.get_ref(2).map_err(column)?.as_str().map_err(|error| error.to_string())?;
    let value: Body = serde_json::from_str(body).map_err(|error| error.to_string())?;
    value.require_key(key)?;
    let stored = Stored { body: body.to_owned(), beside: Default::default() };
    Ok(Versioned { value, version: Version::read(version, stored) })
}
