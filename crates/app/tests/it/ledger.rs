//! A store that accuses: every transaction that it applies must have exactly one audit event, unless it only reserves.
//! It remembers all of them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use signet_core::{
    Store, StoreError, Time,
    audit::{AuditEvent, sha256_hex},
    certificates::{Certificate, CertificateState},
    store::{Body, Key, Page, Query, Table, Transaction, Versioned, Write},
};
use tokio::sync::RwLock;

/// See the module's words.
#[derive(Debug)]
pub(crate) struct Ledger {
    inner: Arc<dyn Store>,
    applied: Arc<Mutex<Vec<Vec<Write>>>>,
    /// Shared by transactions between the real store and `applied`: what others can read already, but is not listed
    /// yet.
    listing: Arc<RwLock<()>>,
}

impl Ledger {
    pub(crate) fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, applied: Arc::default(), listing: Arc::default() }
    }

    /// Waits until what was sent is applied and listed, also for callers that are gone.
    pub(crate) async fn settled(&self) {
        let _all_listed = self.listing.write().await;
    }

    /// Whether these to-be-signed bytes were recorded.
    pub(crate) async fn has_reserved(&self, tbs_der: &[u8]) -> bool {
        self.settled().await;
        let is_it = |write: &Write| {
            matches!(write, Write::Create(Body::Certificate(record))
                if record.state == CertificateState::Reserved && record.tbs_der == tbs_der)
        };
        self.applied.lock().unwrap().iter().flatten().any(is_it)
    }

    /// Whether the parts of this to-be-signed list were recorded.
    pub(crate) fn has_parts(&self, tbs_der: &[u8]) -> bool {
        let applied = self.applied.lock().unwrap();
        let part = |write: &Write| match write {
            Write::Create(Body::RevocationListPart(part)) if part.tbs_sha256 == sha256_hex(tbs_der) => {
                Some((part.index, part.tbs_der.clone()))
            }
            _ => None,
        };
        let parts: BTreeMap<u32, Vec<u8>> = applied.iter().flatten().filter_map(part).collect();
        parts.into_values().flatten().eq(tbs_der.iter().copied())
    }

    /// How many writes are as asked.
    pub(crate) fn written(&self, is_it: impl Fn(&Write) -> bool) -> usize {
        self.applied.lock().unwrap().iter().flatten().filter(|write| is_it(write)).count()
    }

    /// All reservations, in order.
    pub(crate) fn reservations(&self) -> Vec<Certificate> {
        let applied = self.applied.lock().unwrap();
        let reservation = |write: &Write| match write {
            Write::Create(Body::Certificate(record)) => Some(record.clone()),
            _ => None,
        };
        applied.iter().flatten().filter_map(reservation).collect()
    }

    /// All transactions, in order.
    pub(crate) fn applied(&self) -> Vec<Vec<Write>> {
        self.applied.lock().unwrap().clone()
    }

    /// All audit events written since the start, in order.
    pub(crate) fn events(&self) -> Vec<AuditEvent> {
        let applied = self.applied.lock().unwrap();
        let event = |write: &Write| match write {
            Write::Create(Body::AuditEvent(event)) => Some(event.clone()),
            _ => None,
        };
        applied.iter().flatten().filter_map(event).collect()
    }
}

/// Invariant 5: every state change has exactly one audit event, in the same transaction. Older ones a restore puts
/// back.
fn assert_one_event(writes: &[Write], now: Time) {
    let is_new = |write: &&Write| matches!(write, Write::Create(Body::AuditEvent(event)) if event.at == now);
    let events = writes.iter().filter(is_new).count();
    let only_reserves = writes.iter().all(|write| {
        matches!(write, Write::Create(Body::Request(_)))
            // The note of a warning that could not be told, and that of a look that was broken off.
            || matches!(write, Write::Delete(key, _) if key.table == Table::Requests)
            // A message that was accepted: for ten minutes, so that it is not accepted again.
            || matches!(write, Write::Create(Body::SeenMessage(_)))
            // What a tenant has, counted anew.
            || matches!(write, Write::Create(Body::QuotaCount(_)) | Write::Replace(Body::QuotaCount(_), _))
            || matches!(write, Write::Create(Body::BrokenOff(_)) | Write::Replace(Body::BrokenOff(_), _))
            || matches!(write, Write::Create(Body::RevocationListPart(_)))
            || matches!(write, Write::Create(Body::Certificate(record)) if record.state == CertificateState::Reserved)
    });
    assert!(events == 1 || (events == 0 && only_reserves), "invariant 5: {events} audit events in {writes:#?}");
}

#[async_trait]
impl Store for Ledger {
    async fn get(&self, key: &Key, now: Time) -> Result<Option<Versioned<Body>>, StoreError> {
        self.inner.get(key, now).await
    }

    async fn query(&self, query: &Query, now: Time) -> Result<Page, StoreError> {
        self.inner.query(query, now).await
    }

    async fn transact(&self, transaction: Transaction) -> Result<(), StoreError> {
        let until_listed = Arc::clone(&self.listing).read_owned().await;
        let (inner, applied) = (Arc::clone(&self.inner), Arc::clone(&self.applied));
        // A transaction that was sent goes on when its caller is dropped; so must the listing.
        let sent = tokio::spawn(async move {
            let (writes, now) = (transaction.writes().to_vec(), transaction.now());
            inner.transact(transaction).await?;
            assert_one_event(&writes, now);
            applied.lock().unwrap().push(writes);
            drop(until_listed);
            Ok(())
        });
        sent.await.unwrap()
    }
}
