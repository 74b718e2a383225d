//! Audit events and the seals that make a later change of them visible.
//!
//! A minute after a minute closes, each tenant's events of it get a seal: their number, the Merkle root over them and
//! the digest of the tenant's seal before. One signature a minute covers the seals of all tenants, by a second Merkle
//! tree, so that the cost does not grow with their number.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    KeyRef, TenantId, Time,
    audit::merkle::{self, Digest},
    store::layout::{Entity, Index, IndexEntry, Key, Query, Table, shard_of},
};

/// Shards of a minute's events.
pub const AUDIT_SHARDS: u32 = 4;
/// How many closed minutes are looked at again for events that came late.
pub const LATE_MINUTES: i64 = 5;

/// One event. What is hashed is what is stored: the payload is kept as the text that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEvent {
    /// Whose event.
    pub tenant: TenantId,
    /// UUIDv7, 32 hexadecimal digits: unique and in time order.
    pub id: String,
    /// When the operation, or the piece of a long one that it is about, began; later if that minute was sealed before
    /// it was committed.
    pub at: Time,
    /// A JSON object: operation, actor, resource, outcome and details.
    pub payload: String,
    /// How long it is kept.
    pub keep_until: Time,
}

impl AuditEvent {
    fn shard(id: &str) -> u32 {
        shard_of(id, AUDIT_SHARDS)
    }

    /// The partition of a minute's events in `shard`, all tenants, sorted by tenant and id.
    pub fn minute_partition(minute: i64, shard: u32) -> String {
        format!("{minute}#{shard}")
    }

    /// Sort-key prefix of one tenant's events in a minute's partition.
    pub fn tenant_prefix(tenant: &TenantId) -> String {
        format!("{tenant}#")
    }

    /// The index partition of a tenant's events of one day (days since the Unix epoch) in `shard`, sorted by id.
    pub fn day_partition(tenant: &TenantId, day: i64, shard: u32) -> String {
        format!("{tenant}#{day}#{shard}")
    }

    /// The leaf that stands for this event in its minute's tree.
    pub fn leaf(&self) -> Digest {
        let mut entry = Vec::with_capacity(self.payload.len().saturating_add(128));
        for part in [self.tenant.as_str().as_bytes(), self.id.as_bytes(), &self.at.unix_millis().to_be_bytes()] {
            put(&mut entry, part);
        }
        put(&mut entry, self.payload.as_bytes());
        merkle::leaf(&entry)
    }
}

/// Appends a length and the bytes, so that no two lists of fields have the same form.
pub(super) fn put(out: &mut Vec<u8>, part: &[u8]) {
    out.extend_from_slice(&(part.len() as u64).to_be_bytes());
    out.extend_from_slice(part);
}

impl Entity for AuditEvent {
    fn key(&self) -> Key {
        let partition = Self::minute_partition(self.at.minute(), Self::shard(&self.id));
        Key::new(Table::Audit, partition, &format!("{}{}", Self::tenant_prefix(&self.tenant), self.id))
    }
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
    fn indexes(&self) -> Vec<IndexEntry> {
        let day = self.at.minute().div_euclid(24 * 60);
        let partition = Self::day_partition(&self.tenant, day, Self::shard(&self.id));
        vec![IndexEntry::new(Index::Listing, partition, &self.id)]
    }
    fn expires_at(&self) -> Option<Time> {
        Some(self.keep_until)
    }
}

/// An event that was written after its minute had been sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct LateEvent {
    /// The minute it belongs to.
    pub minute: i64,
    pub id: String,
    /// Its [`AuditEvent::leaf`].
    #[serde(with = "hex::serde")]
    pub leaf: Digest,
}

/// What a seal states about one tenant's minute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealStatement {
    /// Whose events.
    pub tenant: TenantId,
    /// Which minute, counted from the Unix epoch.
    pub minute: i64,
    /// How many events.
    pub count: u64,
    /// Merkle root over their leaves, by id.
    #[serde(with = "hex::serde")]
    pub root: Digest,
    /// Events of earlier minutes that had not been there when those were sealed.
    #[serde(default)]
    pub late: Vec<LateEvent>,
    /// [`SealStatement::digest`] of the tenant's seal before; zeros for the first.
    #[serde(with = "hex::serde")]
    pub previous: Digest,
}

impl SealStatement {
    /// The digest that the next seal and the batch's tree refer to.
    pub fn digest(&self) -> Digest {
        let mut bytes = Vec::new();
        put(&mut bytes, self.tenant.as_str().as_bytes());
        for number in [self.minute.to_be_bytes(), self.count.to_be_bytes()] {
            put(&mut bytes, &number);
        }
        put(&mut bytes, &self.root);
        put(&mut bytes, &self.previous);
        for late in &self.late {
            put(&mut bytes, &late.minute.to_be_bytes());
            put(&mut bytes, late.id.as_bytes());
            put(&mut bytes, &late.leaf);
        }
        merkle::leaf(&bytes)
    }
}

