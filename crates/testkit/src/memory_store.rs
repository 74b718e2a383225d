//! A store in memory, which can be copied: what simulations run on. Passes the suite as the real ones do.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

use async_trait::async_trait;
use serde_json::Value;
use signet_core::{
    Store, StoreError, Time,
    store::{
        Body, Cursor, IndexEntry, Key, Page, Query, SCHEMA_VERSION, SortRange, Table, Transaction, Unreadable, Version,
        Versioned, Write, shard_of, stored::Stored,
    },
};

use crate::store_suite::Raw;

/// The limits of DynamoDB, as in the other adapters.
const MAX_WRITES: usize = 100;
const MAX_RECORD: usize = 400 * 1024;
const MAX_TRANSACTION: usize = 4 << 20;
const PAGE_BYTES: usize = 1 << 20;

/// A record as it was once; `None`: there was none.
#[derive(Clone, Debug)]
pub struct Image(Option<Record>);

/// See the module's words. Nothing in it waits, and what has expired is kept, unseen.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<Records>);

type Records = BTreeMap<Key, Record>;

#[derive(Clone, Debug)]
struct Record {
    version: u64,
    schema: u32,
    body: String,
    expires_at: Option<Time>,
    places: Vec<IndexEntry>,
}

impl MemoryStore {
    /// The same records in a store of its own.
    pub fn copy(&self) -> Self {
        Self(Mutex::new(self.0.lock().unwrap().clone()))
    }

    /// Puts the records of `earlier` in place of these: a restore.
    pub fn restore(&self, earlier: &Self) {
        let records = earlier.0.lock().unwrap().clone();
        *self.0.lock().unwrap() = records;
    }

    /// What is under `key` now.
    pub fn image(&self, key: &Key) -> Image {
        Image(self.0.lock().unwrap().get(key).cloned())
    }

    /// As [`Store::query`], of a store that still has what `earlier` says under these keys: DynamoDB isolates no query
    /// from the transactions beside it, and its indexes lag.
    pub fn query_seeing(&self, query: &Query, now: Time, earlier: &BTreeMap<Key, Image>) -> Page {
        let records = self.0.lock().unwrap();
        let whole = query.index.is_some() || query.segment.is_some();
        let partition = if whole { String::new() } else { query.partition.clone() };
        let first = Key { table: query.table, partition, sort: String::new() };
        let is_in = |key: &Key| key.table == query.table && (whole || key.partition == query.partition);
        let earlier_ones = earlier.iter().filter_map(|(key, image)| Some((key, image.0.as_ref()?)));
        let mut found: Vec<_> = records
            .range(first..)
            .take_while(|(key, _)| is_in(key))
            .filter(|(key, _)| !earlier.contains_key(key))
            .chain(earlier_ones.filter(|(key, _)| is_in(key)))
            .filter(|(_, record)| record.is_alive(now))
            .filter_map(|(key, record)| Some((place(query, key, record)?, key, record)))
            .filter(|(cursor, ..)| within(&query.range, &cursor.sort) && is_after(query, cursor))
            .collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        if query.descending {
            found.reverse();
        }
        page_of(query, found)
    }

    /// Whether both hold the same, the records of `but` aside.
    pub fn is_as(&self, other: &Self, but: Table) -> bool {
        let (ours, theirs) = (self.0.lock().unwrap(), other.0.lock().unwrap());
        let of = |records: &Records| -> Vec<_> {
            let compared = records.iter().filter(|(key, _)| key.table != but);
            compared.map(|(key, record)| (key.clone(), record.version, record.body.clone())).collect()
        };
        of(&ours) == of(&theirs)
    }

    /// The body under `key` as it is stored, also of a record that has expired.
    pub fn body_of(&self, key: &Key) -> Option<Value> {
        self.0.lock().unwrap().get(key).map(|record| serde_json::from_str(&record.body).unwrap())
    }

    /// Puts another body in its place; all else of the record stays as it is.
    pub fn put_body(&self, key: &Key, body: &Value) {
        self.0.lock().unwrap().get_mut(key).unwrap().body = body.to_string();
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, key: &Key, now: Time) -> Result<Option<Versioned<Body>>, StoreError> {
        let records = self.0.lock().unwrap();
        let Some(record) = alive(&records, key, now) else { return Ok(None) };
        Ok(Some(record.read(key).map_err(|reason| record.unreadable(key, reason))?))
    }

    async fn query(&self, query: &Query, now: Time) -> Result<Page, StoreError> {
        Ok(self.query_seeing(query, now, &BTreeMap::new()))
    }

