//! A record as an item: keys, version, expiry, the index keys, and the body as one map.

use std::{collections::HashMap, str::FromStr};

use aws_sdk_dynamodb::types::AttributeValue;
use serde::Deserialize;
use signet_core::{
    StoreError, Time,
    store::{Body, Index, Key, SCHEMA_VERSION, Table, Unreadable, Version, Versioned, stored::Stored},
};

pub(crate) type Item = HashMap<String, AttributeValue>;

pub(crate) const PARTITION: &str = "pk";
pub(crate) const SORT: &str = "sk";
pub(crate) const VERSION: &str = "version";
/// TTL attribute: unix seconds, rounded up so that DynamoDB never deletes what is not yet expired.
pub(crate) const EXPIRES_AT: &str = "expires_at";
/// The exact instant, for conditions.
pub(crate) const EXPIRES_AT_MILLIS: &str = "expires_at_millis";
const SCHEMA: &str = "schema_version";
const ENTITY: &str = "entity";
const BODY: &str = "body";

pub(crate) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

pub(crate) fn number(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// The key attributes of `key`.
pub(crate) fn key(key: &Key) -> Item {
    HashMap::from([(PARTITION.into(), text(&key.partition)), (SORT.into(), text(&key.sort))])
}

fn expired(body: &Body, now: Time) -> bool {
    body.expires_at().is_some_and(|at| at <= now)
}

/// The whole item for `body`. `before`: the record that it replaces.
pub(crate) fn write(body: &Body, before: Option<&Version>) -> Result<Item, StoreError> {
    let at = body.key();
    let failed = |error: &dyn ToString| corrupt(&at.to_string(), error);
    let form = before.map_or(Ok(None), |before| before.form_of(body)).map_err(|error| failed(&error))?;
    let map: Item = form.map_or_else(|| serde_dynamo::to_item(body), serde_dynamo::to_item).map_err(|e| failed(&e))?;
    let mut item = key(&at);
    for (name, value) in before.into_iter().flat_map(Version::beside) {
        item.insert(name.clone(), serde_dynamo::to_attribute_value(value).map_err(|error| failed(&error))?);
    }
    item.insert(VERSION.into(), number(before.map_or(0, Version::number).saturating_add(1)));
    item.insert(SCHEMA.into(), number(SCHEMA_VERSION));
    if let Some(entity) = map.get(ENTITY) {
        item.insert(ENTITY.into(), entity.clone());
    }
    item.insert(BODY.into(), AttributeValue::M(map));
    if let Some(expires) = body.expires_at() {
        item.insert(EXPIRES_AT.into(), number(expires.unix_millis().saturating_add(999).div_euclid(1000)));
        item.insert(EXPIRES_AT_MILLIS.into(), number(expires.unix_millis()));
    }
    for entry in body.indexes() {
        item.insert(index_key(entry.index, PARTITION), text(entry.partition));
        item.insert(index_key(entry.index, SORT), text(entry.sort));
    }
    Ok(item)
}

/// The record in `item` of `table`; `None` if it has expired.
pub(crate) fn read(table: Table, item: Item, now: Time) -> Option<Result<Versioned<Body>, Unreadable>> {
    let expires_at = integer::<i64>(&item, EXPIRES_AT_MILLIS).map(Time::from_unix_millis);
    let version = integer(&item, VERSION).map(Version::new);
    let part = |name| string(&item, name).unwrap_or("?").to_owned();
    let key = Key { table, partition: part(PARTITION), sort: part(SORT) };
    match try_read(&key, item) {
        Ok(record) => (!expired(&record.value, now)).then_some(Ok(record)),
        Err(_) if expires_at.is_some_and(|at| at <= now) => None,
        Err(reason) => Some(Err(Unreadable { key, expires_at, version, reason })),
    }
}

fn try_read(key: &Key, mut item: Item) -> Result<Versioned<Body>, String> {
    let schema: u64 = integer(&item, SCHEMA).ok_or("it has no schema_version")?;
    let known = u64::from(SCHEMA_VERSION);
    if schema > known || schema.saturating_add(1) < known {
        return Err(format!("it has schema version {schema}; this program reads {known} and the one before"));
    }
    let version = integer(&item, VERSION).ok_or("it has no version")?;
    match item.remove(BODY) {
        Some(AttributeValue::M(map)) => {
            let body: serde_json::Value = serde_dynamo::from_item(map).map_err(|error| error.to_string())?;
            let value = Body::deserialize(&body).map_err(|error| error.to_string())?;
            value.require_key(key)?;
            let stored = Stored { body: body.to_string(), beside: beside(key.table, item) };
            Ok(Versioned { value, version: Version::read(version, stored) })
        }
        _ => Err("it has no body".into()),
    }
}

/// The attributes that this version does not write: a later release's, such as the keys of an index of its own.
fn beside(table: Table, mut item: Item) -> serde_json::Map<String, serde_json::Value> {
    let index_keys = table.indexes().iter().flat_map(|index| [PARTITION, SORT].map(|part| index_key(*index, part)));
    let own = [PARTITION, SORT, VERSION, SCHEMA, ENTITY, EXPIRES_AT, EXPIRES_AT_MILLIS].map(str::to_owned);
    own.into_iter().chain(index_keys).for_each(|name| drop(item.remove(&name)));
    // Of a type that JSON does not have, it is nothing that a release of ours writes.
    let value = |(name, value)| Some((name, serde_dynamo::from_attribute_value(value).ok()?));
    item.into_iter().filter_map(value).collect()
}

/// The attribute with an index's partition or sort key.
pub(crate) fn index_key(index: Index, part: &str) -> String {
    format!("{}_{part}", index.name())
}

/// A string attribute.
pub(crate) fn string<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

fn integer<N: FromStr>(item: &Item, name: &str) -> Option<N> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

fn corrupt(key: &str, reason: &dyn ToString) -> StoreError {
    StoreError::Corrupt { key: key.to_owned(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use signet_core::{
        TenantId,
        trust::change::{Change, ChangeEntry},
    };

    use super::*;

    fn entry(until: i64) -> Body {
        let tenant: TenantId = "acme".parse().unwrap();
        let (at, until) = (Time::from_unix_millis(0), Time::from_unix_millis(until));
        ChangeEntry {
            shard: 0,
            sequence: u64::MAX,
            tenant,
            at,
            until,
            changes: vec![Change::TenantChanged],
            notices: Vec::new(),
        }
        .into()
    }

    fn read_at(item: Item, millis: i64) -> Option<Result<Versioned<Body>, Unreadable>> {
        read(Table::Changes, item, Time::from_unix_millis(millis))
    }

    #[test]
    fn what_is_written_is_read() {
        let body = entry(1500);
        let item = write(&body, Some(&Version::new(6))).unwrap();
        assert_eq!(read_at(item, 1499), Some(Ok(Versioned { value: body, version: Version::new(7) })));
    }

    #[test]
    fn ttl_is_never_before_the_expiry() {
        for (millis, seconds) in [(1000, "1"), (1001, "2"), (1999, "2")] {
            let item = write(&entry(millis), None).unwrap();
            assert_eq!(item.get(EXPIRES_AT), Some(&AttributeValue::N(seconds.into())), "{millis}");
        }
    }

    #[test]
    fn a_later_schema_is_refused_by_name() {
        let mut item = write(&entry(1), None).unwrap();
        item.insert(SCHEMA.into(), number(SCHEMA_VERSION + 1));
        let unreadable = read_at(item.clone(), 0).unwrap().unwrap_err();
        assert!(unreadable.reason.contains("schema version"), "{unreadable:?}");
        assert_eq!(unreadable.expires_at, Some(Time::from_unix_millis(1)));
        assert_eq!(read_at(item, 1), None, "once it has expired it is absent, as others are");
    }
}