/// A seal as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// What it states.
    pub statement: SealStatement,
    /// Its place in the batch that was signed.
    pub batch_index: u32,
    /// How many seals the batch has.
    pub batch_size: u32,
    /// The way from its digest to the batch's root: digests, hexadecimal.
    pub batch_path: Vec<String>,
    /// The audit key.
    pub key: KeyRef,
    /// The first bytes of each sealed leaf, for the sealer: see [`crate::audit::sealing`]. Not signed, and proof of
    /// nothing.
    #[serde(with = "crate::store::layout::bytes", default)]
    pub cover: Vec<u8>,
    /// DER ECDSA signature over [`signed_message`].
    #[serde(with = "crate::store::layout::bytes")]
    pub signature: Vec<u8>,
    /// When it is no longer needed.
    pub keep_until: Time,
}

/// The bytes that the audit key signs for a batch.
pub fn signed_message(minute: i64, batch_size: u32, batch_root: &Digest) -> Vec<u8> {
    let mut message = b"signet audit seal v1".to_vec();
    put(&mut message, &minute.to_be_bytes());
    put(&mut message, &batch_size.to_be_bytes());
    put(&mut message, batch_root);
    message
}

impl Seal {
    fn partition(tenant: &TenantId) -> String {
        format!("seals#{tenant}")
    }

    /// The sort key of the seal of `minute`.
    pub fn sort(minute: i64) -> String {
        format!("{:012}", minute.max(0))
    }

    /// The key of the tenant's seal of `minute`.
    pub fn key_of(tenant: &TenantId, minute: i64) -> Key {
        Key::new(Table::Audit, Self::partition(tenant), &Self::sort(minute))
    }

    /// The seals of `tenant`, in order of their minutes.
    pub fn of(tenant: &TenantId) -> Query {
        Query::table(Table::Audit, Self::partition(tenant))
    }

    /// Whether the signature covers this seal; `verify(message, signature)` answers for the audit key.
    fn is_signed(&self, verify: &dyn Fn(&[u8], &[u8]) -> bool) -> bool {
        let path: Option<Vec<Digest>> = self.batch_path.iter().map(|text| digest_from_hex(text)).collect();
        let (index, size) = (self.batch_index as usize, self.batch_size as usize);
        let root = path.and_then(|p| merkle::root_from_path(&self.statement.digest(), index, size, &p));
        root.is_some_and(|r| verify(&signed_message(self.statement.minute, self.batch_size, &r), &self.signature))
    }
}

fn digest_from_hex(text: &str) -> Option<Digest> {
    let mut digest = [0; 32];
    hex::decode_to_slice(text, &mut digest).ok().map(|()| digest)
}

impl Entity for Seal {
    fn key(&self) -> Key {
        Self::key_of(&self.statement.tenant, self.statement.minute)
    }
    fn tenant(&self) -> &TenantId {
        &self.statement.tenant
    }
    fn expires_at(&self) -> Option<Time> {
        Some(self.keep_until)
    }
}

/// How far sealing has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealHead {
    /// The system tenant.
    pub tenant: TenantId,
    /// The last minute that was sealed, for all tenants.
    pub minute: i64,
}

impl SealHead {
    /// The key of the one head.
    pub fn key_of() -> Key {
        Key::new(Table::Audit, "sealing", "head")
    }
}

impl Entity for SealHead {
    fn key(&self) -> Key {
        Self::key_of()
    }
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
}

/// Makes the statements of one minute and signs nothing: the caller signs the returned root.
/// `statements` must not be empty. Returns each statement's path and the message to sign.
pub fn batch(minute: i64, statements: &[SealStatement]) -> (Vec<Vec<String>>, Vec<u8>) {
    let leaves: Vec<Digest> = statements.iter().map(SealStatement::digest).collect();
    let paths = (0..leaves.len()).map(|i| merkle::path(&leaves, i).iter().map(hex::encode).collect()).collect();
    let size = u32::try_from(leaves.len()).unwrap_or(u32::MAX);
    (paths, signed_message(minute, size, &merkle::root(&leaves)))
}

/// The root over one tenant's events of one minute, in the order of their ids.
pub fn minute_root(events: &[AuditEvent]) -> Digest {
    let mut sorted: Vec<&AuditEvent> = events.iter().collect();
    sorted.sort_by(|a, b| a.id.cmp(&b.id));
    merkle::root(&sorted.into_iter().map(AuditEvent::leaf).collect::<Vec<_>>())
}