    async fn transact(&self, transaction: Transaction) -> Result<(), StoreError> {
        let (mut keys, mut total) = (BTreeSet::new(), 0);
        let mut prepared = Vec::new();
        for write in transaction.writes() {
            let (key, record) = (write.key(), record_of(write)?);
            let size = record.as_ref().map_or(0, |record| record.body.len());
            total += size;
            let repeated = !keys.insert(key.clone());
            if repeated || size > MAX_RECORD || total > MAX_TRANSACTION || keys.len() > MAX_WRITES {
                return Err(StoreError::TooLarge(format!("{key} in {} writes", transaction.writes().len())));
            }
            prepared.push((key, record));
        }
        let mut records = self.0.lock().unwrap();
        for (index, write) in transaction.writes().iter().enumerate() {
            let found = alive(&records, &write.key(), transaction.now()).map(|record| record.version);
            let wanted = match write {
                Write::Create(_) => None,
                Write::Replace(_, version) | Write::Delete(_, version) | Write::Check(_, version) => {
                    Some(version.number())
                }
            };
            if found != wanted {
                return Err(StoreError::Conflict { write: index });
            }
        }
        for (write, (key, record)) in transaction.writes().iter().zip(prepared) {
            match (write, record) {
                (Write::Delete(..), _) => drop(records.remove(&key)),
                (_, Some(record)) => drop(records.insert(key, record)),
                (_, None) => {}
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Raw for MemoryStore {
    async fn body(&self, key: &Key) -> Value {
        self.body_of(key).unwrap()
    }

    async fn set_body(&self, key: &Key, body: Value) {
        self.put_body(key, &body);
    }

    async fn set_schema(&self, key: &Key, version: u32) {
        self.0.lock().unwrap().get_mut(key).unwrap().schema = version;
    }
}

impl Record {
    fn is_alive(&self, now: Time) -> bool {
        self.expires_at.is_none_or(|at| at > now)
    }

    fn read(&self, key: &Key) -> Result<Versioned<Body>, String> {
        if self.schema > SCHEMA_VERSION || self.schema + 1 < SCHEMA_VERSION {
            return Err(format!("its form is {}", self.schema));
        }
        let value: Body = serde_json::from_str(&self.body).map_err(|error| error.to_string())?;
        value.require_key(key)?;
        let stored = Stored { body: self.body.clone(), beside: Default::default() };
        Ok(Versioned { value, version: Version::read(self.version, stored) })
    }

    fn unreadable(&self, key: &Key, reason: String) -> Unreadable {
        Unreadable { key: key.clone(), expires_at: self.expires_at, version: Some(Version::new(self.version)), reason }
    }
}

/// What a write puts under its key; `None`: nothing.
fn record_of(write: &Write) -> Result<Option<Record>, StoreError> {
    let corrupt =
        |error: serde_json::Error| StoreError::Corrupt { key: write.key().to_string(), reason: error.to_string() };
    let (body, before) = match write {
        Write::Create(body) => (body, None),
        Write::Replace(body, version) => (body, Some(version)),
        Write::Delete(..) | Write::Check(..) => return Ok(None),
    };
    let form = before.map_or(Ok(None), |before| before.form_of(body)).map_err(corrupt)?;
    let json = form.map_or_else(|| serde_json::to_string(body), |form| Ok(form.to_string())).map_err(corrupt)?;
    Ok(Some(Record {
        version: before.map_or(1, |before| before.number() + 1),
        schema: SCHEMA_VERSION,
        body: json,
        expires_at: body.expires_at(),
        places: body.indexes(),
    }))
}

fn alive<'a>(records: &'a Records, key: &Key, now: Time) -> Option<&'a Record> {
    records.get(key).filter(|record| record.is_alive(now))
}

/// Where a record stands in the order of the query; `None`: not in its partition.
fn place(query: &Query, key: &Key, record: &Record) -> Option<Cursor> {
    let own = Some((key.partition.clone(), key.sort.clone()));
    if let Some(segment) = query.segment {
        let is_in = shard_of(&key.partition, segment.of) == segment.number;
        return is_in.then(|| Cursor { sort: key.sort.clone(), key: own });
    }
    let Some(index) = query.index else {
        return (key.partition == query.partition).then(|| Cursor { sort: key.sort.clone(), key: None });
    };
    let place = record.places.iter().find(|place| place.index == index && place.partition == query.partition)?;
    Some(Cursor { sort: place.sort.clone(), key: own })
}

/// The first of what was found, as a page.
fn page_of(query: &Query, found: Vec<(Cursor, &Key, &Record)>) -> Page {
    let limit = query.limit.clamp(1, 1000) as usize;
    let (mut page, mut bytes, mut last) = (Page::default(), 0, None);
    for (cursor, key, record) in found {
        if page.records.len() + page.unreadable.len() == limit || bytes >= PAGE_BYTES {
            page.next = last;
            break;
        }
        match record.read(key) {
            Ok(read) => page.records.push(read),
            Err(reason) => page.unreadable.push(record.unreadable(key, reason)),
        }
        bytes += record.body.len();
        last = Some(cursor);
    }
    page
}

fn within(range: &SortRange, sort: &str) -> bool {
    match range {
        SortRange::All => true,
        SortRange::Prefix(prefix) => sort.starts_with(prefix),
        SortRange::Between(first, last) => first.as_str() <= sort && sort <= last.as_str(),
    }
}

fn is_after(query: &Query, cursor: &Cursor) -> bool {
    query.after.as_ref().is_none_or(|after| if query.descending { cursor < after } else { cursor > after })
}
