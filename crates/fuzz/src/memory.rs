//! A store and keys in memory: as quick as a fuzzer wants them. It keeps no audit events, of which refusals make one each.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use signet_core::{
    KeyError, KeyLabel, KeyManager, KeyRef, Signer, Store, StoreError, Time,
    store::{Body, Cursor, Key, Page, Query, SortRange, Table, Transaction, Version, Versioned, Write},
};
use signet_x509::KeyPair;

/// See the module's words.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<BTreeMap<Key, (Body, u64)>>);

impl Memory {
    /// All that is kept.
    pub(crate) fn records(&self) -> Vec<Body> {
        self.0.lock().unwrap().values().map(|(body, _)| body.clone()).collect()
    }
}

fn alive(body: &Body, now: Time) -> bool {
    body.expires_at().is_none_or(|at| at > now)
}

fn selects(range: &SortRange, sort: &str) -> bool {
    match range {
        SortRange::All => true,
        SortRange::Prefix(prefix) => sort.starts_with(prefix.as_str()),
        SortRange::Between(first, last) => (first.as_str()..=last.as_str()).contains(&sort),
    }
}

/// Where a query finds a record.
fn place(query: &Query, key: &Key, body: &Body) -> Option<Cursor> {
    let own = (key.partition.clone(), key.sort.clone());
    let (partition, sort, key) = match query.index {
        None => (own.0, own.1, None),
        Some(index) => {
            let entry = body.indexes().into_iter().find(|entry| entry.index == index)?;
            (entry.partition, entry.sort, Some(own))
        }
    };
    (partition == query.partition && selects(&query.range, &sort)).then_some(Cursor { sort, key })
}

#[async_trait]
impl Store for Memory {
    async fn get(&self, key: &Key, now: Time) -> Result<Option<Versioned<Body>>, StoreError> {
        let records = self.0.lock().unwrap();
        let found = records.get(key).filter(|(body, _)| alive(body, now));
        Ok(found.map(|(body, version)| Versioned { value: body.clone(), version: Version::new(*version) }))
    }

    async fn query(&self, query: &Query, now: Time) -> Result<Page, StoreError> {
        let records = self.0.lock().unwrap();
        let of_table = records.iter().filter(|(key, (body, _))| key.table == query.table && alive(body, now));
        let mut found: Vec<_> = of_table
            .filter_map(|(key, (body, version))| Some((place(query, key, body)?, body.clone(), *version)))
            .collect();
        found.sort_by(|one, other| one.0.cmp(&other.0));
        if query.descending {
            found.reverse();
        }
        if let Some(after) = &query.after {
            found.retain(|(place, ..)| if query.descending { place < after } else { place > after });
        }
        let limit = query.limit as usize;
        let next = (found.len() > limit).then(|| found[limit - 1].0.clone());
        let records = found.into_iter().take(limit);
        let records = records.map(|(_, value, version)| Versioned { value, version: Version::new(version) }).collect();
        Ok(Page { records, unreadable: Vec::new(), next })
    }

    async fn transact(&self, transaction: Transaction) -> Result<(), StoreError> {
        let mut records = self.0.lock().unwrap();
        for (number, write) in transaction.writes().iter().enumerate() {
            let found =
                records.get(&write.key()).filter(|(body, _)| alive(body, transaction.now())).map(|found| found.1);
            let holds = match write {
                Write::Create(_) => found.is_none(),
                Write::Replace(_, version) | Write::Delete(_, version) | Write::Check(_, version) => {
                    found == Some(version.number())
                }
            };
            if !holds {
                return Err(StoreError::Conflict { write: number });
            }
        }
        for write in transaction.writes() {
            match write {
                Write::Create(Body::AuditEvent(_)) | Write::Check(..) => {}
                Write::Create(body) => drop(records.insert(body.key(), (body.clone(), 1))),
                Write::Replace(body, version) => {
                    drop(records.insert(body.key(), (body.clone(), version.next().number())));
                }
                Write::Delete(key, _) => drop(records.remove(key)),
            }
        }
        debug_assert!(records.keys().filter(|key| key.table == Table::Audit).count() < 1000);
        Ok(())
    }
}

/// Keys by their label.
#[derive(Debug, Default)]
pub(crate) struct Keys(Mutex<BTreeMap<String, Arc<KeyPair>>>);

#[async_trait]
impl KeyManager for Keys {
    async fn create(&self, label: &KeyLabel) -> Result<KeyRef, KeyError> {
        let key: KeyRef = format!("memory:{}", label.ca).parse().unwrap();
        let new = || Arc::new(KeyPair::generate().unwrap());
        self.0.lock().unwrap().entry(key.to_string()).or_insert_with(new);
        Ok(key)
    }

    async fn open(&self, key: &KeyRef) -> Result<Arc<dyn Signer>, KeyError> {
        let found = self.0.lock().unwrap().get(&key.to_string()).cloned();
        Ok(Arc::new(OneKey(found.ok_or_else(|| KeyError::NotFound(key.to_string()))?)))
    }
}

#[derive(Debug)]
struct OneKey(Arc<KeyPair>);

#[async_trait]
impl Signer for OneKey {
    fn spki_der(&self) -> &[u8] {
        self.0.public_key().spki_der()
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        Ok(self.0.sign(message).unwrap())
    }
}