/// What `audit verify` found wrong, and in which minute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "finding")]
pub enum Finding {
    /// The seal's signature is not the audit key's.
    BadSignature {
        /// The seal's minute.
        minute: i64,
    },
    /// The seal does not refer to the one before it: a seal was removed, changed or put in.
    BrokenChain {
        /// The seal's minute.
        minute: i64,
    },
    /// Fewer events than were sealed.
    EventRemoved {
        /// Their minute.
        minute: i64,
        /// How many are missing.
        missing: u64,
    },
    /// More events than were sealed, and no later seal names them as late.
    EventAdded {
        /// Their minute.
        minute: i64,
        /// How many are too many.
        extra: u64,
    },
    /// As many events as were sealed, but not those.
    EventChanged {
        /// Their minute.
        minute: i64,
    },
    /// Events of a minute that should be sealed and is not.
    SealMissing {
        /// Their minute.
        minute: i64,
    },
}

impl Finding {
    /// The minute whose events should be read again, strongly consistent, before anybody is alarmed: an index that lags
    /// does not show the newest.
    pub fn read_again(&self) -> Option<i64> {
        match self {
            Self::EventRemoved { minute, .. } | Self::EventChanged { minute } => Some(*minute),
            Self::BadSignature { .. }
            | Self::BrokenChain { .. }
            | Self::EventAdded { .. }
            | Self::SealMissing { .. } => None,
        }
    }
}

/// The part of a tenant's log that [`verify`] judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First minute: all events and seals from here on are given.
    pub from: i64,
    /// Last minute whose events are given. The seals are given up to [`LATE_MINUTES`] after it, as far as there are
    /// any.
    pub to: i64,
    /// The last minute that sealing has finished ([`SealHead::minute`]); later events are not judged.
    pub sealed_through: i64,
    /// Digest of the tenant's last seal before `from`; zeros: there never was one; `None`: not known any more.
    pub previous: Option<Digest>,
}

/// Checks one tenant's `events` against its `seals` (in order of their minutes). Events of the last [`LATE_MINUTES`]
/// sealed minutes that no seal covers are not judged yet: the next seals may name them as late. After that they are
/// findings. `check(message, signature)` answers for the audit key.
pub fn verify(
    events: &[AuditEvent],
    seals: &[Seal],
    span: &Span,
    check: &dyn Fn(&[u8], &[u8]) -> bool,
) -> Vec<Finding> {
    let mut findings = check_chain(seals, span, check);
    let judged = span.from..=span.to.min(span.sealed_through);
    let named = seals.iter().flat_map(|seal| &seal.statement.late).filter(|late| judged.contains(&late.minute));
    let mut late: BTreeMap<&str, &LateEvent> = named.map(|late| (late.id.as_str(), late)).collect();
    let mut by_minute: BTreeMap<i64, Vec<AuditEvent>> = BTreeMap::new();
    for event in events.iter().filter(|event| judged.contains(&event.at.minute())) {
        let minute = event.at.minute();
        match late.get(event.id.as_str()).filter(|named| named.minute == minute) {
            Some(named) => {
                if named.leaf != event.leaf() {
                    findings.push(Finding::EventChanged { minute });
                }
                late.remove(event.id.as_str());
            }
            None => by_minute.entry(minute).or_default().push(event.clone()),
        }
    }
    findings.extend(late.values().map(|late| Finding::EventRemoved { minute: late.minute, missing: 1 }));
    let settled = |minute: i64| minute <= span.sealed_through.saturating_sub(LATE_MINUTES);
    for statement in seals.iter().map(|seal| &seal.statement).filter(|s| judged.contains(&s.minute)) {
        let found = by_minute.remove(&statement.minute).unwrap_or_default();
        let finding = compare(statement, &found);
        findings.extend(finding.filter(|f| settled(statement.minute) || !matches!(f, Finding::EventAdded { .. })));
    }
    let unsealed = by_minute.into_keys().filter(|minute| settled(*minute));
    findings.extend(unsealed.map(|minute| Finding::SealMissing { minute }));
    findings
}

fn check_chain(seals: &[Seal], span: &Span, check: &dyn Fn(&[u8], &[u8]) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut previous = span.previous.map(|digest| (span.from.saturating_sub(1), digest));
    for seal in seals {
        let (statement, minute) = (&seal.statement, seal.statement.minute);
        if !seal.is_signed(check) {
            findings.push(Finding::BadSignature { minute });
        }
        if previous.is_some_and(|(before, digest)| digest != statement.previous || before >= minute) {
            findings.push(Finding::BrokenChain { minute });
        }
        previous = Some((minute, statement.digest()));
    }
    findings
}

fn compare(statement: &SealStatement, found: &[AuditEvent]) -> Option<Finding> {
    let (minute, count) = (statement.minute, found.len() as u64);
    if count < statement.count {
        return Some(Finding::EventRemoved { minute, missing: statement.count.saturating_sub(count) });
    }
    if count > statement.count {
        return Some(Finding::EventAdded { minute, extra: count.saturating_sub(statement.count) });
    }
    (minute_root(found) != statement.root).then_some(Finding::EventChanged { minute })
}

/// Digest of any bytes, for fingerprints in events.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
